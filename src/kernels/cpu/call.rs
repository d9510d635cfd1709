//! What the innermost loops of a product are called with, and how their operands are packed.

/// One call of a kernel: `c = alpha · a · b + beta · c`; c is not read when beta is zero.
pub(super) struct Call {
    /// Rows that exist, at least 1 and at most the tile's.
    pub rows: usize,
    /// Columns that exist, at least 1 and at most the tile's.
    pub columns: usize,
    /// Words of k.
    pub depth: usize,
    /// A panel: `depth` times the tile's rows.
    pub a: *const f32,
    /// A panel, 64-byte aligned: `depth` times the tile's columns.
    pub b: *const f32,
    /// The first element of the tile.
    pub c: *mut f32,
    /// Elements between rows of c.
    pub stride: usize,
    pub alpha: f32,
    pub beta: f32,
}

/// How numbers are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// As they are.
    F32,
    /// Rounded to bfloat16 and stored as f32, for paths that multiply f32 only.
    Rounded,
    /// Rounded to bfloat16, two consecutive k in a word.
    Pairs,
    /// `Pairs`, with zeros up to a whole number of tile depths: right-hand sides for tile registers.
    TiledRight,
    /// The words of `TiledRight`, 16 rows by 16 words of k at a time, row after row: left-hand sides for tile
    /// registers.
    TiledLeft,
}

/// Words of k that a tile register takes.
pub(super) const TILE_DEPTH: usize = 16;

impl Format {
    /// Values of k in a word.
    pub const fn per_word(self) -> usize {
        match self {
            Format::F32 | Format::Rounded => 1,
            Format::Pairs | Format::TiledRight | Format::TiledLeft => 2,
        }
    }
}
