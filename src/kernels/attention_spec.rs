//! The sizes of an attention, and where its numbers are.

use super::precision::Precision;

/// What an attention is, besides its tensors.
#[derive(Debug, Clone, Copy)]
pub struct AttentionSpec {
    /// Its sizes.
    pub shape: AttentionShape,
    /// What the operands of products are rounded to.
    pub precision: Precision,
}

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
    pub(super) fn query(&self, batch: usize, position: usize, head: usize) -> usize {
        (batch * self.seq + position) * self.row() + head * self.d
    }

    /// Where the key of a key head is in the row of a position.
    pub(super) fn key(&self, batch: usize, position: usize, kv_head: usize) -> usize {
        self.query(batch, position, self.heads + kv_head)
    }

    /// Where the value of a key head is in the row of a position.
    pub(super) fn value(&self, batch: usize, position: usize, kv_head: usize) -> usize {
        self.query(batch, position, self.heads + self.kv_heads + kv_head)
    }

    /// Panics unless the slices have these sizes.
    pub(super) fn check(&self, rows: &[&[f32]], outputs: &[&[f32]], lse: &[f32]) {
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
    pub(super) fn scale(&self) -> f32 {
        1.0 / (self.d as f32).sqrt()
    }
}
