//! SwiGLU of gate and up side by side.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, tensor::FloatTensor};
use burn_flex::FlexTensor;

use super::tensor::{blank, contiguous, dims, isa, numbers, numbers_mut};
use crate::kernels::cpu::swiglu as kernel;

/// `gate · sigmoid(gate) · up` of `[n, gate + up]`.
pub fn swiglu(joined: FlexTensor) -> FlexTensor {
    let joined = contiguous(joined);
    let [n, width] = dims(&joined);
    let mut y = blank::<f32>([n, width / 2]);
    kernel::swiglu(isa(), numbers(&joined), width / 2, numbers_mut(&mut y));
    y
}

#[derive(Debug)]
struct SwiGlu;

/// [`swiglu`] in a graph.
pub fn swiglu_tracked<C: CheckpointStrategy>(
    joined: FloatTensor<Autodiff<Flex, C>>,
) -> FloatTensor<Autodiff<Flex, C>> {
    let (joined, node) = joined.into_parts();
    let joined = contiguous(joined);
    match SwiGlu.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish(joined.clone(), swiglu(joined)),
        OpsKind::UnTracked(step) => step.finish(swiglu(joined)),
    }
}

impl Backward<Flex, 1> for SwiGlu {
    type State = FlexTensor;

    fn backward(self, ops: Ops<FlexTensor, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let [Some(parent)] = ops.parents else { return };
        let [n, width] = dims(&ops.state);
        let mut gradient = blank::<f32>([n, width]);
        let to = numbers_mut(&mut gradient);
        kernel::swiglu_backward(isa(), numbers(&ops.state), width / 2, numbers(&dy), to);
        grads.register::<Flex>(parent.id, gradient);
    }
}
