//! Rotary embedding and causal attention in plain tensors.

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Tensor};

use super::product::product;
use crate::kernels::ops::Heads;
use crate::kernels::precision::Precision;
use crate::kernels::rotary::RotaryTable;

/// As [`causal_attention`](crate::kernels::causal_attention).
pub fn causal_attention(
    qkv: Tensor<2>,
    table: &RotaryTable,
    heads: Heads,
    precision: Precision,
) -> Tensor<2> {
    let Heads { batch, sequence, heads, kv_heads, head_dim } = heads;
    let part = |first: usize, heads: usize| {
        let part = qkv.clone().narrow(1, first * head_dim, heads * head_dim);
        part.reshape([batch, sequence, heads, head_dim])
    };
    let query = rotary(part(0, heads), table);
    let key = rotary(part(heads, kv_heads), table);
    let value = part(heads + kv_heads, kv_heads);
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
    let scores = product(query, key, precision).reshape([batch * kv_heads * group, sequence, sequence])
        + bias.unsqueeze();
    let weights = softmax(scores, 2).reshape([batch, kv_heads, group * sequence, sequence]);
    product(weights, value, precision)
        .reshape([batch, kv_heads, group, sequence, head_dim])
        .permute([0, 3, 1, 2, 4])
        .reshape([batch * sequence, heads * head_dim])
}

/// Turns the pairs `(x[i], x[i + head_dim / 2])` of each head by the angle of its position:
/// `x [batch, sequence, heads, head_dim]` → the same shape.
fn rotary(x: Tensor<4>, table: &RotaryTable) -> Tensor<4> {
    let [_, sequence, _, head_dim] = x.dims();
    let half = head_dim / 2;
    let (cos, sin) = table.parts();
    let [cos, sin] = [cos, sin].map(|t| t.narrow(0, 0, sequence).reshape([1, sequence, 1, half]));
    let first = x.clone().narrow(3, 0, half);
    let second = x.narrow(3, half, half);
    let turned_first = first.clone() * cos.clone() - second.clone() * sin.clone();
    let turned_second = second * cos + first * sin;
    Tensor::cat(vec![turned_first, turned_second], 3)
}
