//! Products with weights kept as `[out, in]`.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Cube, tensor::FloatTensor};
use burn_cubecl::ops::numeric;
use burn_cubecl::tensor::CubeTensor;

use super::operand::{Operand, product, transposed};
use super::tensor::{contiguous, cut, dims};
use crate::kernels::precision::Precision;

/// `x · [a; b; …]ᵀ`: the products with all weights side by side, as one.
pub fn linear(x: CubeTensor, weights: Vec<CubeTensor>, precision: Precision) -> CubeTensor {
    Saved::new(x, weights, precision).product()
}

/// `residual + x · weightᵀ`.
pub fn linear_add(
    x: CubeTensor,
    weight: CubeTensor,
    residual: CubeTensor,
    precision: Precision,
) -> CubeTensor {
    numeric::add(linear(x, vec![weight], precision), contiguous(residual))
}

/// The operands of a product, for its derivative.
#[derive(Debug, Clone)]
struct Saved {
    x: CubeTensor,
    /// All rows, one weight after another.
    weight: CubeTensor,
    /// Rows of each weight.
    rows: Vec<usize>,
    operand: Operand,
}

impl Saved {
    fn new(x: CubeTensor, weights: Vec<CubeTensor>, precision: Precision) -> Self {
        let operand = Operand::new(&x.device, precision);
        let rows = weights.iter().map(|weight| dims(weight)[0]).collect();
        Self { x: operand.of(x), weight: operand.joined(weights), rows, operand }
    }

    fn product(&self) -> CubeTensor {
        product(self.x.clone(), transposed(self.weight.clone()))
    }

    /// The derivatives in `x` and the weights, those that are asked for.
    fn gradients(
        self,
        dy: CubeTensor,
        of_x: bool,
        of_weights: bool,
    ) -> (Option<CubeTensor>, Vec<CubeTensor>) {
        let dy = self.operand.of(dy);
        let x = of_x.then(|| product(dy.clone(), self.weight));
        if !of_weights {
            return (x, Vec::new());
        }
        let joined = product(transposed(dy), self.x);
        let mut first = 0;
        let of_weight = |&rows: &usize| {
            first += rows;
            cut(&joined, first - rows, rows)
        };
        (x, self.rows.iter().map(of_weight).collect())
    }
}

/// A product in a graph; the first of the parents is `x`, the others are weights.
#[derive(Debug)]
struct Linear;

/// [`linear`] in a graph.
pub fn linear_tracked<C: CheckpointStrategy, const N: usize>(
    x: FloatTensor<Autodiff<Cube, C>>,
    weights: Vec<FloatTensor<Autodiff<Cube, C>>>,
    precision: Precision,
) -> FloatTensor<Autodiff<Cube, C>> {
    let (x, x_node) = x.into_parts();
    let (weights, weight_nodes): (Vec<CubeTensor>, Vec<_>) =
        weights.into_iter().map(|weight| weight.into_parts()).unzip();
    let nodes: Vec<_> = std::iter::once(x_node).chain(weight_nodes).collect();
    let Ok(nodes) = <[_; N]>::try_from(nodes) else { unreachable!("one node for each operand") };
    let saved = Saved::new(x, weights, precision);
    let y = saved.product();
    match Linear.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish(saved, y),
        OpsKind::UnTracked(step) => step.finish(y),
    }
}

impl<const N: usize> Backward<Cube, N> for Linear {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Cube>(&ops.node);
        let mut parents = ops.parents.into_iter();
        let x = parents.next().flatten();
        let weights: Vec<_> = parents.collect();
        let of_weights = weights.iter().any(Option::is_some);
        let (dx, gradients) = ops.state.gradients(dy, x.is_some(), of_weights);
        for (node, gradient) in [x].into_iter().zip(dx).chain(weights.into_iter().zip(gradients)) {
            let Some(node) = node else { continue };
            grads.register::<Cube>(node.id, gradient);
        }
    }
}

/// A product added to a residual; the parents are `x`, the weight, the residual.
#[derive(Debug)]
struct LinearAdd;

/// [`linear_add`] in a graph.
pub fn linear_add_tracked<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Cube, C>>,
    weight: FloatTensor<Autodiff<Cube, C>>,
    residual: FloatTensor<Autodiff<Cube, C>>,
    precision: Precision,
) -> FloatTensor<Autodiff<Cube, C>> {
    let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
    let (residual, residual_node) = residual.into_parts();
    let saved = Saved::new(x, vec![weight], precision);
    let y = numeric::add(saved.product(), contiguous(residual));
    match LinearAdd.prepare::<C>([x_node, weight_node, residual_node]).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish(saved, y),
        OpsKind::UnTracked(step) => step.finish(y),
    }
}

impl Backward<Cube, 3> for LinearAdd {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Cube>(&ops.node);
        let [x, weight, residual] = ops.parents;
        let (dx, gradients) = ops.state.gradients(dy.clone(), x.is_some(), weight.is_some());
        for (node, gradient) in [x].into_iter().zip(dx).chain([weight].into_iter().zip(gradients)) {
            let Some(node) = node else { continue };
            grads.register::<Cube>(node.id, gradient);
        }
        if let Some(residual) = residual {
            grads.register::<Cube>(residual.id, dy);
        }
    }
}
