//! The contract: what every backend computes, as an extension of Burn's backends, and the plain types that it
//! takes.
//!
//! A backend that joins implements the trait for itself and, with derivatives, for `Autodiff` of
//! itself. [`reference`](super::reference) says in plain tensors what each operation is.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, BackendTensor, Dispatch, DispatchAutodiffContext, DispatchTensor,
    DispatchTensorKind, ExtensionType, backend_extension,
};

use super::adamw_spec::AdamW;
use super::attention_spec::AttentionSpec;
use super::loss_spec::{Distillation, Measured};
use super::products::{Packed, Products};

/// Weights of one product, side by side.
#[derive(Debug, Clone, ExtensionType)]
pub enum Weights<B: Backend> {
    /// One.
    One(FloatTensor<B>),
    /// Two.
    Two(FloatTensor<B>, FloatTensor<B>),
    /// Three.
    Three(FloatTensor<B>, FloatTensor<B>, FloatTensor<B>),
}

/// What the teacher says of a batch.
#[derive(Debug, Clone, ExtensionType)]
pub enum Teacher<B: Backend> {
    /// Nothing: there is none.
    None,
    /// Its last hidden states and its head.
    Hidden {
        /// `[n, hidden]`
        hidden: FloatTensor<B>,
        /// `[vocab, hidden]`
        head: FloatTensor<B>,
        /// How logits are made of them.
        how: Products,
    },
    /// Its last hidden states, and its head, packed.
    Packed {
        /// `[n, hidden]`
        hidden: FloatTensor<B>,
        /// For the student's vocabulary.
        head: Packed,
    },
    /// Its largest logits.
    TopK {
        /// `[n, k]`
        ids: IntTensor<B>,
        /// `[n, k]`
        logits: FloatTensor<B>,
        /// `[n]`: what every other token of a row has.
        rest: FloatTensor<B>,
    },
}

/// What a gradient is multiplied by.
#[derive(Debug, Clone, ExtensionType)]
pub enum GradientScale<B: Backend> {
    /// A number.
    By(f64),
    /// `limit / (norm + epsilon)` where that is less than one.
    Down {
        /// `[1]`
        norm: FloatTensor<B>,
        /// The norm that is allowed.
        limit: f64,
        /// Keeps the divisor from zero.
        epsilon: f64,
    },
}

/// Any number of tensors.
#[derive(Debug, Clone)]
pub struct Vectors<B: Backend>(pub Vec<FloatTensor<B>>);

impl<B: Backend> ExtensionType<B> for Vectors<B> {
    type Target = Vectors<Dispatch>;

    fn map_to_dispatch<F>(self, map_kind: F, autodiff: DispatchAutodiffContext) -> Self::Target
    where
        F: Fn(BackendTensor<B>) -> DispatchTensorKind,
    {
        let one = |tensor| DispatchTensor { kind: map_kind(BackendTensor::Float(tensor)), autodiff };
        Vectors(self.0.into_iter().map(one).collect())
    }

    fn map_from_dispatch<F>(target: Self::Target, unwrap_kind: F) -> Self
    where
        F: Fn(DispatchTensor) -> BackendTensor<B>,
    {
        Self(target.0.into_iter().map(|tensor| unwrap_kind(tensor).float()).collect())
    }

    fn routing_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.0.first()
    }

    fn routing_float_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.0.first()
    }

    fn autodiff_context(target: &Self::Target) -> DispatchAutodiffContext {
        let merged =
            |context: DispatchAutodiffContext, tensor: &DispatchTensor| context.merge(tensor.autodiff);
        target.0.iter().fold(DispatchAutodiffContext::Disabled, merged)
    }
}

impl<B: Backend, C: CheckpointStrategy> Vectors<Autodiff<B, C>> {
    /// Out of the graph.
    pub(super) fn into_primitive(self) -> Vectors<B> {
        Vectors(self.0.into_iter().map(|tensor| tensor.into_primitive()).collect())
    }

    /// Of tensors outside any graph.
    pub(super) fn tracked(vectors: Vectors<B>) -> Self {
        Self(vectors.0.into_iter().map(Autodiff::<B, C>::from_inner).collect())
    }
}

