//! How an attention is computed.

use crate::kernels::cpu::isa::Isa;
use crate::kernels::precision::Precision;

/// Keys of a tile.
pub(super) const KEYS: usize = 128;
/// Row panels of a tile of queries (56 rows with 14).
pub(super) const QUERY_PANELS: usize = 4;

/// How it is computed.
#[derive(Debug, Clone, Copy)]
pub struct AttentionPath {
    /// The instruction set.
    pub isa: Isa,
    /// The precision of products.
    pub precision: Precision,
}
