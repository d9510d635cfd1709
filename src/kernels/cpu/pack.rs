//! Packing: copying a matrix into the order in which the kernels of [`micro`](super::micro) read it.
//!
//! A k×n matrix becomes blocks of [`DEPTH`] words of k; a block is cut into panels of the tile's width, and a
//! panel holds its columns k after k. Missing columns of the last panel, and the missing half of the last
//! pair of an odd k, are zeros. A of a product is packed as its transpose, with the tile's rows as the width.

use super::call::{Format, TILE_DEPTH};
use super::isa::Isa;
#[cfg(target_arch = "x86_64")]
use super::isa::Level;
use super::matrix::{Element, MatRef, round_to_bf16};
use super::micro::Tile;
use super::scratch::Scratch;
use super::simd_fn::simd_fn;
#[cfg(target_arch = "x86_64")]
use super::transpose::{pack_lines, pack_rows, pack_tile, pack_tile_lines};
use crate::kernels::precision::Precision;
use rayon::prelude::*;

/// Words of k in a block: a panel of B (32 columns) is then 64 KiB, one of A (14 rows) 28 KiB.
pub(super) const DEPTH: usize = 512;

/// Words of k that `k` numbers take.
pub(super) const fn depth_of(format: Format, k: usize) -> usize {
    let words = k.div_ceil(format.per_word());
    match format {
        Format::TiledRight | Format::TiledLeft => words.next_multiple_of(TILE_DEPTH),
        _ => words,
    }
}

/// Words that a packed k×n matrix takes.
pub(super) const fn packed_len(format: Format, width: usize, k: usize, n: usize) -> usize {
    depth_of(format, k) * n.div_ceil(width) * width
}

/// Where a panel of a packed matrix starts, and its depth.
pub(super) fn panel_at(width: usize, depth: usize, n: usize, block: usize, panel: usize) -> (usize, usize) {
    let here = DEPTH.min(depth - block * DEPTH);
    (block * DEPTH * n.div_ceil(width) * width + panel * here * width, here)
}

/// Packs all of `source` (k×n) into `to`, in parallel when it is large.
pub(super) fn pack<T: Element>(isa: Isa, format: Format, width: usize, source: MatRef<T>, to: &mut [f32]) {
    let depth = depth_of(format, source.rows);
    let panels = source.columns.div_ceil(width);
    if depth == 0 || panels == 0 {
        return;
    }
    let pack_block = |(block, to): (usize, &mut [f32])| {
        let here = DEPTH.min(depth - block * DEPTH);
        let pack_one = |(panel, to): (usize, &mut [f32])| {
            pack_panel(isa, format, width, source, block * DEPTH, panel * width, to);
        };
        let to = &mut to[..here * width * panels];
        if source.rows * source.columns < 1 << 15 {
            to.chunks_mut(here * width).enumerate().for_each(pack_one);
        } else {
            to.par_chunks_mut(here * width).enumerate().for_each(pack_one);
        }
    };
    to[..depth * width * panels].chunks_mut(DEPTH * width * panels).enumerate().for_each(pack_block);
}

/// Packs one panel: `to.len() / width` words of k from word `from` on, `width` columns from `column` on.
pub(super) fn pack_panel<T: Element>(
    isa: Isa,
    format: Format,
    width: usize,
    source: MatRef<T>,
    from: usize,
    column: usize,
    to: &mut [f32],
) {
    let format = match format {
        Format::TiledLeft => return pack_tiles(isa, source, from, column, to),
        // As pairs; the words past the end are zeros.
        Format::TiledRight => Format::Pairs,
        other => other,
    };
    #[cfg(target_arch = "x86_64")]
    if isa.level() >= Level::Avx512 && source.row_stride == 1 {
        let first = from * format.per_word();
        let count = width.min(source.columns - column);
        let numbers = (source.rows - first).min(to.len() / width * format.per_word());
        let (data, stride) = (&source.data[first + column * source.column_stride..], source.column_stride);
        // SAFETY: the isa proves the features.
        return unsafe {
            match width {
                14 => pack_lines::<T, 14>(format, data, stride, count, numbers, to),
                32 => pack_lines::<T, 32>(format, data, stride, count, numbers, to),
                _ => unreachable!("no tile of AVX-512 has this width"),
            }
        };
    }
    #[cfg(target_arch = "x86_64")]
    if isa.level() >= Level::Avx512 && source.column_stride == 1 {
        let first = from * format.per_word();
        let count = width.min(source.columns - column);
        let numbers = (source.rows - first).min(to.len() / width * format.per_word());
        let (data, stride) = (&source.data[first * source.row_stride + column..], source.row_stride);
        // SAFETY: the isa proves the features.
        return unsafe {
            match width {
                14 => pack_rows::<T, 14>(format, data, stride, count, numbers, to),
                32 => pack_rows::<T, 32>(format, data, stride, count, numbers, to),
                _ => unreachable!("no tile of AVX-512 has this width"),
            }
        };
    }
    pack_any(isa, format, width, source, from, column, to);
}

