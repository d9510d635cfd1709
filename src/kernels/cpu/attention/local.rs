//! Small products on one thread, of operands packed next to where they are used.

use super::super::call::{Call, Format};
use super::super::matrix::MatRef;
use super::super::micro::Tile;
use super::super::pack::{depth_of, pack_panel};

/// Words that a packed k×n operand takes.
pub fn len(tile: &Tile, width: usize, k: usize, n: usize) -> usize {
    depth_of(tile.format, k) * n.next_multiple_of(width)
}

/// Packs a k×n matrix into panels of all its depth, as a right operand.
pub fn pack_right(tile: &Tile, source: MatRef, to: &mut [f32]) {
    pack(tile, tile.format, tile.columns, source, to);
}

/// Packs a m×k matrix into panels of all its depth, as a left operand.
pub fn pack_left(tile: &Tile, source: MatRef, to: &mut [f32]) {
    pack(tile, tile.left, tile.rows, source.t(), to);
}

fn pack(tile: &Tile, format: Format, width: usize, source: MatRef, to: &mut [f32]) {
    let depth = depth_of(tile.format, source.rows);
    let to = &mut to[..len(tile, width, source.rows, source.columns)];
    for (panel, to) in to.chunks_exact_mut((depth * width).max(1)).enumerate() {
        pack_panel(tile.isa, format, width, source, 0, panel * width, to);
    }
}

/// A packed right operand.
#[derive(Clone, Copy)]
pub struct Right<'a> {
    /// From a cache line on.
    pub words: &'a [f32],
    /// Rows that were packed; a product may use the first of them only.
    pub rows: usize,
}

/// `c = alpha · a · b + beta · c` of packed operands, c m×n with rows `stride` apart.
///
/// # Safety
/// `c` must point to such a matrix that nobody else accesses meanwhile.
#[allow(clippy::too_many_arguments)]
pub unsafe fn multiply(
    tile: &Tile,
    [m, k, n]: [usize; 3],
    alpha: f32,
    a: &[f32],
    b: Right,
    beta: f32,
    c: *mut f32,
    stride: usize,
) {
    let depth = depth_of(tile.format, k);
    let (a_panel, b_panel) = (depth * tile.rows, depth_of(tile.format, b.rows) * tile.columns);
    assert!(k <= b.rows && a.len() >= a_panel * m.div_ceil(tile.rows));
    assert!(
        b.words.len() >= b_panel * n.div_ceil(tile.columns) && (b.words.as_ptr() as usize).is_multiple_of(64)
    );
    let running = tile.start();
    for (panel, b) in b.words.chunks_exact(b_panel).take(n.div_ceil(tile.columns)).enumerate() {
        let j = panel * tile.columns;
        for (panel, a) in a.chunks_exact(a_panel).take(m.div_ceil(tile.rows)).enumerate() {
            let i = panel * tile.rows;
            let call = Call {
                rows: tile.rows.min(m - i),
                columns: tile.columns.min(n - j),
                depth,
                a: a.as_ptr(),
                b: b.as_ptr(),
                // SAFETY: the tile starts within c.
                c: unsafe { c.add(i * stride + j) },
                stride,
                alpha,
                beta,
            };
            // SAFETY: the panels have the length the tile needs, b's are multiples of a cache line apart (by
            // its columns), and c is as the caller promises.
            unsafe { running.run(&call) }
        }
    }
}
