//! Rows of a matrix by number.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, tensor::FloatTensor};
use burn_flex::FlexTensor;

use super::tensor::{blank, contiguous, dims, ids, numbers, numbers_mut, owned, zeros};
use crate::kernels::cpu::embedding;

/// `rows [n]` of `matrix`.
pub fn gather(rows: FlexTensor, matrix: FlexTensor) -> FlexTensor {
    forward(&ids(rows), &contiguous(matrix))
}

fn forward(rows: &[i32], matrix: &FlexTensor) -> FlexTensor {
    let [_, width] = dims(matrix);
    let mut y = blank::<f32>([rows.len(), width]);
    embedding::gather(rows, numbers(matrix), width, numbers_mut(&mut y));
    y
}

#[derive(Debug)]
struct Gather;

#[derive(Debug, Clone)]
struct Saved {
    rows: Vec<i32>,
    /// The matrix, to find what gradient it has already.
    matrix: FloatTensor<Autodiff<Flex>>,
}

/// [`gather`] in a graph.
pub fn gather_tracked<C: CheckpointStrategy>(
    rows: FlexTensor,
    matrix: FloatTensor<Autodiff<Flex, C>>,
) -> FloatTensor<Autodiff<Flex, C>> {
    let node = matrix.node();
    let rows = ids(rows);
    let y = forward(&rows, &contiguous(matrix.clone().into_primitive()));
    match Gather.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish(Saved { rows, matrix }, y),
        OpsKind::UnTracked(step) => step.finish(y),
    }
}

impl Backward<Flex, 1> for Gather {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let [Some(parent)] = ops.parents else { return };
        let Saved { rows, matrix } = ops.state;
        let [_, width] = dims(&dy);
        // A tied embedding has the gradient of the head by now, and is too large to have two.
        let before = grads.remove::<Flex>(&matrix).map(owned);
        let mut gradient = before.unwrap_or_else(|| zeros(dims(&matrix.into_primitive())));
        embedding::scatter_add(&rows, numbers(&dy), width, numbers_mut(&mut gradient));
        grads.register::<Flex>(parent.id, gradient);
    }
}
