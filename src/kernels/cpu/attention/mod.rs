//! Causal grouped-query attention without a matrix of scores, forward and backward.
//!
//! After FlashAttention-2 (arXiv 2307.08691): scores exist for one tile of queries by one tile of keys at a time;
//! the forward pass keeps a running maximum and sum for each query and saves log Σ e^score, from which the
//! backward pass computes the probabilities again. Query heads that share a key head are handled by one task,
//! one after another, which packs that head's keys and values once: keys are never repeated, and the gradients
//! of keys and values are sums in a fixed order.
//!
//! Products run on the register tiles of [`micro`](super::micro) with operands packed in place; in bfloat16, queries,
//! keys, values, probabilities and their gradients are rounded for the products only.
//!
//! Layouts: queries, keys and values of a position are one row, [batch, seq, heads + 2 · kv heads, d], as one
//! product makes them; outputs [batch, seq, heads, d], log Σ e^score [batch, heads, seq]. Positions after the end of a sequence (padding on the right) need no mask: nothing before
//! sees them.

mod backward;
mod forward;
mod local;
#[cfg(test)]
mod tests;

use super::isa::{Isa, Precision};
use super::{isa, simd};

pub use backward::attention_backward;
pub use forward::attention;

/// Keys of a tile.
const KEYS: usize = 128;
/// Row panels of a tile of queries (56 rows with 14).
const QUERY_PANELS: usize = 4;

/// The sizes of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// Sequences.
    pub batch: usize,
    /// Positions in each.
    pub seq: usize,
    /// Query heads, a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Numbers in a head's vector.
    pub d: usize,
}

impl AttentionShape {
    /// Numbers in a row of queries, keys and values.
    pub fn row(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.d
    }

    /// Where the first query of a head is in the row of a position.
    fn query(&self, batch: usize, position: usize, head: usize) -> usize {
        (batch * self.seq + position) * self.row() + head * self.d
    }

    /// Where the key of a key head is in the row of a position.
    fn key(&self, batch: usize, position: usize, kv_head: usize) -> usize {
        self.query(batch, position, self.heads + kv_head)
    }

    /// Where the value of a key head is in the row of a position.
    fn value(&self, batch: usize, position: usize, kv_head: usize) -> usize {
        self.query(batch, position, self.heads + self.kv_heads + kv_head)
    }

    /// Panics unless the slices have these sizes.
    fn check(&self, rows: &[&[f32]], outputs: &[&[f32]], lse: &[f32]) {
        assert!(
            self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads),
            "{self:?}: heads do not share evenly"
        );
        assert!(self.d > 0, "{self:?}: empty heads");
        let positions = self.batch * self.seq;
        assert!(rows.iter().all(|x| x.len() == positions * self.row()), "{self:?}: rows of other shapes");
        let output = positions * self.heads * self.d;
        assert!(outputs.iter().all(|x| x.len() == output), "{self:?}: outputs of other shapes");
        assert_eq!(lse.len(), self.batch * self.seq * self.heads, "{self:?}: sums of other shapes");
    }

    /// What scores are multiplied by.
    fn scale(&self) -> f32 {
        1.0 / (self.d as f32).sqrt()
    }
}

/// How it is computed.
#[derive(Debug, Clone, Copy)]
pub struct AttentionPath {
    /// The instruction set.
    pub isa: Isa,
    /// The precision of products.
    pub precision: Precision,
}