#[cfg(not(target_arch = "x86_64"))]
fn pack_tiles<T: Element>(_: Isa, _: MatRef<T>, _: usize, _: usize, _: &mut [f32]) {
    unreachable!("only x86-64 has tile registers")
}

/// Packs a panel of 32 rows of a left-hand side for tile registers, whose transpose `source` is.
#[cfg(target_arch = "x86_64")]
fn pack_tiles<T: Element>(isa: Isa, source: MatRef<T>, from: usize, column: usize, to: &mut [f32]) {
    const ROWS: usize = 32;
    let count = ROWS.min(source.columns - column);
    for (block, to) in to.chunks_exact_mut(TILE_DEPTH * ROWS).enumerate() {
        let first = 2 * (from + block * TILE_DEPTH);
        let numbers = source.rows.saturating_sub(first).min(2 * TILE_DEPTH);
        if numbers == 0 {
            to.fill(0.0);
        } else if source.row_stride == 1 {
            let data = &source.data[first + column * source.column_stride..];
            // SAFETY: the isa has AMX, and with it AVX-512 BF16.
            unsafe { pack_tile_lines(data, source.column_stride, count, numbers, to) };
        } else {
            let mut words = [0.0_f32; TILE_DEPTH * ROWS];
            pack_panel(isa, Format::Pairs, ROWS, source, from + block * TILE_DEPTH, column, &mut words);
            // SAFETY: as above.
            unsafe { pack_tile(&words, to) };
        }
    }
}

simd_fn! {
    /// [`pack_panel`] for all types and strides.
    fn pack_any<S; T: Element>(
        s, format: Format, width: usize, source: MatRef<T>, from: usize, column: usize, to: &mut [f32]
    ) {
        let _ = s; // Only for the features that the compiler may use.
        match width {
            4 => fixed::<T, 4>(format, source, from, column, to),
            6 => fixed::<T, 6>(format, source, from, column, to),
            8 => fixed::<T, 8>(format, source, from, column, to),
            14 => fixed::<T, 14>(format, source, from, column, to),
            16 => fixed::<T, 16>(format, source, from, column, to),
            32 => fixed::<T, 32>(format, source, from, column, to),
            _ => unreachable!("no tile has this width"),
        }
    }
}

#[inline(always)]
fn fixed<T: Element, const W: usize>(
    format: Format,
    source: MatRef<T>,
    from: usize,
    column: usize,
    to: &mut [f32],
) {
    let first = from * format.per_word();
    let width = W.min(source.columns - column);
    let numbers = (source.rows - first).min(to.len() / W * format.per_word());
    to[numbers.div_ceil(format.per_word()) * W..].fill(0.0);
    let start = first * source.row_stride + column * source.column_stride;
    let data = &source.data[start..];
    let (rs, cs) = (source.row_stride, source.column_stride);
    let (to, _) = to.as_chunks_mut::<W>();
    match format {
        Format::F32 => words::<T, W>(data, rs, cs, width, numbers, to, |x| x),
        Format::Rounded => {
            words::<T, W>(data, rs, cs, width, numbers, to, |x| f32::from_bits(round_to_bf16(x)))
        }
        Format::Pairs | Format::TiledRight | Format::TiledLeft => {
            pairs::<T, W>(data, rs, cs, width, numbers, to)
        }
    }
}

