//! Rows of a matrix by number.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, tensor::FloatTensor};
use burn_flex::FlexTensor;

use super::tensor::{blank, contiguous, dims, ids, numbers, numbers_mut, zeros};
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
    /// Rows of the matrix.
    height: usize,
}

/// [`gather`] in a graph.
pub fn gather_tracked<C: CheckpointStrategy>(
    rows: FlexTensor,
    matrix: FloatTensor<Autodiff<Flex, C>>,
) -> FloatTensor<Autodiff<Flex, C>> {
    let (matrix, node) = matrix.into_parts();
    let (rows, matrix) = (ids(rows), contiguous(matrix));
    let y = forward(&rows, &matrix);
    match Gather.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish(Saved { rows, height: dims(&matrix)[0] }, y),
        OpsKind::UnTracked(step) => step.finish(y),
    }
}

impl Backward<Flex, 1> for Gather {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let [Some(parent)] = ops.parents else { return };
        let Saved { rows, height } = ops.state;
        let [_, width] = dims(&dy);
        let mut gradient = zeros([height, width]);
        embedding::scatter_add(&rows, numbers(&dy), width, numbers_mut(&mut gradient));
        grads.register::<Flex>(parent.id, gradient);
    }
}
