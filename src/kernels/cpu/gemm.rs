//! C = alpha · A · B + beta · C, blocked and in parallel.
//!
//! B is packed whole, once (or long before, see [`PackedMatrix`]). C is cut into tasks of some rows by some
//! columns. A task goes through k in blocks of [`DEPTH`] words; for each it packs its rows of A (kept in the
//! second-level cache), then takes one panel of B after another (streaming from the second level) past all of
//! them. Where a matrix has few rows, C is cut along its columns as well, and A is packed once, beforehand.
//!
//! The bits of C do not depend on the number of threads: each element is summed in the order of k by one
//! task, with block boundaries that are a matter of k alone.

use super::call::Call;
use super::isa::Isa;
use super::matrix::{Element, MatMut, MatRef, Shared};
use super::micro::Tile;
use super::pack::{DEPTH, PackedMatrix, Panels, depth_of, pack, pack_panel, packed_len, panel_at};
use super::scratch::Scratch;
use crate::kernels::precision::Precision;
use rayon::prelude::*;

/// Panels of A that a task keeps in the second-level cache: 140 rows of 2 KiB.
const PANELS: usize = 10;
/// Tasks wanted, for balance over threads.
const TASKS: usize = 16;
/// Columns that a task has at least, when there are enough.
const COLUMNS: usize = 256;
/// Columns of a task whose result has to be converted: it waits in f32 until k is done.
const STAGED_COLUMNS: usize = 512;
/// Products with fewer multiplications run on the calling thread.
const SMALL: usize = 1 << 17;

/// `c = alpha · a · b + beta · c`, a m×k, b k×n, c m×n; c is not read when beta is zero.
///
/// Inputs are f32 or bfloat16, rounded to `precision` on the way; sums are f32. Panics when shapes disagree.
pub fn gemm<A: Element, B: Element, C: Element>(
    isa: Isa,
    precision: Precision,
    alpha: f32,
    a: MatRef<A>,
    b: MatRef<B>,
    beta: f32,
    c: MatMut<C>,
) {
    gemm_each(isa, precision, alpha, vec![a], b, beta, vec![c]);
}

/// [`gemm`] of several left-hand sides by one right-hand side, which is packed once.
pub fn gemm_each<A: Element, B: Element, C: Element>(
    isa: Isa,
    precision: Precision,
    alpha: f32,
    a: Vec<MatRef<A>>,
    b: MatRef<B>,
    beta: f32,
    c: Vec<MatMut<C>>,
) {
    let tile = Tile::new(isa, precision);
    let mut words = Scratch::take(packed_len(tile.format, tile.columns, b.rows, b.columns));
    pack(isa, tile.format, tile.columns, b, words.f32_mut());
    let panels = Panels { words: words.f32(), rows: b.rows, columns: b.columns };
    for (a, c) in a.into_iter().zip(c) {
        product(&tile, alpha, a, panels, beta, c);
    }
}

/// [`gemm`] with a right-hand side packed before.
pub fn gemm_packed<A: Element, C: Element>(
    alpha: f32,
    a: MatRef<A>,
    b: &PackedMatrix,
    beta: f32,
    c: MatMut<C>,
) {
    product(&Tile::new(b.isa(), b.precision()), alpha, a, b.view(), beta, c);
}

/// Where the panels of A of a task are.
enum Left<'a, T> {
    /// Still to be packed, by each task for itself.
    Rows(MatRef<'a, T>),
    /// All packed: as the transpose, k×m.
    Packed(&'a [f32]),
}

pub(super) fn product<A: Element, C: Element>(
    tile: &Tile,
    alpha: f32,
    a: MatRef<A>,
    b: Panels,
    beta: f32,
    c: MatMut<C>,
) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert!(
        b.rows == k && c.rows == m && c.columns == n,
        "{a:?} by {}×{n} into {}×{}",
        b.rows,
        c.rows,
        c.columns
    );
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        for row in c.data.chunks_mut(c.row_stride.max(1)).take(m) {
            for x in &mut row[..n] {
                *x = C::from_f32(if beta == 0.0 { 0.0 } else { beta * x.to_f32() });
            }
        }
        return;
    }
    // Balanced cuts: no task much smaller than the others.
    let row_panels = m.div_ceil(tile.rows);
    let rows = row_panels.div_ceil(row_panels.div_ceil(PANELS)) * tile.rows;
    let row_tasks = m.div_ceil(rows);
    let most = if C::IS_F32 { usize::MAX } else { STAGED_COLUMNS };
    let wanted = n.div_ceil(TASKS.div_ceil(row_tasks)).max(COLUMNS).min(n).min(most);
    let column_panels = n.div_ceil(tile.columns);
    let columns = column_panels.div_ceil(n.div_ceil(wanted)) * tile.columns;
    let column_tasks = n.div_ceil(columns);

    let mut scratch;
    let left = if column_tasks > 1 {
        scratch = Scratch::take(packed_len(tile.left, tile.rows, k, m));
        pack(tile.isa, tile.left, tile.rows, a.t(), scratch.f32_mut());
        Left::Packed(scratch.f32())
    } else {
        Left::Rows(a)
    };
    let target = Target { c: Shared::new(c.data), stride: c.row_stride, alpha, beta };
    let task = |index: usize| {
        let (i, j) = (index % row_tasks * rows, index / row_tasks * columns);
        let block = Block { i, j, m, rows: rows.min(m - i), columns: columns.min(n - j) };
        // SAFETY: blocks of different tasks are disjoint and lie within c, which is borrowed until the end.
        unsafe { block.run(tile, &left, &b, &target) }
    };
    let tasks = row_tasks * column_tasks;
    if tasks == 1 || m * n * k < SMALL {
        (0..tasks).for_each(task);
    } else {
        (0..tasks).into_par_iter().with_max_len(1).for_each(task);
    }
}

