//! Packing with AVX-512.
//!
//! Lines that run along k, as in row-major left operands (activations, probabilities), are transposed 16×16
//! words at a time; lines that run across k, as in gradients and weights, only have their pairs interleaved.
//! A scalar store per word would cost as much as a good part of the product.

use super::call::Format;
use super::matrix::{Element, round_to_bf16};
use std::arch::x86_64::*;

/// Packs `count` lines of `numbers` numbers each, starting `stride` apart, as the columns of a panel of `W`
/// columns: word k of line j goes to `to[k * W + j]`. Missing lines, and the words of a panel deeper than the
/// lines are long, become zeros.
///
/// # Safety
/// The processor must have AVX-512 F, BW, DQ and VL, and BF16 for pairs.
pub(super) unsafe fn pack_lines<T: Element, const W: usize>(
    format: Format,
    data: &[T],
    stride: usize,
    count: usize,
    numbers: usize,
    to: &mut [f32],
) {
    assert!(count <= W && (count == 0 || data.len() >= (count - 1) * stride + numbers));
    // SAFETY: the caller promises the features; the lines lie within the data.
    unsafe {
        match format {
            Format::F32 => words::<T, W>(data, stride, count, numbers, to, |x| x),
            Format::Rounded => words::<T, W>(data, stride, count, numbers, to, |x| round(x)),
            Format::Pairs | Format::TiledRight | Format::TiledLeft => {
                pairs::<T, W>(data, stride, count, numbers, to);
            }
        }
    }
}

/// Packs rows of `count` numbers, `stride` apart, as the words of a panel of `W` columns: number j of row k
/// goes to word k (a pair of rows to one word) of column j. Missing columns, and the words of a panel deeper
/// than there are rows, become zeros.
///
/// # Safety
/// The processor must have AVX-512 F, BW, DQ and VL, and BF16 for pairs.
pub(super) unsafe fn pack_rows<T: Element, const W: usize>(
    format: Format,
    data: &[T],
    stride: usize,
    count: usize,
    numbers: usize,
    to: &mut [f32],
) {
    assert!(count <= W && (numbers == 0 || data.len() >= (numbers - 1) * stride + count));
    // SAFETY: the caller promises the features; the rows lie within the data.
    unsafe {
        match format {
            Format::F32 => single_rows::<T, W>(data, stride, count, numbers, to, |x| x),
            Format::Rounded => single_rows::<T, W>(data, stride, count, numbers, to, |x| round(x)),
            Format::Pairs | Format::TiledRight | Format::TiledLeft => {
                paired_rows::<T, W>(data, stride, count, numbers, to);
            }
        }
    }
}

/// Packs lines of `numbers` numbers, at most 32, as the rows of two tiles of 16×16 words; missing lines, and
/// what is missing of a line, become zeros.
///
/// # Safety
/// The processor must have AVX-512 F, BW, DQ, VL and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub(super) unsafe fn pack_tile_lines<T: Element>(
    data: &[T],
    stride: usize,
    count: usize,
    numbers: usize,
    to: &mut [f32],
) {
    assert!(count == 0 || data.len() >= (count - 1) * stride + numbers);
    let masks = [first(numbers), first(numbers.saturating_sub(16))];
    for (i, to) in to.chunks_exact_mut(16).enumerate() {
        let masks = if i < count { masks } else { [0; 2] };
        let from = data.as_ptr().wrapping_add(i * stride);
        // SAFETY: line i exists where its masks are not empty, and lanes after its end are not read; sixteen
        // words are written.
        unsafe {
            let (low, high) = (load(masks[0], from), load(masks[1], from.wrapping_add(16)));
            let row = std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low));
            _mm512_storeu_ps(to.as_mut_ptr(), row);
        }
    }
}

/// From 16 words of k of 32 columns, `words[k * 32 + column]`, two tiles of 16 rows: `to[row * 16 + k]`.
///
/// # Safety
/// The processor must have AVX-512 F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn pack_tile(words: &[f32], to: &mut [f32]) {
    assert!(words.len() >= 512 && to.len() >= 512);
    for tile in 0..2 {
        let mut block = [_mm512_setzero_ps(); 16];
        for (k, row) in block.iter_mut().enumerate() {
            // SAFETY: sixteen words are read.
            *row = unsafe { _mm512_loadu_ps(words.as_ptr().add(k * 32 + tile * 16)) };
        }
        for (i, row) in transpose(block).into_iter().enumerate() {
            // SAFETY: sixteen words are written.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr().add(tile * 256 + i * 16), row) };
        }
    }
}

