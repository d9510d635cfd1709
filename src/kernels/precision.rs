//! How exact products are.

/// What the inputs of a matrix product are rounded to. Sums are always kept in single precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// Products of f32 numbers.
    #[default]
    F32,
    /// Products of inputs rounded to bfloat16 (to nearest, ties to even), exact before they are summed.
    /// A path without bfloat16 instructions computes the same products with f32 ones, at their speed.
    Bf16,
}
