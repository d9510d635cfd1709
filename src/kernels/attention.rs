//! Causal attention with grouped queries.

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Tensor};

/// Causal scaled dot-product attention with grouped queries (Ainslie et al., 2305.13245).
///
/// `query [batch, sequence, heads, head_dim]`, `key` and `value [batch, sequence, kv_heads,
/// head_dim]` with `kv_heads` a divisor of `heads` → `[batch, sequence, heads, head_dim]`. Position
/// `i` sees `0..=i`, so padding on the right needs no mask of its own. Differentiable in all three.
pub fn causal_attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>) -> Tensor<4> {
    let [batch, sequence, heads, head_dim] = query.dims();
    let kv_heads = key.dims()[2];
    let group = heads / kv_heads;
    // The queries that share a key-value head are stacked along the sequence: one product a
    // key-value head, and no repeated keys.
    let scale = 1.0 / (head_dim as f64).sqrt();
    let query = (query * scale)
        .reshape([batch, sequence, kv_heads, group, head_dim])
        .permute([0, 2, 3, 1, 4])
        .reshape([batch, kv_heads, group * sequence, head_dim]);
    let key = key.permute([0, 2, 3, 1]);
    let value = value.permute([0, 2, 1, 3]);
    let future = Tensor::<2, Bool>::tril_mask([sequence, sequence], 0, &query.device());
    let bias = Tensor::<2>::zeros([sequence, sequence], &query.device().without_autodiff())
        .mask_fill(future, f32::NEG_INFINITY);
    let scores = query.matmul(key).reshape([batch * kv_heads * group, sequence, sequence]) + bias.unsqueeze();
    let weights = softmax(scores, 2).reshape([batch, kv_heads, group * sequence, sequence]);
    weights
        .matmul(value)
        .reshape([batch, kv_heads, group, sequence, head_dim])
        .permute([0, 3, 1, 2, 4])
        .reshape([batch, sequence, heads, head_dim])
}
