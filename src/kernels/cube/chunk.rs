//! Cutting work into pieces whose results are views of one tensor.

use burn_cubecl::tensor::CubeTensor;

use crate::kernels::device::GPU_PIECE;

/// First part and number of parts of each piece, of `n` parts that have `scratch` numbers each between the
/// steps and `width` numbers in every tensor that pieces are views of; in multiples of `tile` parts.
pub fn pieces(
    like: &CubeTensor,
    n: usize,
    scratch: usize,
    width: usize,
    tile: usize,
) -> impl Iterator<Item = (usize, usize)> + use<> {
    // A view must begin where the device can begin one; the narrowest type has two bytes.
    let alignment = like.client.properties().memory.alignment as usize;
    let step = alignment / gcd(alignment, (2 * width).max(1));
    let step = step * tile / gcd(step, tile);
    let size = (GPU_PIECE / scratch.max(1) / step * step).max(step);
    (0..n).step_by(size).map(move |first| (first, size.min(n - first)))
}

/// The greatest common divisor.
pub fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
