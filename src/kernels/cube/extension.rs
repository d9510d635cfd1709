//! The operations on Burn's GPU backend.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend, Cube};

use super::{adamw, attention, embedding, linear, loss, norm, swiglu};
use crate::kernels::adamw_spec::AdamW;
use crate::kernels::attention_spec::AttentionSpec;
use crate::kernels::contract::{GradientScale, Kernels, Teacher, Vectors, Weights};
use crate::kernels::loss_spec::{Distillation, Measured};
use crate::kernels::products::Products;

impl Kernels for Cube {
    fn gather_rows(rows: IntTensor<Self>, matrix: FloatTensor<Self>) -> FloatTensor<Self> {
        embedding::gather(rows, matrix)
    }

    fn root_mean_square_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        norm::rms_norm(x, weight, epsilon)
    }

    fn linear(x: FloatTensor<Self>, weights: Weights<Self>, products: Products) -> FloatTensor<Self> {
        linear::linear(x, weights.into_vec(), products.precision)
    }

    fn linear_add(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        products: Products,
    ) -> FloatTensor<Self> {
        linear::linear_add(x, weight, residual, products.precision)
    }

    fn swiglu(joined: FloatTensor<Self>) -> FloatTensor<Self> {
        swiglu::swiglu(joined)
    }

    fn causal_attention(
        qkv: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        spec: AttentionSpec,
    ) -> FloatTensor<Self> {
        attention::attention(qkv, cos, sin, spec)
    }

    fn loss_with_gradients(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        teacher: Teacher<Self>,
        targets: IntTensor<Self>,
        how: Products,
        mix: Distillation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        loss::with_gradients(hidden, head, teacher, targets, &how, &mix)
    }

    fn measure(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        teacher: Teacher<Self>,
        targets: IntTensor<Self>,
        how: Products,
        mix: Distillation,
    ) -> Measured {
        loss::measure(hidden, head, teacher, targets, &how, &mix)
    }

    fn known_gradients(
        value: FloatTensor<Self>,
        _a: FloatTensor<Self>,
        _b: FloatTensor<Self>,
        _a_gradient: FloatTensor<Self>,
        _b_gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        value
    }

    fn sum_of_squares(vector: FloatTensor<Self>) -> f64 {
        adamw::sum_of_squares(vector)
    }

    fn norm(vectors: Vectors<Self>) -> FloatTensor<Self> {
        adamw::norm(vectors.0)
    }

    fn adamw_step(
        parameters: Vectors<Self>,
        gradients: Vectors<Self>,
        firsts: Vectors<Self>,
        seconds: Vectors<Self>,
        scale: GradientScale<Self>,
        settings: AdamW,
    ) -> (Vectors<Self>, Vectors<Self>, Vectors<Self>) {
        let (parameters, firsts, seconds) =
            adamw::step(parameters.0, gradients.0, [firsts.0, seconds.0], scale, &settings);
        (Vectors(parameters), Vectors(firsts), Vectors(seconds))
    }
}

impl<C: CheckpointStrategy> Kernels for Autodiff<Cube, C> {
    fn gather_rows(rows: IntTensor<Self>, matrix: FloatTensor<Self>) -> FloatTensor<Self> {
        embedding::gather_tracked::<C>(rows, matrix)
    }

    fn root_mean_square_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        norm::rms_norm_tracked::<C>(x, weight, epsilon)
    }

    fn linear(x: FloatTensor<Self>, weights: Weights<Self>, products: Products) -> FloatTensor<Self> {
        let precision = products.precision;
        match weights.into_vec() {
            weights if weights.len() == 1 => linear::linear_tracked::<C, 2>(x, weights, precision),
            weights if weights.len() == 2 => linear::linear_tracked::<C, 3>(x, weights, precision),
            weights => linear::linear_tracked::<C, 4>(x, weights, precision),
        }
    }

    fn linear_add(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        products: Products,
    ) -> FloatTensor<Self> {
        linear::linear_add_tracked::<C>(x, weight, residual, products.precision)
    }

    fn swiglu(joined: FloatTensor<Self>) -> FloatTensor<Self> {
        swiglu::swiglu_tracked::<C>(joined)
    }

    fn causal_attention(
        qkv: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        spec: AttentionSpec,
    ) -> FloatTensor<Self> {
        attention::attention_tracked::<C>(qkv, cos.into_primitive(), sin.into_primitive(), spec)
    }

    fn loss_with_gradients(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        teacher: Teacher<Self>,
        targets: IntTensor<Self>,
        how: Products,
        mix: Distillation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (hidden, head) = (hidden.into_primitive(), head.into_primitive());
        let teacher = teacher.into_primitive();
        let (losses, hidden, head) = Cube::loss_with_gradients(hidden, head, teacher, targets, how, mix);
        (Self::from_inner(losses), Self::from_inner(hidden), Self::from_inner(head))
    }

    fn measure(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        teacher: Teacher<Self>,
        targets: IntTensor<Self>,
        how: Products,
        mix: Distillation,
    ) -> Measured {
        let (hidden, head) = (hidden.into_primitive(), head.into_primitive());
        Cube::measure(hidden, head, teacher.into_primitive(), targets, how, mix)
    }

    fn known_gradients(
        value: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        a_gradient: FloatTensor<Self>,
        b_gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let gradients = (a_gradient.into_primitive(), b_gradient.into_primitive());
        loss::known_gradients::<C>(value.into_primitive(), [a, b], gradients)
    }

    fn sum_of_squares(vector: FloatTensor<Self>) -> f64 {
        Cube::sum_of_squares(vector.into_primitive())
    }

    fn norm(vectors: Vectors<Self>) -> FloatTensor<Self> {
        Self::from_inner(Cube::norm(vectors.into_primitive()))
    }

    fn adamw_step(
        parameters: Vectors<Self>,
        gradients: Vectors<Self>,
        firsts: Vectors<Self>,
        seconds: Vectors<Self>,
        scale: GradientScale<Self>,
        settings: AdamW,
    ) -> (Vectors<Self>, Vectors<Self>, Vectors<Self>) {
        let (parameters, gradients) = (parameters.into_primitive(), gradients.into_primitive());
        let (firsts, seconds) = (firsts.into_primitive(), seconds.into_primitive());
        let scale = scale.into_primitive();
        let (parameters, firsts, seconds) =
            Cube::adamw_step(parameters, gradients, firsts, seconds, scale, settings);
        (Vectors::tracked(parameters), Vectors::tracked(firsts), Vectors::tracked(seconds))
    }
}
