//! Tensors of Burn's CPU backend as slices, and back.

use burn::tensor::{Bytes, DType, Element, Shape};
use burn_flex::{FlexTensor, Layout};
use half::bf16;
use rayon::prelude::*;

use crate::kernels::cpu::Isa;
use crate::kernels::cpu::vector;

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

/// A tensor of these numbers.
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
    let mut copy = vec![0.0; from.len()];
    copy.par_chunks_mut(TASK).zip(from.par_chunks(TASK)).for_each(|(to, from)| to.copy_from_slice(from));
    self::tensor(copy, shape)
}

/// Rounded to bfloat16.
pub fn rounded(tensor: &FlexTensor) -> FlexTensor {
    let from = numbers(tensor);
    let mut to = vec![bf16::ZERO; from.len()];
    to.par_chunks_mut(TASK)
        .zip(from.par_chunks(TASK))
        .for_each(|(to, from)| vector::round_to_bf16(isa(), from, to));
    self::tensor(to, tensor.layout().shape().clone())
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