/// What the functions of this module's parent call on Burn's `Dispatch`. Those that have no derivative
/// take tensors outside any graph.
#[backend_extension(Autodiff, Flex, Cube: cfg(any(feature = "cuda", feature = "vulkan")))]
pub(super) trait Kernels: Backend {
    /// `rows` of `matrix`.
    fn gather_rows(rows: IntTensor<Self>, matrix: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `weight · x / √(mean x² + epsilon)`.
    fn root_mean_square_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;

    /// `x · weightsᵀ`, the weights side by side.
    fn linear(
        x: FloatTensor<Self>,
        #[extension_type] weights: Weights<Self>,
        products: Products,
    ) -> FloatTensor<Self>;

    /// `residual + x · weightᵀ`.
    fn linear_add(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        products: Products,
    ) -> FloatTensor<Self>;

    /// `gate · sigmoid(gate) · up`, with both in a row.
    fn swiglu(joined: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Rotary embedding and causal attention, with queries, keys and values in a row.
    fn causal_attention(
        qkv: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        spec: AttentionSpec,
    ) -> FloatTensor<Self>;

    /// Losses `[3]`: the mixture, hard, soft; and the mixture's gradient in hidden states and head. No
    /// derivative of its own: [`Kernels::known_gradients`] puts it into a graph.
    fn loss_with_gradients(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        #[extension_type] teacher: Teacher<Self>,
        targets: IntTensor<Self>,
        how: Products,
        mix: Distillation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Sums over rows. No derivative.
    fn measure(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        #[extension_type] teacher: Teacher<Self>,
        targets: IntTensor<Self>,
        how: Products,
        mix: Distillation,
    ) -> Measured;

    /// `value [1]` as a function of the matrices `a` and `b`, whose derivatives are known already.
    fn known_gradients(
        value: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        a_gradient: FloatTensor<Self>,
        b_gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Σ x². Waits for the device. No derivative.
    fn sum_of_squares(vector: FloatTensor<Self>) -> f64;

    /// The root of Σ x² over all vectors, `[1]`. No derivative.
    fn norm(#[extension_type] vectors: Vectors<Self>) -> FloatTensor<Self>;

    /// A step of AdamW on vectors: the new parameters and both moments. No derivative.
    fn adamw_step(
        #[extension_type] parameters: Vectors<Self>,
        #[extension_type] gradients: Vectors<Self>,
        #[extension_type] firsts: Vectors<Self>,
        #[extension_type] seconds: Vectors<Self>,
        #[extension_type] scale: GradientScale<Self>,
        adamw: AdamW,
    ) -> (Vectors<Self>, Vectors<Self>, Vectors<Self>);
}

impl<B: Backend> Weights<B> {
    /// In their order.
    pub(super) fn into_vec(self) -> Vec<FloatTensor<B>> {
        match self {
            Self::One(a) => vec![a],
            Self::Two(a, b) => vec![a, b],
            Self::Three(a, b, c) => vec![a, b, c],
        }
    }
}

impl<B: Backend, C: CheckpointStrategy> Teacher<Autodiff<B, C>> {
    /// Outside any graph.
    pub(super) fn into_primitive(self) -> Teacher<B> {
        match self {
            Self::None => Teacher::None,
            Self::Hidden { hidden, head, how } => {
                Teacher::Hidden { hidden: hidden.into_primitive(), head: head.into_primitive(), how }
            }
            Self::Packed { hidden, head } => Teacher::Packed { hidden: hidden.into_primitive(), head },
            Self::TopK { ids, logits, rest } => {
                Teacher::TopK { ids, logits: logits.into_primitive(), rest: rest.into_primitive() }
            }
        }
    }
}

impl<B: Backend, C: CheckpointStrategy> GradientScale<Autodiff<B, C>> {
    /// Outside any graph.
    pub(super) fn into_primitive(self) -> GradientScale<B> {
        match self {
            Self::By(scale) => GradientScale::By(scale),
            Self::Down { norm, limit, epsilon } => {
                GradientScale::Down { norm: norm.into_primitive(), limit, epsilon }
            }
        }
    }
}
