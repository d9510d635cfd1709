//! Causal grouped-query attention without a matrix of scores, forward and backward.
//!
//! After FlashAttention-2 (arXiv 2307.08691): scores exist for one tile of queries by one tile of keys at a
//! time; the forward pass keeps a running maximum and sum for each query and saves log Σ e^score, from which
//! the backward pass computes the probabilities again. Query heads that share a key head are handled by one
//! task, one after another, which packs that head's keys and values once: keys are never repeated, and the
//! gradients of keys and values are sums in a fixed order.
//!
//! Products run on the register tiles of [`micro`](super::micro) with operands packed in place; in bfloat16,
//! queries, keys, values, probabilities and their gradients are rounded for the products only.
//!
//! Layouts: queries, keys and values of a position are one row, [batch, seq, heads + 2 · kv heads, d], as one
//! product makes them; outputs [batch, seq, heads, d], log Σ e^score [batch, heads, seq]. Positions after the
//! end of a sequence (padding on the right) need no mask: nothing before sees them.

mod backward;
mod forward;
mod local;
mod path;
#[cfg(test)]
mod tests;

pub use crate::kernels::attention_spec::AttentionShape;
pub use backward::attention_backward;
pub use forward::attention;
pub use path::AttentionPath;
