//! Products with weights kept as `[out, in]`.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, tensor::FloatTensor};
use burn_flex::FlexTensor;
use half::bf16;
use rayon::prelude::*;

use super::tensor::{blank, contiguous, dims, isa, numbers, numbers_mut, owned, rounded, slice};
use crate::kernels::cpu::scratch::Scratch;
use crate::kernels::cpu::{MatMut, MatRef, PackedMatrix, gemm, gemm_each, gemm_packed};
use crate::kernels::precision::Precision;
use crate::kernels::products::Products;

/// Numbers that a task of a copy takes.
const TASK: usize = 1 << 15;

/// `x · [a; b; …]ᵀ`: the products with all weights side by side, as one.
pub fn linear(x: FlexTensor, weights: Vec<FlexTensor>, products: &Products) -> FlexTensor {
    let x = contiguous(x);
    let [n, _] = dims(&x);
    let out = weights.iter().map(|weight| dims(weight)[0]).sum();
    let mut y = blank::<f32>([n, out]);
    multiply(&x, weights, products, 0.0, &mut y);
    y
}

/// `residual + x · weightᵀ`.
pub fn linear_add(
    x: FlexTensor,
    weight: FlexTensor,
    residual: FlexTensor,
    products: &Products,
) -> FlexTensor {
    let mut y = owned(residual);
    multiply(&contiguous(x), vec![weight], products, 1.0, &mut y);
    y
}

/// `y = x · weightsᵀ + beta · y`.
fn multiply(x: &FlexTensor, weights: Vec<FlexTensor>, products: &Products, beta: f32, y: &mut FlexTensor) {
    let ([n, width], [_, out]) = (dims(x), dims(y));
    let (x, y) = (MatRef::new(numbers(x), n, width), MatMut::new(numbers_mut(y), n, out));
    let precision = products.precision;
    fn transposed(joined: &[f32], out: usize) -> MatRef<'_> {
        MatRef::new(joined, out, joined.len() / out.max(1)).t()
    }
    if let Some(packed) = &products.packed {
        let pack = |joined: &[f32]| PackedMatrix::new(isa(), precision, transposed(joined, out));
        let packed = packed.get_or_pack(|| with_joined(weights, pack));
        gemm_packed(1.0, x, packed, beta, y);
    } else {
        with_joined(weights, |joined| gemm(isa(), precision, 1.0, x, transposed(joined, out), beta, y));
    }
}

/// All rows of the weights, one matrix after another.
fn with_joined<T>(weights: Vec<FlexTensor>, f: impl FnOnce(&[f32]) -> T) -> T {
    let weights: Vec<FlexTensor> = weights.into_iter().map(contiguous).collect();
    if let [weight] = &weights[..] {
        return f(numbers(weight));
    }
    let mut joined = Scratch::take(weights.iter().map(|weight| numbers(weight).len()).sum());
    let mut rest = joined.f32_mut();
    for weight in &weights {
        let (to, after) = rest.split_at_mut(numbers(weight).len());
        let from = numbers(weight).par_chunks(TASK);
        to.par_chunks_mut(TASK).zip(from).for_each(|(to, from)| to.copy_from_slice(from));
        rest = after;
    }
    f(joined.f32())
}

/// The inputs of a product, for its derivative.
#[derive(Debug, Clone)]
struct Saved {
    /// Only products read it, so in bfloat16 it is kept as they would round it.
    x: FlexTensor,
    weights: Vec<FlexTensor>,
    precision: Precision,
}

impl Saved {
    fn new(x: &FlexTensor, weights: &[FlexTensor], precision: Precision) -> Self {
        let x = contiguous(x.clone());
        let x = if precision == Precision::Bf16 { rounded(&x) } else { x };
        Self { x, weights: weights.to_vec(), precision }
    }

    /// `dy · weights`.
    fn of_x(&self, dy: &FlexTensor) -> FlexTensor {
        let ([n, out], [_, width]) = (dims(dy), dims(&self.x));
        let mut dx = blank::<f32>([n, width]);
        with_joined(self.weights.clone(), |joined| {
            let (dy, weight) = (MatRef::new(numbers(dy), n, out), MatRef::new(joined, out, width));
            let dx = MatMut::new(numbers_mut(&mut dx), n, width);
            gemm(isa(), self.precision, 1.0, dy, weight, 0.0, dx);
        });
        dx
    }

