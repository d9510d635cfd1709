//! Matrix products in either precision.

use burn::tensor::{DType, Tensor};

use crate::kernels::precision::Precision;

/// `a · b`, the operands rounded to the precision; the result in single precision. In bfloat16 a device
/// sums in single precision and rounds the result before it is widened again.
pub(super) fn product<const D: usize>(a: Tensor<D>, b: Tensor<D>, precision: Precision) -> Tensor<D> {
    match precision {
        Precision::F32 => single(a).matmul(single(b)),
        Precision::Bf16 => single(a.cast(DType::BF16).matmul(b.cast(DType::BF16))),
    }
}

/// In single precision.
pub(super) fn single<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if tensor.dtype() == DType::F32 { tensor } else { tensor.cast(DType::F32) }
}