/// Where the result goes.
struct Target<C> {
    c: Shared<C>,
    stride: usize,
    alpha: f32,
    beta: f32,
}

/// One task's part of C.
struct Block {
    i: usize,
    j: usize,
    /// Rows of all of A.
    m: usize,
    rows: usize,
    columns: usize,
}

impl Block {
    /// # Safety
    /// The block must lie within the target, and nobody else may access it meanwhile.
    unsafe fn run<A: Element, C: Element>(
        &self,
        tile: &Tile,
        left: &Left<A>,
        b: &Panels,
        target: &Target<C>,
    ) {
        // SAFETY: the block lies within c.
        let c = unsafe { target.c.get().add(self.i * target.stride + self.j) };
        if C::IS_F32 {
            // SAFETY: C is f32; the rest is passed on.
            return unsafe { self.sum(tile, left, b, c.cast(), target.stride, target.alpha, target.beta) };
        }
        let mut staged = Scratch::take(self.rows * self.columns);
        let staged = staged.f32_mut();
        // SAFETY: the staged block has this task's size and belongs to it.
        unsafe { self.sum(tile, left, b, staged.as_mut_ptr(), self.columns, target.alpha, 0.0) };
        for (i, staged) in staged.chunks_exact(self.columns).enumerate() {
            // SAFETY: row i of the block.
            let c = unsafe { std::slice::from_raw_parts_mut(c.add(i * target.stride), self.columns) };
            for (c, &x) in c.iter_mut().zip(staged) {
                *c = C::from_f32(if target.beta == 0.0 { x } else { target.beta * c.to_f32() + x });
            }
        }
    }

    /// # Safety
    /// `c` must point to this block's size of writable memory, rows `stride` apart.
    #[allow(clippy::too_many_arguments)]
    unsafe fn sum<A: Element>(
        &self,
        tile: &Tile,
        left: &Left<A>,
        b: &Panels,
        c: *mut f32,
        stride: usize,
        alpha: f32,
        beta: f32,
    ) {
        let depth = depth_of(tile.format, b.rows);
        let running = tile.start();
        let mut packed = match left {
            Left::Rows(_) => Some(Scratch::take(DEPTH.min(depth) * self.rows.next_multiple_of(tile.rows))),
            Left::Packed(_) => None,
        };
        for block in 0..depth.div_ceil(DEPTH) {
            let beta = if block == 0 { beta } else { 1.0 };
            let (_, here) = panel_at(tile.columns, depth, b.columns, block, 0);
            let a: &[f32] = match (left, &mut packed) {
                (Left::Rows(a), Some(packed)) => {
                    let rows = a.rows(self.i, self.i + self.rows).t();
                    let to = &mut packed.f32_mut()[..here * self.rows.next_multiple_of(tile.rows)];
                    for (panel, to) in to.chunks_exact_mut(here * tile.rows).enumerate() {
                        pack_panel(
                            tile.isa,
                            tile.left,
                            tile.rows,
                            rows,
                            block * DEPTH,
                            panel * tile.rows,
                            to,
                        );
                    }
                    to
                }
                (Left::Packed(a), _) => &a[panel_at(tile.rows, depth, self.m, block, self.i / tile.rows).0..],
                (Left::Rows(_), None) => unreachable!("scratch is taken for rows"),
            };
            for panel in 0..self.columns.div_ceil(tile.columns) {
                let j = panel * tile.columns;
                let (start, _) =
                    panel_at(tile.columns, depth, b.columns, block, self.j / tile.columns + panel);
                let b = &b.words[start..][..here * tile.columns];
                for (panel, a) in a.chunks_exact(here * tile.rows).enumerate() {
                    let i = panel * tile.rows;
                    if i >= self.rows {
                        break;
                    }
                    let call = Call {
                        rows: tile.rows.min(self.rows - i),
                        columns: tile.columns.min(self.columns - j),
                        depth: here,
                        a: a.as_ptr(),
                        b: b.as_ptr(),
                        // SAFETY: the tile starts within the block.
                        c: unsafe { c.add(i * stride + j) },
                        stride,
                        alpha,
                        beta,
                    };
                    // SAFETY: the panels have the length the tile needs, B's start is a multiple of a cache
                    // line from an aligned one, and the tile lies within the block.
                    unsafe { running.run(&call) }
                }
            }
        }
    }
}