    /// `dyᵀ · x`, cut into the weights' rows.
    fn of_weights(&self, dy: &FlexTensor) -> Vec<FlexTensor> {
        let ([n, out], [_, width]) = (dims(dy), dims(&self.x));
        let rows: Vec<usize> = self.weights.iter().map(|weight| dims(weight)[0]).collect();
        let mut gradients: Vec<FlexTensor> = rows.iter().map(|&rows| blank::<f32>([rows, width])).collect();
        let mut first = 0;
        let columns = rows.iter().map(|&rows| {
            let from = numbers(dy).get(first..).unwrap_or_default();
            first += rows;
            MatRef::with_strides(from, n, rows, out, 1).t()
        });
        let columns = columns.collect();
        let to = gradients.iter_mut().zip(&rows);
        let to = to.map(|(to, &rows)| MatMut::new(numbers_mut(to), rows, width)).collect();
        if self.precision == Precision::Bf16 {
            let x = MatRef::new(slice::<bf16>(&self.x), n, width);
            gemm_each(isa(), self.precision, 1.0, columns, x, 0.0, to);
        } else {
            let x = MatRef::new(numbers(&self.x), n, width);
            gemm_each(isa(), self.precision, 1.0, columns, x, 0.0, to);
        }
        gradients
    }
}

/// A product in a graph; the first of the parents is `x`, the others are weights.
#[derive(Debug)]
struct Linear;

/// [`linear`] in a graph.
pub fn linear_tracked<C: CheckpointStrategy, const N: usize>(
    x: FloatTensor<Autodiff<Flex, C>>,
    weights: Vec<FloatTensor<Autodiff<Flex, C>>>,
    products: &Products,
) -> FloatTensor<Autodiff<Flex, C>> {
    let (x, x_node) = x.into_parts();
    let (weights, weight_nodes): (Vec<FlexTensor>, Vec<_>) =
        weights.into_iter().map(|weight| weight.into_parts()).unzip();
    let nodes: Vec<_> = std::iter::once(x_node).chain(weight_nodes).collect();
    let Ok(nodes) = <[_; N]>::try_from(nodes) else { unreachable!("one node for each operand") };
    match Linear.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(step) => {
            let saved = Saved::new(&x, &weights, products.precision);
            step.finish(saved, linear(x, weights, products))
        }
        OpsKind::UnTracked(step) => step.finish(linear(x, weights, products)),
    }
}

impl<const N: usize> Backward<Flex, N> for Linear {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let saved = ops.state;
        let mut parents = ops.parents.into_iter();
        if let Some(x) = parents.next().flatten() {
            grads.register::<Flex>(x.id, saved.of_x(&dy));
        }
        let weights: Vec<_> = parents.collect();
        if weights.iter().any(Option::is_some) {
            for (node, gradient) in weights.into_iter().zip(saved.of_weights(&dy)) {
                let Some(node) = node else { continue };
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

/// A product added to a residual, in a graph: parents are `x`, the weight, the residual.
#[derive(Debug)]
struct LinearAdd;

/// [`linear_add`] in a graph.
pub fn linear_add_tracked<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    weight: FloatTensor<Autodiff<Flex, C>>,
    residual: FloatTensor<Autodiff<Flex, C>>,
    products: &Products,
) -> FloatTensor<Autodiff<Flex, C>> {
    let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
    let (residual, residual_node) = residual.into_parts();
    let nodes = [x_node, weight_node, residual_node];
    match LinearAdd.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(step) => {
            let saved = Saved::new(&x, std::slice::from_ref(&weight), products.precision);
            step.finish(saved, linear_add(x, weight, residual, products))
        }
        OpsKind::UnTracked(step) => step.finish(linear_add(x, weight, residual, products)),
    }
}

impl Backward<Flex, 3> for LinearAdd {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let saved = ops.state;
        let [x, weight, residual] = ops.parents;
        if let Some(x) = x {
            grads.register::<Flex>(x.id, saved.of_x(&dy));
        }
        if let Some(weight) = weight {
            for gradient in saved.of_weights(&dy) {
                grads.register::<Flex>(weight.id, gradient);
            }
        }
        if let Some(residual) = residual {
            grads.register::<Flex>(residual.id, dy);
        }
    }
}