/// One number a word.
#[inline(always)]
fn words<T: Element, const W: usize>(
    data: &[T],
    row_stride: usize,
    column_stride: usize,
    width: usize,
    numbers: usize,
    to: &mut [[f32; W]],
    convert: impl Fn(f32) -> f32,
) {
    if column_stride == 1 && width == W {
        for (k, to) in to[..numbers].iter_mut().enumerate() {
            let row = &data[k * row_stride..][..W];
            for (to, &x) in to.iter_mut().zip(row) {
                *to = convert(x.to_f32());
            }
        }
        return;
    }
    if width < W {
        to.as_flattened_mut().fill(0.0);
    }
    if row_stride == 1 {
        for j in 0..width {
            let line = &data[j * column_stride..][..numbers];
            for (to, &x) in to.iter_mut().zip(line) {
                to[j] = convert(x.to_f32());
            }
        }
        return;
    }
    for (k, to) in to[..numbers].iter_mut().enumerate() {
        for (j, to) in to[..width].iter_mut().enumerate() {
            *to = convert(data[k * row_stride + j * column_stride].to_f32());
        }
    }
}

/// Two numbers a word.
#[inline(always)]
fn pairs<T: Element, const W: usize>(
    data: &[T],
    row_stride: usize,
    column_stride: usize,
    width: usize,
    numbers: usize,
    to: &mut [[f32; W]],
) {
    let join =
        |low: T, high: T| f32::from_bits(round_to_bf16(high.to_f32()) | (round_to_bf16(low.to_f32()) >> 16));
    let zero = T::from_f32(0.0);
    let (whole, odd) = (numbers / 2, numbers % 2 == 1);
    if width < W {
        to.as_flattened_mut().fill(0.0);
    }
    if column_stride == 1 && width == W {
        for (p, to) in to[..whole].iter_mut().enumerate() {
            let low = &data[2 * p * row_stride..][..W];
            let high = &data[(2 * p + 1) * row_stride..][..W];
            for ((to, &low), &high) in to.iter_mut().zip(low).zip(high) {
                *to = join(low, high);
            }
        }
    } else if row_stride == 1 {
        for j in 0..width {
            let (line, _) = data[j * column_stride..][..2 * whole].as_chunks::<2>();
            for (to, &[low, high]) in to.iter_mut().zip(line) {
                to[j] = join(low, high);
            }
        }
    } else {
        for (p, to) in to[..whole].iter_mut().enumerate() {
            for (j, to) in to[..width].iter_mut().enumerate() {
                let low = data[2 * p * row_stride + j * column_stride];
                *to = join(low, data[(2 * p + 1) * row_stride + j * column_stride]);
            }
        }
    }
    if odd {
        for (j, to) in to[whole][..width].iter_mut().enumerate() {
            *to = join(data[2 * whole * row_stride + j * column_stride], zero);
        }
    }
}

/// The right-hand side of products, packed once and used many times: weights.
pub struct PackedMatrix {
    words: Scratch,
    rows: usize,
    columns: usize,
    isa: Isa,
    precision: Precision,
}

impl PackedMatrix {
    /// Packs a k×n matrix for products `A · B` with A of k columns. For a weight kept as [out, in], its
    /// transpose makes the forward product `x · Wᵀ` and the weight itself the backward one `dy · W`.
    pub fn new<T: Element>(isa: Isa, precision: Precision, source: MatRef<T>) -> Self {
        let tile = Tile::new(isa, precision);
        let (rows, columns) = (source.rows, source.columns);
        let mut words = Scratch::take(packed_len(tile.format, tile.columns, rows, columns));
        pack(isa, tile.format, tile.columns, source, words.f32_mut());
        PackedMatrix { words, rows, columns, isa, precision }
    }

    /// k, the rows of the matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// n, the columns of the matrix.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The path it was packed for.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The precision it was packed in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.words.bytes()
    }

    pub(super) fn view(&self) -> Panels<'_> {
        Panels { words: self.words.f32(), rows: self.rows, columns: self.columns }
    }
}

/// A packed matrix, wherever it lies.
#[derive(Clone, Copy)]
pub(super) struct Panels<'a> {
    pub words: &'a [f32],
    pub rows: usize,
    pub columns: usize,
}