/// Sixteen numbers, as far as the mask goes, widened.
///
/// # Safety
/// The numbers in the mask must be readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn load<T: Element>(mask: u16, from: *const T) -> __m512 {
    // SAFETY: lanes outside the mask are not read; the element types are those two.
    unsafe {
        if T::IS_F32 {
            return _mm512_maskz_loadu_ps(mask, from.cast());
        }
        let narrow = _mm256_maskz_loadu_epi16(mask, from.cast());
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(narrow)))
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn single_rows<T: Element, const W: usize>(
    data: &[T],
    stride: usize,
    count: usize,
    numbers: usize,
    to: &mut [f32],
    convert: impl Fn(__m512) -> __m512,
) {
    for (k, to) in to.chunks_exact_mut(W).enumerate() {
        for j in (0..W).step_by(16) {
            let mask = if k < numbers { first(count.saturating_sub(j)) } else { 0 };
            // SAFETY: row k has `count` numbers, and the panel's row `W` words.
            unsafe {
                let row = convert(load(mask, data.as_ptr().wrapping_add(k * stride + j)));
                _mm512_mask_storeu_ps(to.as_mut_ptr().add(j), first(W - j), row);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn paired_rows<T: Element, const W: usize>(
    data: &[T],
    stride: usize,
    count: usize,
    numbers: usize,
    to: &mut [f32],
) {
    // Halfword i of the lower row beside halfword i of the upper one.
    let places: [u16; 32] = std::array::from_fn(|i| (i / 2 + 16 * (i % 2)) as u16);
    // SAFETY: 32 halfwords are read.
    let places = unsafe { _mm512_loadu_epi16(places.as_ptr().cast()) };
    for (pair, to) in to.chunks_exact_mut(W).enumerate() {
        for j in (0..W).step_by(16) {
            let columns = first(count.saturating_sub(j));
            let mask = |k: usize| if k < numbers { columns } else { 0 };
            let at = |k: usize| data.as_ptr().wrapping_add(k * stride + j);
            // SAFETY: rows that exist have `count` numbers, and the panel's row `W` words.
            unsafe {
                let (low, high) =
                    (load(mask(2 * pair), at(2 * pair)), load(mask(2 * pair + 1), at(2 * pair + 1)));
                let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
                let row = _mm512_castsi512_ps(_mm512_permutexvar_epi16(places, both));
                _mm512_mask_storeu_ps(to.as_mut_ptr().add(j), first(W - j), row);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn round(x: __m512) -> __m512 {
    let mut lanes = [0.0_f32; 16];
    // SAFETY: sixteen numbers each way. (The compiler keeps them in a register.)
    unsafe {
        _mm512_storeu_ps(lanes.as_mut_ptr(), x);
        let lanes = lanes.map(|x| f32::from_bits(round_to_bf16(x)));
        _mm512_loadu_ps(lanes.as_ptr())
    }
}

/// The first `n` lanes, at most all.
#[inline]
fn first(n: usize) -> u16 {
    ((1_u32 << n.min(16)) - 1) as u16
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn words<T: Element, const W: usize>(
    data: &[T],
    stride: usize,
    count: usize,
    numbers: usize,
    to: &mut [f32],
    convert: impl Fn(__m512) -> __m512,
) {
    let depth = to.len() / W;
    for j in (0..W).step_by(16) {
        for k in (0..depth).step_by(16) {
            let mut block = [_mm512_setzero_ps(); 16];
            if k < numbers {
                for (i, line) in block.iter_mut().enumerate().take(count.saturating_sub(j)) {
                    // SAFETY: line j + i exists, and lanes after its end are not read.
                    *line = unsafe {
                        let from = data.as_ptr().add((j + i) * stride + k);
                        convert(load(first(numbers - k), from))
                    };
                }
            }
            write::<W>(transpose(block), &mut to[k * W + j..], depth - k);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn pairs<T: Element, const W: usize>(
    data: &[T],
    stride: usize,
    count: usize,
    numbers: usize,
    to: &mut [f32],
) {
    let depth = to.len() / W;
    for j in (0..W).step_by(16) {
        for k in (0..depth).step_by(16) {
            let mut block = [_mm512_setzero_ps(); 16];
            for (i, line) in block.iter_mut().enumerate().take(count.saturating_sub(j)) {
                let left = numbers.saturating_sub(2 * k);
                let masks = [left, left.saturating_sub(16)].map(|n| if n == 0 { 0 } else { first(n) });
                let from = data.as_ptr().wrapping_add((j + i) * stride + 2 * k);
                // SAFETY: line j + i exists, and lanes after its end are not read.
                *line = unsafe {
                    let low = load(masks[0], from);
                    let high = load(masks[1], from.wrapping_add(16));
                    std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low))
                };
            }
            write::<W>(transpose(block), &mut to[k * W + j..], depth - k);
        }
    }
}

/// Writes the rows of a block, the first `rows` of them, `W` words apart. Rows narrower than a vector are
/// written in order, so that what one writes too much the next one puts right.
#[inline]
#[target_feature(enable = "avx512f")]
fn write<const W: usize>(block: [__m512; 16], to: &mut [f32], rows: usize) {
    for (i, row) in block.into_iter().enumerate().take(rows) {
        let to = &mut to[i * W..];
        // SAFETY: only lanes within `to` are written.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), first(to.len()), row) };
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(r: [__m512; 16]) -> [__m512; 16] {
    let mut t = r;
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    let wide = |x| _mm512_castps_pd(x);
    // u[4 g + c], part l: column 4 l + c of rows 4 g to 4 g + 3.
    let mut u = t;
    for g in (0..16).step_by(4) {
        u[g] = _mm512_castpd_ps(_mm512_unpacklo_pd(wide(t[g]), wide(t[g + 2])));
        u[g + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(wide(t[g]), wide(t[g + 2])));
        u[g + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(wide(t[g + 1]), wide(t[g + 3])));
        u[g + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(wide(t[g + 1]), wide(t[g + 3])));
    }
    let mut out = u;
    for c in 0..4 {
        let even = [0, 8].map(|g| _mm512_shuffle_f32x4::<0x88>(u[g + c], u[g + 4 + c]));
        let odd = [0, 8].map(|g| _mm512_shuffle_f32x4::<0xdd>(u[g + c], u[g + 4 + c]));
        out[c] = _mm512_shuffle_f32x4::<0x88>(even[0], even[1]);
        out[4 + c] = _mm512_shuffle_f32x4::<0x88>(odd[0], odd[1]);
        out[8 + c] = _mm512_shuffle_f32x4::<0xdd>(even[0], even[1]);
        out[12 + c] = _mm512_shuffle_f32x4::<0xdd>(odd[0], odd[1]);
    }
    out
}
