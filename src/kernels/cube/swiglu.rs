//! SwiGLU of gate and up side by side.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Cube, tensor::FloatTensor};
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::tensor::{blank_f32, contiguous, dims, units};

/// Its exponential is of what is below zero, so that nothing overflows.
#[cube]
fn sigmoid(x: f32) -> f32 {
    let decay = (-x.abs()).exp();
    let of_positive = f32::new(1.0) / (f32::new(1.0) + decay);
    if x < f32::new(0.0) { decay * of_positive } else { of_positive }
}

#[cube(launch)]
fn gate(joined: &[f32], y: &mut [f32], n: usize, width: usize) {
    if ABSOLUTE_POS < n {
        let row = ABSOLUTE_POS / width;
        let at = ABSOLUTE_POS + row * width;
        let gate = joined[at];
        y[ABSOLUTE_POS] = gate * sigmoid(gate) * joined[at + width];
    }
}

#[cube(launch)]
fn gate_backward(joined: &[f32], dy: &[f32], gradient: &mut [f32], n: usize, width: usize) {
    if ABSOLUTE_POS < n {
        let row = ABSOLUTE_POS / width;
        let at = ABSOLUTE_POS + row * width;
        let (gate, up, dy) = (joined[at], joined[at + width], dy[ABSOLUTE_POS]);
        let open = sigmoid(gate);
        gradient[at] = dy * up * open * (f32::new(1.0) + gate * (f32::new(1.0) - open));
        gradient[at + width] = dy * gate * open;
    }
}

/// `gate · sigmoid(gate) · up` of `[n, gate + up]`.
pub fn swiglu(joined: CubeTensor) -> CubeTensor {
    let joined = contiguous(joined);
    let [n, width] = dims(&joined);
    let width = width / 2;
    let y = blank_f32(&joined, [n, width]);
    let (count, dim) = units(n * width);
    let (from, to) = (joined.clone().into_buffer_arg(), y.clone().into_buffer_arg());
    gate::launch(&joined.client, count, dim, from, to, n * width, width);
    y
}

#[derive(Debug)]
struct SwiGlu;

/// [`swiglu`] in a graph.
pub fn swiglu_tracked<C: CheckpointStrategy>(
    joined: FloatTensor<Autodiff<Cube, C>>,
) -> FloatTensor<Autodiff<Cube, C>> {
    let (joined, node) = joined.into_parts();
    let joined = contiguous(joined);
    match SwiGlu.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish(joined.clone(), swiglu(joined)),
        OpsKind::UnTracked(step) => step.finish(swiglu(joined)),
    }
}

impl Backward<Cube, 1> for SwiGlu {
    type State = CubeTensor;

    fn backward(self, ops: Ops<CubeTensor, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(grads.consume::<Cube>(&ops.node));
        let [Some(parent)] = ops.parents else { return };
        let joined = ops.state;
        let [n, width] = dims(&dy);
        let gradient = blank_f32(&joined, [n, 2 * width]);
        let (count, dim) = units(n * width);
        gate_backward::launch(
            &joined.client,
            count,
            dim,
            joined.clone().into_buffer_arg(),
            dy.into_buffer_arg(),
            gradient.clone().into_buffer_arg(),
            n * width,
            width,
        );
        grads.register::<Cube>(parent.id, gradient);
    }
}
