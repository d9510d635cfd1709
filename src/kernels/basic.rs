//! Embedding, linear map, RMSNorm and SwiGLU.

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

use super::extension::Kernels;

/// Rows of `weight` by id: `ids [n]`, `weight [vocab, hidden]` → `[n, hidden]`. Differentiable in
/// `weight`.
pub fn embed(ids: Tensor<1, Int>, weight: Tensor<2>) -> Tensor<2> {
    weight.select(0, ids)
}

/// `x · weightᵀ`: `x [n, in]`, `weight [out, in]` → `[n, out]`. Differentiable in both.
pub fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    x.matmul(weight.transpose())
}

/// Root-mean-square normalization (Zhang and Sennrich, 1910.07467): `x [n, h]`, `weight [h]` →
/// `[n, h]`. Differentiable in both.
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>, epsilon: f64) -> Tensor<2> {
    let mean_square = x.clone().square().mean_dim(1);
    let scale = (mean_square + epsilon).sqrt().recip();
    x * scale * weight.unsqueeze()
}

/// `silu(gate) · up`, element by element (Shazeer, 2002.05202). Differentiable in both.
pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::swiglu(gate.into_dispatch(), up.into_dispatch()))
}
