//! Embedding, linear map, RMSNorm and SwiGLU in plain tensors.

use burn::tensor::activation::silu;
use burn::tensor::{Int, Tensor};

use super::product::product;
use crate::kernels::precision::Precision;

/// As [`embed`](crate::kernels::embed).
pub fn embed(rows: Tensor<1, Int>, matrix: Tensor<2>) -> Tensor<2> {
    matrix.select(0, rows)
}

/// As [`linear`](crate::kernels::linear).
pub fn linear<const N: usize>(x: Tensor<2>, weights: [Tensor<2>; N], precision: Precision) -> Tensor<2> {
    let products = weights.into_iter().map(|weight| product(x.clone(), weight.transpose(), precision));
    Tensor::cat(products.collect(), 1)
}

/// As [`linear_add`](crate::kernels::linear_add).
pub fn linear_add(x: Tensor<2>, weight: Tensor<2>, residual: Tensor<2>, precision: Precision) -> Tensor<2> {
    residual + product(x, weight.transpose(), precision)
}

/// As [`rms_norm`](crate::kernels::rms_norm).
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>, epsilon: f64) -> Tensor<2> {
    let mean_square = x.clone().square().mean_dim(1);
    let scale = (mean_square + epsilon).sqrt().recip();
    x * scale * weight.unsqueeze()
}

/// As [`swiglu`](crate::kernels::swiglu).
pub fn swiglu(joined: Tensor<2>) -> Tensor<2> {
    let [_, width] = joined.dims();
    let gate = joined.clone().narrow(1, 0, width / 2);
    let up = joined.narrow(1, width / 2, width / 2);
    silu(gate) * up
}
