//! Operations that Burn does not have, with their derivatives, as a backend extension.
//!
//! The bodies are compositions of Burn's backend operations, the same for every backend. A backend
//! that can do better overrides them.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, Scalar, TensorMetadata, backend_extension};
use burn::tensor::Shape;

/// What the functions of this module call on Burn's `Dispatch`.
#[backend_extension(Autodiff, Flex)]
pub(super) trait Kernels: Backend {
    /// `value [1]` as a function of the matrices `a` and `b`, whose derivatives are known already.
    fn known_gradients(
        value: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        a_gradient: FloatTensor<Self>,
        b_gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// `gate · sigmoid(gate) · up`, all of one shape.
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl Kernels for Flex {
    fn known_gradients(
        value: FloatTensor<Self>,
        _a: FloatTensor<Self>,
        _b: FloatTensor<Self>,
        _a_gradient: FloatTensor<Self>,
        _b_gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        value
    }

    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let activated = Self::float_mul(sigmoid::<Self>(gate.clone()), gate);
        Self::float_mul(activated, up)
    }
}

impl<B: Backend + Kernels, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn known_gradients(
        value: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        a_gradient: FloatTensor<Self>,
        b_gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let gradients = (a_gradient.into_primitive(), b_gradient.into_primitive());
        match KnownGradients.prepare::<C>([a.node(), b.node()]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish(gradients, value.into_primitive()),
            OpsKind::UnTracked(step) => step.finish(value.into_primitive()),
        }
    }

    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let (gate, gate_node) = gate.into_parts();
        let (up, up_node) = up.into_parts();
        match SwiGlu.prepare::<C>([gate_node, up_node]).compute_bound().stateful() {
            OpsKind::Tracked(step) => {
                let sigmoid = sigmoid::<B>(gate.clone());
                let output = B::float_mul(B::float_mul(gate.clone(), sigmoid.clone()), up.clone());
                step.finish((gate, up, sigmoid), output)
            }
            OpsKind::UnTracked(step) => step.finish(B::swiglu(gate, up)),
        }
    }
}

/// `1 / (1 + exp(-x))`. The exponential may overflow to infinity, whose reciprocal is the right zero.
fn sigmoid<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let exponential = B::float_exp(B::float_neg(x));
    B::float_recip(B::float_add_scalar(exponential, Scalar::Float(1.0)))
}

#[derive(Debug)]
struct KnownGradients;

impl<B: Backend> Backward<B, 2> for KnownGradients {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let upstream = grads.consume::<B>(&ops.node);
        let [a, b] = ops.parents;
        for (node, gradient) in [(a, ops.state.0), (b, ops.state.1)] {
            let Some(node) = node else { continue };
            debug_assert_eq!(gradient.shape().num_dims(), 2);
            let upstream = B::float_reshape(upstream.clone(), Shape::new([1, 1]));
            grads.register::<B>(node.id, B::float_mul(gradient, upstream));
        }
    }
}

#[derive(Debug)]
struct SwiGlu;

impl<B: Backend> Backward<B, 2> for SwiGlu {
    /// Gate, up, and the sigmoid of the gate.
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let upstream = grads.consume::<B>(&ops.node);
        let [gate_node, up_node] = ops.parents;
        let (gate, up, sigmoid) = ops.state;
        let activated = B::float_mul(gate, sigmoid.clone());
        if let Some(node) = up_node {
            grads.register::<B>(node.id, B::float_mul(activated.clone(), upstream.clone()));
        }
        if let Some(node) = gate_node {
            // The derivative of x·s(x) is s + x·s - x·s·s.
            let square = B::float_mul(activated.clone(), sigmoid.clone());
            let slope = B::float_sub(B::float_add(sigmoid, activated), square);
            grads.register::<B>(node.id, B::float_mul(B::float_mul(slope, up), upstream));
        }
    }
}
