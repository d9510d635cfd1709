//! Operands of matrix products, and the products.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeDevice;
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use cubek::matmul::definition::{MatmulElems, MatmulGlobalElems, MatmulSetupError};
use cubek::matmul::launch::launch_ref;
use cubek::matmul::multi_level;
use cubek::matmul::multi_level::components::tile::TileMatmulKind;
use cubek::matmul::multi_level::routines::batch::double_buffering::DoubleBufferingArgs;
use cubek::matmul::routine::BlueprintStrategy::Inferred;
use cubek::matmul::strategy::Strategy;
use cubek::std::InputBinding;

use super::tensor::{bfloat16, blank, blank_f32, cast, contiguous, units};
use crate::kernels::precision::Precision;

/// What operands of products are on a device.
#[derive(Debug, Clone, Copy)]
pub struct Operand {
    /// The type that they are stored in.
    pub dtype: DType,
    /// Whether single precision stands in for bfloat16, so that they are rounded to it by hand.
    pub rounds: bool,
}

impl Operand {
    /// For products in this precision.
    pub fn new(device: &CubeDevice, precision: Precision) -> Self {
        let dtype = match precision {
            Precision::F32 => DType::F32,
            Precision::Bf16 => bfloat16(device),
        };
        Self { dtype, rounds: precision == Precision::Bf16 && dtype == DType::F32 }
    }

    /// The type, as kernels take it.
    pub fn elem(&self) -> ElemType {
        elem(self.dtype)
    }

    /// A tensor as an operand.
    pub fn of(&self, tensor: CubeTensor) -> CubeTensor {
        if !self.rounds {
            return cast(tensor, self.dtype);
        }
        let tensor = cast(tensor, DType::F32);
        self.joined(vec![tensor])
    }

    /// Matrices of one width one below the other, as one operand: at most three.
    pub fn joined(&self, matrices: Vec<CubeTensor>) -> CubeTensor {
        let matrices: Vec<CubeTensor> = matrices.into_iter().map(contiguous).collect();
        if let [whole] = &matrices[..]
            && !self.rounds
        {
            return cast(whole.clone(), self.dtype);
        }
        let lengths: Vec<usize> = matrices.iter().map(|matrix| matrix.meta.num_elements()).collect();
        let mut shape = matrices[0].meta.shape().clone();
        shape[0] = matrices.iter().map(|matrix| matrix.meta.shape()[0]).sum();
        let whole = blank(&matrices[0], shape, self.dtype);
        let n = lengths.iter().sum();
        let (count, dim) = units(n);
        // Where there are fewer than three, the others are never read.
        let at = |which: usize| matrices.get(which).unwrap_or(&matrices[0]).clone().into_buffer_arg();
        let second = lengths[0];
        let third = second + lengths.get(1).copied().unwrap_or(0);
        join::launch(
            &whole.client,
            count,
            dim,
            at(0),
            at(1),
            at(2),
            whole.clone().into_buffer_arg(),
            second,
            third,
            n,
            self.rounds,
            self.elem(),
        );
        whole
    }
}

/// A type as kernels take it.
pub fn elem(dtype: DType) -> ElemType {
    burn::backend::cubecl::dtype_to_storage_type(dtype)
}

/// A number as an operand.
#[cube]
pub fn operand<G: Float>(x: f32, #[comptime] rounds: bool) -> G {
    if comptime!(rounds) { G::cast_from(rounded(x)) } else { G::cast_from(x) }
}

/// The nearest number that bfloat16 has, the even one of two.
#[cube]
fn rounded(x: f32) -> f32 {
    let bits = x.to_bits();
    let up = bits + 0x7fffu32 + ((bits >> 16u32) & 1u32);
    f32::from_bits(up & 0xffff_0000u32)
}

#[cube(launch)]
fn join<G: Float>(
    a: &[f32],
    b: &[f32],
    c: &[f32],
    whole: &mut [G],
    second: usize,
    third: usize,
    n: usize,
    #[comptime] rounds: bool,
    #[define(G)] _dtype: ElemType,
) {
    let i = ABSOLUTE_POS;
    if i < n {
        if i < second {
            whole[i] = operand::<G>(a[i], rounds);
        } else if i < third {
            whole[i] = operand::<G>(b[i - second], rounds);
        } else {
            whole[i] = operand::<G>(c[i - third], rounds);
        }
    }
}

/// `a · b` of operands, in single precision; the last two dimensions are the matrices'.
pub fn product(a: CubeTensor, b: CubeTensor) -> CubeTensor {
    let mut shape: Shape = a.meta.shape().clone();
    let rank = shape.num_dims();
    shape[rank - 1] = b.meta.shape()[rank - 1];
    let out = blank_f32(&a, shape);
    product_into(a, b, out.clone());
    out
}

/// As [`product`], into a contiguous tensor.
///
/// In bfloat16 the first of [`on_matrix_units`] that the device can make of these sizes. In single precision
/// those would round operands to fewer bits than that promises (TF32): one kernel without them makes all
/// products.
pub fn product_into(a: CubeTensor, b: CubeTensor, out: CubeTensor) {
    let without = multi_level::Strategy::SimpleUnit(Default::default());
    let mut tries = if a.dtype == DType::BF16 { on_matrix_units() } else { Vec::new() };
    tries.push(without);
    let mut problems = Vec::new();
    for strategy in tries {
        match try_product(strategy, &a, &b, &out) {
            Ok(()) => return,
            Err(problem) => problems.push(problem),
        }
    }
    panic!("a product that the device cannot make: {problems:?}");
}

/// Kernels for products of bfloat16 numbers, the fastest first. They are not tried out against each other:
/// which one makes a product depends on the device and on sizes alone, so that a run which is resumed is
/// computed by the kernels that it began with, and no others are compiled. (Burn's search compiles some
/// twenty for each of some twenty sizes: on an H100, a first step was not there after 150 seconds.)
fn on_matrix_units() -> Vec<multi_level::Strategy> {
    let plain = |tile_matmul| DoubleBufferingArgs { tile_matmul, specialized: false };
    vec![
        // Copies by the tensor memory accelerator that Hopper and later have.
        multi_level::Strategy::SpecializedTmaMma(Inferred(().into())),
        multi_level::Strategy::DoubleCyclicMma(Inferred(plain(TileMatmulKind::Mma))),
        multi_level::Strategy::DoubleCyclicCmma(Inferred(plain(TileMatmulKind::Cmma))),
    ]
}

fn try_product(
    strategy: multi_level::Strategy,
    a: &CubeTensor,
    b: &CubeTensor,
    out: &CubeTensor,
) -> Result<(), MatmulSetupError> {
    let mut types = MatmulElems::from_globals(&MatmulGlobalElems {
        lhs: elem(a.dtype),
        rhs: elem(b.dtype),
        out: elem(out.dtype),
    });
    let left = InputBinding::new(a.clone().binding(), types.lhs_global);
    let right = InputBinding::new(b.clone().binding(), types.rhs_global);
    let strategy = Strategy::MultiLevel(strategy);
    launch_ref(&strategy, &out.client, left, right, out.clone().binding(), &mut types)
}

/// A matrix, or each of many, with rows and columns exchanged; a view.
pub fn transposed(mut tensor: CubeTensor) -> CubeTensor {
    let rank = tensor.meta.shape().num_dims();
    tensor.meta.swap(rank - 2, rank - 1);
    tensor
}
