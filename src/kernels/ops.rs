//! What a transformer block is made of.

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

use super::attention_spec::{AttentionShape, AttentionSpec};
use super::contract::{Kernels, Weights};
use super::precision::Precision;
use super::products::Products;
use super::rotary::RotaryTable;

/// Rows of `matrix` by number: `rows [n]`, `matrix [height, width]` → `[n, width]`. An embedding, or some
/// positions of a batch. Differentiable in `matrix`.
///
/// # Panics
/// Where a row is not in the matrix.
pub fn embed(rows: Tensor<1, Int>, matrix: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::gather_rows(rows.into_dispatch(), matrix.into_dispatch()))
}

/// `x · [a; b; …]ᵀ`: `x [n, in]`, one to three weights `[out_i, in]` → `[n, Σ out_i]`, in one product.
/// Differentiable in all.
///
/// # Panics
/// Where there is no weight, or more than three.
pub fn linear<const N: usize>(x: Tensor<2>, weights: [Tensor<2>; N], products: &Products) -> Tensor<2> {
    let mut weights = weights.into_iter().map(Tensor::into_dispatch);
    let weights = match (weights.next(), weights.next(), weights.next(), weights.next()) {
        (Some(a), None, None, None) => Weights::One(a),
        (Some(a), Some(b), None, None) => Weights::Two(a, b),
        (Some(a), Some(b), Some(c), None) => Weights::Three(a, b, c),
        _ => panic!("one to three weights, not {N}"),
    };
    Tensor::from_dispatch(Dispatch::linear(x.into_dispatch(), weights, products.clone()))
}

/// `residual + x · weightᵀ`: `x [n, in]`, `weight [out, in]`, `residual [n, out]` → `[n, out]`.
/// Differentiable in all.
pub fn linear_add(x: Tensor<2>, weight: Tensor<2>, residual: Tensor<2>, products: &Products) -> Tensor<2> {
    let (x, weight, residual) = (x.into_dispatch(), weight.into_dispatch(), residual.into_dispatch());
    Tensor::from_dispatch(Dispatch::linear_add(x, weight, residual, products.clone()))
}

/// Root-mean-square normalization (Zhang and Sennrich, 1910.07467): `x [n, h]`, `weight [h]` →
/// `[n, h]`. Differentiable in both.
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>, epsilon: f64) -> Tensor<2> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(Dispatch::root_mean_square_norm(x, weight, epsilon))
}

/// `silu(gate) · up`, element by element (Shazeer, 2002.05202), with gate and up side by side as
/// [`linear`] makes them: `[n, 2 · width]` → `[n, width]`. Differentiable.
pub fn swiglu(joined: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::swiglu(joined.into_dispatch()))
}

/// The sizes of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Sequences.
    pub batch: usize,
    /// Positions in each.
    pub sequence: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads, a divisor of `heads`.
    pub kv_heads: usize,
    /// Width of a head, even.
    pub head_dim: usize,
}

/// [`rms_norm`] of each head's queries and keys by itself, before [`causal_attention`] turns them:
/// `qkv [n, (heads + 2 · kv_heads) · head_dim]`, the weights of queries and of keys, `[head_dim]` each → the
/// same shape as `qkv`. Values stay as they are. Differentiable in all.
pub fn norm_heads(qkv: Tensor<2>, weights: [Tensor<1>; 2], heads: Heads, epsilon: f64) -> Tensor<2> {
    let Heads { heads, kv_heads, head_dim, .. } = heads;
    let [rows, _] = qkv.dims();
    let cut = |first: usize, count: usize| qkv.clone().narrow(1, first * head_dim, count * head_dim);
    let norm = |first: usize, count: usize, weight: Tensor<1>| {
        let each = cut(first, count).reshape([rows * count, head_dim]);
        rms_norm(each, weight, epsilon).reshape([rows, count * head_dim])
    };
    let [query, key] = weights;
    let parts = vec![norm(0, heads, query), norm(heads, kv_heads, key), cut(heads + kv_heads, kv_heads)];
    Tensor::cat(parts, 1)
}

/// Causal scaled dot-product attention with grouped queries (Ainslie et al., 2305.13245) of queries and
/// keys that are turned by their position first ([`RotaryTable`]).
///
/// `qkv [batch · sequence, (heads + 2 · kv_heads) · head_dim]` holds the queries, keys and values of a
/// position side by side, as [`linear`] makes them → `[batch · sequence, heads · head_dim]`. Position `i` of
/// a sequence sees `0..=i`, so padding on the right needs no mask of its own. Differentiable.
///
/// # Panics
/// Where the table covers fewer positions than the sequence has.
pub fn causal_attention(
    qkv: Tensor<2>,
    table: &RotaryTable,
    heads: Heads,
    precision: Precision,
) -> Tensor<2> {
    let Heads { batch, sequence, heads, kv_heads, head_dim } = heads;
    let shape = AttentionShape { batch, seq: sequence, heads, kv_heads, d: head_dim };
    let (cos, sin) = table.parts();
    let spec = AttentionSpec { shape, precision };
    let (cos, sin) = (cos.into_dispatch(), sin.into_dispatch());
    Tensor::from_dispatch(Dispatch::causal_attention(qkv.into_dispatch(), cos, sin, spec))
}
