//! A value whose gradients are already known, as an operation of Burn's autodiff.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Shape, Tensor};

use super::distillation::Projection;

/// `value [1]` made a function of the student's hidden states and head, whose derivatives are
/// `hidden_gradient` and `head_gradient`. Outside a graph it stays as it is.
pub(super) fn attach_gradients(
    value: Tensor<1>,
    student: Projection,
    hidden_gradient: Tensor<2>,
    head_gradient: Tensor<2>,
) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::known_gradients(
        value.into_dispatch(),
        student.hidden.into_dispatch(),
        student.head.into_dispatch(),
        hidden_gradient.into_dispatch(),
        head_gradient.into_dispatch(),
    ))
}

#[backend_extension(Autodiff, Flex)]
trait KnownGradients: Backend {
    /// `value`, with the given gradients in `a` and `b`.
    fn known_gradients(
        value: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        a_gradient: FloatTensor<Self>,
        b_gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl KnownGradients for Flex {
    fn known_gradients(
        value: FloatTensor<Self>,
        _a: FloatTensor<Self>,
        _b: FloatTensor<Self>,
        _a_gradient: FloatTensor<Self>,
        _b_gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        value
    }
}

impl<B: Backend, C: CheckpointStrategy> KnownGradients for Autodiff<B, C> {
    fn known_gradients(
        value: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        a_gradient: FloatTensor<Self>,
        b_gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (a_gradient, b_gradient) = (a_gradient.into_primitive(), b_gradient.into_primitive());
        let step = Scale.prepare::<C>([a.node(), b.node()]).compute_bound().stateful();
        match step {
            OpsKind::Tracked(step) => step.finish((a_gradient, b_gradient), value.into_primitive()),
            OpsKind::UnTracked(step) => step.finish(value.into_primitive()),
        }
    }
}

/// Backward: the known gradients times that of the value.
#[derive(Debug)]
struct Scale;

impl<B: Backend> Backward<B, 2> for Scale {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [a, b] = ops.parents;
        let upstream = grads.consume::<B>(&ops.node);
        let (a_gradient, b_gradient) = ops.state;
        for (node, gradient) in [(a, a_gradient), (b, b_gradient)] {
            let Some(node) = node else { continue };
            let upstream = B::float_reshape(upstream.clone(), Shape::new([1; 2]));
            debug_assert_eq!(gradient.shape().num_dims(), 2);
            grads.register::<B>(node.id, B::float_mul(gradient, upstream));
        }
    }
}
