//! Tensors of Burn's CPU backend as slices, and back.

use burn::tensor::{Bytes, DType, Element, Shape};
use burn_flex::{FlexTensor, Layout};
use half::bf16;
use rayon::prelude::*;

use crate::kernels::cpu::{Isa, buffer, vector};

/// Numbers that a task of a copy takes.
const TASK: usize = 1 << 15;

/// The path of this process. What `KDX_CPU` asks for is checked when a command begins; a wrong value
/// that nobody checked is a mistake of the program.
pub fn isa() -> Isa {
    Isa::from_env().unwrap_or_else(|error| panic!("{error}"))
}

/// The tensor with its numbers one after another in memory, copied only where they are not.
pub fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.layout().contiguous_offsets().is_some() { tensor } else { tensor.to_contiguous() }
}

/// The numbers of a contiguous tensor of single precision.
pub fn numbers(tensor: &FlexTensor) -> &[f32] {
    slice(tensor)
}

/// The numbers of a contiguous tensor of this type.
pub fn slice<E: Element + bytemuck::Pod>(tensor: &FlexTensor) -> &[E] {
    match tensor.as_slice() {
        Some(slice) => slice,
        None => panic!("a contiguous tensor of {:?}, not of {:?}", E::dtype(), tensor.dtype()),
    }
}

/// The numbers of a contiguous tensor that nobody else holds.
pub fn numbers_mut(tensor: &mut FlexTensor) -> &mut [f32] {
    tensor.storage_mut()
}

/// A tensor to be written whole: what it holds is unspecified.
pub fn blank<E: Element>(shape: impl Into<Shape>) -> FlexTensor {
    let shape = shape.into();
    let bytes = buffer::bytes(shape.num_elements() * size_of::<E>());
    FlexTensor::new(bytes, Layout::contiguous(shape), E::dtype())
}

/// A tensor of zeros.
pub fn zeros(shape: impl Into<Shape>) -> FlexTensor {
    let mut tensor = blank::<f32>(shape);
    numbers_mut(&mut tensor).par_chunks_mut(TASK).for_each(|part| part.fill(0.0));
    tensor
}

/// A small tensor of these numbers.
pub fn tensor<E: Element + bytemuck::Pod + Send + Sync>(
    values: Vec<E>,
    shape: impl Into<Shape>,
) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape.into()), E::dtype())
}

/// The numbers of a tensor to be changed in place, where nobody else holds them; else of a copy.
pub fn owned(tensor: FlexTensor) -> FlexTensor {
    let whole = tensor.layout().contiguous_offsets().is_some_and(|(start, end)| {
        start == 0 && end * size_of::<f32>() == tensor.bytes().len() && tensor.is_unique()
    });
    if whole {
        return tensor;
    }
    let shape = tensor.layout().shape().clone();
    let from = contiguous(tensor);
    let from = numbers(&from);
    let mut copy = blank::<f32>(shape);
    let to = numbers_mut(&mut copy).par_chunks_mut(TASK);
    to.zip(from.par_chunks(TASK)).for_each(|(to, from)| to.copy_from_slice(from));
    copy
}

/// Rounded to bfloat16.
pub fn rounded(tensor: &FlexTensor) -> FlexTensor {
    let from = numbers(tensor);
    let mut rounded = blank::<bf16>(tensor.layout().shape().clone());
    let to = rounded.storage_mut::<bf16>().par_chunks_mut(TASK);
    to.zip(from.par_chunks(TASK)).for_each(|(to, from)| vector::round_to_bf16(isa(), from, to));
    rounded
}

/// Ids as the kernels take them.
pub fn ids(tensor: FlexTensor) -> Vec<i32> {
    let tensor = contiguous(tensor);
    match tensor.dtype() {
        DType::I32 => slice::<i32>(&tensor).to_vec(),
        DType::I64 => slice::<i64>(&tensor).iter().map(|&id| id as i32).collect(),
        other => panic!("ids of {other:?}"),
    }
}

/// Rows and columns of a matrix.
pub fn dims(tensor: &FlexTensor) -> [usize; 2] {
    let shape = tensor.layout().shape();
    [shape[0], shape[1]]
}
