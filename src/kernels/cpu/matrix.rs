//! Borrowed matrices with strides, and the two element types.

use half::bf16;
use std::fmt;

/// Keeps [`Element`] to the types of this module, whose `IS_F32` can be relied on.
mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::bf16 {}
}

/// A number that matrices are made of, f32 or bfloat16; arithmetic is done in f32.
pub trait Element: sealed::Sealed + bytemuck::Pod + Send + Sync {
    /// Whether it is f32 itself.
    const IS_F32: bool;
    /// Widens, exactly.
    fn to_f32(self) -> f32;
    /// Rounds to nearest, ties to even.
    fn from_f32(x: f32) -> Self;
}

impl Element for f32 {
    const IS_F32: bool = true;
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn from_f32(x: f32) -> f32 {
        x
    }
}

impl Element for bf16 {
    const IS_F32: bool = false;
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    #[inline(always)]
    fn from_f32(x: f32) -> bf16 {
        bf16::from_bits((round_to_bf16(x) >> 16) as u16)
    }
}

/// The bits of `x` rounded to bfloat16 (nearest, ties to even), in the upper half of the word; NaN stays NaN.
/// Branch-free, so that the compiler vectorizes it.
#[inline(always)]
pub fn round_to_bf16(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    // A NaN could be rounded up to infinity or beyond: keep it and make it quiet.
    let chosen = if bits & 0x7fff_ffff > 0x7f80_0000 { bits | 0x0040_0000 } else { rounded };
    chosen & 0xffff_0000
}

/// A matrix to read: element (i, j) is `data[i * row_stride + j * column_stride]`.
#[derive(Clone, Copy)]
pub struct MatRef<'a, T = f32> {
    pub(super) data: &'a [T],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

/// The index after the last element that a matrix of these dimensions touches.
fn extent(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row_stride + (columns - 1) * column_stride + 1 }
}

impl<'a, T: Element> MatRef<'a, T> {
    /// Rows one after another.
    pub fn new(data: &'a [T], rows: usize, columns: usize) -> Self {
        Self::with_strides(data, rows, columns, columns, 1)
    }

    /// Any strides. Panics when the data are too short.
    pub fn with_strides(
        data: &'a [T],
        rows: usize,
        columns: usize,
        row_stride: usize,
        column_stride: usize,
    ) -> Self {
        let needed = extent(rows, columns, row_stride, column_stride);
        assert!(
            data.len() >= needed,
            "a {rows}×{columns} matrix needs {needed} elements, not {}",
            data.len()
        );
        MatRef { data, rows, columns, row_stride, column_stride }
    }

    /// The transpose.
    pub fn t(self) -> Self {
        MatRef {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Rows `from..to`.
    pub fn rows(self, from: usize, to: usize) -> Self {
        assert!(from <= to && to <= self.rows);
        let start = (from * self.row_stride).min(self.data.len());
        MatRef { data: &self.data[start..], rows: to - from, ..self }
    }
}

impl<T> fmt::Debug for MatRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{} [{}, {}]", self.rows, self.columns, self.row_stride, self.column_stride)
    }
}

/// A matrix to write, whose rows are contiguous and `row_stride` apart.
pub struct MatMut<'a, T = f32> {
    pub(super) data: &'a mut [T],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
}

impl<'a, T: Element> MatMut<'a, T> {
    /// Rows one after another.
    pub fn new(data: &'a mut [T], rows: usize, columns: usize) -> Self {
        Self::with_stride(data, rows, columns, columns)
    }

    /// Rows `row_stride` apart. Panics when they overlap or the data are too short.
    pub fn with_stride(data: &'a mut [T], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(rows <= 1 || row_stride >= columns, "rows of {columns} overlap at a stride of {row_stride}");
        let needed = extent(rows, columns, row_stride, 1);
        assert!(
            data.len() >= needed,
            "a {rows}×{columns} matrix needs {needed} elements, not {}",
            data.len()
        );
        MatMut { data, rows, columns, row_stride }
    }
}

/// A pointer that tasks of one parallel loop share, each writing its own part.
#[derive(Clone, Copy)]
pub(super) struct Shared<T>(*mut T);

impl<T> Shared<T> {
    pub(super) fn new(data: &mut [T]) -> Self {
        Shared(data.as_mut_ptr())
    }

    /// The pointer (a method, so that closures capture the whole value).
    pub(super) fn get(self) -> *mut T {
        self.0
    }

    /// Elements `from..from + len`.
    ///
    /// # Safety
    /// They must lie within the slice this was made from, which must be borrowed still, and no other part
    /// handed out at the same time may overlap them.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn slice<'a>(self, from: usize, len: usize) -> &'a mut [T] {
        // SAFETY: the caller promises bounds and exclusiveness.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(from), len) }
    }
}

// SAFETY: only used by loops whose tasks write disjoint parts, as each use states.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_agrees_with_half() {
        let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-40, 1.0];
        let grid = (0..u32::MAX / 65_537).map(|i| f32::from_bits(i * 65_537));
        for x in special.into_iter().chain(grid) {
            if x.is_nan() {
                assert!(bf16::from_bits((round_to_bf16(x) >> 16) as u16).is_nan());
            } else {
                assert_eq!((round_to_bf16(x) >> 16) as u16, bf16::from_f32(x).to_bits(), "{x}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "needs 7 elements")]
    fn short_data_are_refused() {
        MatRef::with_strides(&[0.0_f32; 6], 2, 3, 4, 1);
    }
}
