//! Tensors of Burn's GPU backend as buffers, and the launches over them.

use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl::CubeCount;
use burn_cubecl::cubecl::prelude::CubeDim;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeDevice, kernel};

/// Units of a cube, where a kernel has no reason for another number.
pub const UNITS: u32 = 256;
/// Cubes in one dimension that every device can launch.
const CUBES: usize = 65535;

/// The tensor with its numbers one after another in memory, copied only where they are not.
pub fn contiguous(tensor: CubeTensor) -> CubeTensor {
    kernel::into_contiguous(tensor)
}

/// The tensor, contiguous, in a type; copied only where it is not so already.
pub fn cast(tensor: CubeTensor, dtype: DType) -> CubeTensor {
    let tensor = contiguous(tensor);
    if tensor.dtype == dtype { tensor } else { contiguous(kernel::cast(tensor, dtype)) }
}

/// Ids as the kernels take them.
pub fn ids(tensor: CubeTensor) -> CubeTensor {
    cast(tensor, DType::I32)
}

/// A contiguous tensor to be written whole, on the device of another.
pub fn blank(like: &CubeTensor, shape: impl Into<Shape>, dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape.into(), dtype)
}

/// As [`blank`], in single precision.
pub fn blank_f32(like: &CubeTensor, shape: impl Into<Shape>) -> CubeTensor {
    blank(like, shape, DType::F32)
}

/// Some of the parts that a contiguous tensor has along its first dimension, as a view that may be written
/// through. They begin where the device can begin one.
pub fn part(tensor: &CubeTensor, first: usize, count: usize) -> CubeTensor {
    let mut part = tensor.clone();
    let shape = tensor.meta.shape();
    let size = shape.num_elements() / shape[0].max(1) * tensor.dtype.size();
    let (before, after) = ((first * size) as u64, ((shape[0] - first - count) * size) as u64);
    let alignment = tensor.client.properties().memory.alignment;
    assert!(before.is_multiple_of(alignment), "a view from {before}, where every {alignment}th byte can be");
    part.handle = part.handle.offset_start(before).offset_end(after);
    part.meta.shape[0] = count;
    part
}

/// As [`part`], beginning anywhere: a copy where it must be.
pub fn cut(tensor: &CubeTensor, first: usize, count: usize) -> CubeTensor {
    let mut ranges: Vec<_> = tensor.meta.shape().iter().map(|&size| 0..size).collect();
    ranges[0] = first..first + count;
    contiguous(kernel::slice(tensor.clone(), &ranges))
}

/// The same numbers in another shape.
pub fn reshape(tensor: CubeTensor, shape: impl Into<Shape>) -> CubeTensor {
    burn_cubecl::ops::reshape(tensor, shape.into())
}

/// Rows and columns of a matrix.
pub fn dims(tensor: &CubeTensor) -> [usize; 2] {
    let shape = tensor.meta.shape();
    [shape[0], shape[1]]
}

/// As many cubes as there is work for, and perhaps a few more: kernels look at `CUBE_POS`.
pub fn cubes(n: usize) -> CubeCount {
    if n <= CUBES {
        CubeCount::Static(n as u32, 1, 1)
    } else {
        CubeCount::Static(CUBES as u32, n.div_ceil(CUBES) as u32, 1)
    }
}

/// A unit for each of `n` elements, and perhaps a few more: kernels look at `ABSOLUTE_POS`.
pub fn units(n: usize) -> (CubeCount, CubeDim) {
    (cubes(n.div_ceil(UNITS as usize)), CubeDim::new_1d(UNITS))
}

/// Units of a cube that goes over a row of this width.
pub fn row_units(width: usize) -> CubeDim {
    CubeDim::new_1d(if width <= 1024 { 128 } else { UNITS })
}

/// The type that operands of products in bfloat16 have on a device. One that cannot store bfloat16 is
/// given numbers rounded to it, in single precision.
pub fn bfloat16(device: &CubeDevice) -> DType {
    use burn::backend::{Backend, Cube};
    if Cube::supports_dtype(device, DType::BF16) { DType::BF16 } else { DType::F32 }
}
