//! RMSNorm.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, tensor::FloatTensor};
use burn_flex::FlexTensor;

use super::tensor::{blank, contiguous, dims, isa, numbers, numbers_mut, tensor};
use crate::kernels::cpu::norm;

/// The normalized rows, and what each was divided by, inverted.
fn forward(x: &FlexTensor, weight: &FlexTensor, epsilon: f64) -> (FlexTensor, Vec<f32>) {
    let [n, width] = dims(x);
    let (mut y, mut inverse_rms) = (blank::<f32>([n, width]), vec![0.0; n]);
    let to = numbers_mut(&mut y);
    norm::rms_norm(isa(), numbers(x), numbers(weight), epsilon as f32, to, &mut inverse_rms);
    (y, inverse_rms)
}

/// `weight · x / √(mean x² + epsilon)`.
pub fn rms_norm(x: FlexTensor, weight: FlexTensor, epsilon: f64) -> FlexTensor {
    forward(&contiguous(x), &contiguous(weight), epsilon).0
}

#[derive(Debug)]
struct RmsNorm;

#[derive(Debug, Clone)]
struct Saved {
    x: FlexTensor,
    weight: FlexTensor,
    inverse_rms: Vec<f32>,
}

/// [`rms_norm`] in a graph.
pub fn rms_norm_tracked<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Flex, C>>,
    weight: FloatTensor<Autodiff<Flex, C>>,
    epsilon: f64,
) -> FloatTensor<Autodiff<Flex, C>> {
    let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
    let (x, weight) = (contiguous(x), contiguous(weight));
    let (y, inverse_rms) = forward(&x, &weight, epsilon);
    match RmsNorm.prepare::<C>([x_node, weight_node]).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish(Saved { x, weight, inverse_rms }, y),
        OpsKind::UnTracked(step) => step.finish(y),
    }
}

impl Backward<Flex, 2> for RmsNorm {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(grads.consume::<Flex>(&ops.node));
        let Saved { x, weight, inverse_rms } = ops.state;
        let [n, width] = dims(&x);
        let (mut dx, mut dweight) = (blank::<f32>([n, width]), vec![0.0; width]);
        norm::rms_norm_backward(
            isa(),
            numbers(&x),
            numbers(&weight),
            &inverse_rms,
            numbers(&dy),
            numbers_mut(&mut dx),
            &mut dweight,
        );
        let [x, weight] = ops.parents;
        if let Some(x) = x {
            grads.register::<Flex>(x.id, dx);
        }
        if let Some(weight) = weight {
            grads.register::<Flex>(weight.id, tensor(dweight, [width]));
        }
    }
}
