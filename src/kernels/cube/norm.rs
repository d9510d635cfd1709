//! RMSNorm: a cube for each row; of its derivative, for each group of rows.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Cube, tensor::FloatTensor};
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::reduce::{SCRATCH, cube_sum};
use super::tensor::{blank_f32, contiguous, cubes, dims, row_units};

/// Rows whose share in the weight's gradient one cube adds up.
const GROUP: usize = 32;
/// Columns, and lanes over the groups, of a cube that adds up the groups' shares.
const COLUMNS: u32 = 32;
const LANES: u32 = 8;

#[cube(launch)]
fn normalize(
    x: &[f32],
    weight: &[f32],
    y: &mut [f32],
    inverse_rms: &mut [f32],
    rows: usize,
    width: usize,
    epsilon: f32,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut scratch = Shared::new_slice(SCRATCH);
    let first = row * width;
    let mut squares = f32::new(0.0);
    let mut i = UNIT_POS as usize;
    while i < width {
        let value = x[first + i];
        squares += value * value;
        i += CUBE_DIM as usize;
    }
    let mean = cube_sum(squares, &mut scratch) / f32::cast_from(width);
    let inverse = f32::new(1.0) / (mean + epsilon).sqrt();
    let mut i = UNIT_POS as usize;
    while i < width {
        y[first + i] = x[first + i] * inverse * weight[i];
        i += CUBE_DIM as usize;
    }
    if UNIT_POS == 0 {
        inverse_rms[row] = inverse;
    }
}

#[cube(launch)]
fn normalize_backward(
    x: &[f32],
    weight: &[f32],
    inverse_rms: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    shares: &mut [f32],
    rows: usize,
    groups: usize,
    #[comptime] width: usize,
    #[comptime] units: usize,
    #[comptime] group: usize,
) {
    if CUBE_POS >= groups {
        terminate!();
    }
    let mut scratch = Shared::new_slice(SCRATCH);
    // Of the columns that this unit goes over.
    let columns = comptime!(width.div_ceil(units));
    let mut sums = Array::<f32>::new(columns);
    #[unroll]
    for column in 0..columns {
        sums[column] = f32::new(0.0);
    }
    let unit = UNIT_POS as usize;
    for member in 0..group {
        let row = CUBE_POS * group + member;
        if row < rows {
            let first = row * width;
            let inverse = inverse_rms[row];
            let mut dot = f32::new(0.0);
            #[unroll]
            for column in 0..columns {
                let i = column * units + unit;
                if i < width {
                    let weighted = dy[first + i] * x[first + i];
                    sums[column] += weighted * inverse;
                    dot += weighted * weight[i];
                }
            }
            let dot = cube_sum(dot, &mut scratch);
            let back = dot * inverse * inverse * inverse / f32::cast_from(width);
            #[unroll]
            for column in 0..columns {
                let i = column * units + unit;
                if i < width {
                    dx[first + i] = dy[first + i] * weight[i] * inverse - x[first + i] * back;
                }
            }
        }
    }
    #[unroll]
    for column in 0..columns {
        let i = column * units + unit;
        if i < width {
            shares[CUBE_POS * width + i] = sums[column];
        }
    }
}

#[cube(launch)]
fn sum_columns(shares: &[f32], sums: &mut [f32], groups: usize, width: usize) {
    let mut lanes = Shared::new_slice(comptime!((COLUMNS * LANES) as usize));
    let column = CUBE_POS * CUBE_DIM_X as usize + UNIT_POS_X as usize;
    let mut sum = f32::new(0.0);
    if column < width {
        let mut group = UNIT_POS_Y as usize;
        while group < groups {
            sum += shares[group * width + column];
            group += CUBE_DIM_Y as usize;
        }
    }
    lanes[UNIT_POS as usize] = sum;
    sync_cube();
    if UNIT_POS_Y == 0 && column < width {
        let mut sum = f32::new(0.0);
        for lane in 0..CUBE_DIM_Y {
            sum += lanes[(lane * CUBE_DIM_X + UNIT_POS_X) as usize];
        }
        sums[column] = sum;
    }
}

/// The normalized rows, and what each was divided by, inverted. Both tensors contiguous.
fn forward(x: &CubeTensor, weight: &CubeTensor, epsilon: f64) -> (CubeTensor, CubeTensor) {
    let [n, width] = dims(x);
    let (y, inverse_rms) = (blank_f32(x, [n, width]), blank_f32(x, [n]));
    normalize::launch(
        &x.client,
        cubes(n),
        row_units(width),
        x.clone().into_buffer_arg(),
        weight.clone().into_buffer_arg(),
        y.clone().into_buffer_arg(),
        inverse_rms.clone().into_buffer_arg(),
        n,
        width,
        epsilon as f32,
    );
    (y, inverse_rms)
}

/// `weight · x / √(mean x² + epsilon)`.
pub fn rms_norm(x: CubeTensor, weight: CubeTensor, epsilon: f64) -> CubeTensor {
    forward(&contiguous(x), &contiguous(weight), epsilon).0
}

#[derive(Debug)]
struct RmsNorm;

#[derive(Debug, Clone)]
struct Saved {
    x: CubeTensor,
    weight: CubeTensor,
    inverse_rms: CubeTensor,
}

/// [`rms_norm`] in a graph.
pub fn rms_norm_tracked<C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<Cube, C>>,
    weight: FloatTensor<Autodiff<Cube, C>>,
    epsilon: f64,
) -> FloatTensor<Autodiff<Cube, C>> {
    let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
    let (x, weight) = (contiguous(x), contiguous(weight));
    let (y, inverse_rms) = forward(&x, &weight, epsilon);
    match RmsNorm.prepare::<C>([x_node, weight_node]).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish(Saved { x, weight, inverse_rms }, y),
        OpsKind::UnTracked(step) => step.finish(y),
    }
}

impl Backward<Cube, 2> for RmsNorm {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(grads.consume::<Cube>(&ops.node));
        let Saved { x, weight, inverse_rms } = ops.state;
        let [n, width] = dims(&x);
        let groups = n.div_ceil(GROUP);
        let (dx, shares) = (blank_f32(&x, [n, width]), blank_f32(&x, [groups, width]));
        let units = row_units(width);
        normalize_backward::launch(
            &x.client,
            cubes(groups),
            units,
            x.clone().into_buffer_arg(),
            weight.into_buffer_arg(),
            inverse_rms.into_buffer_arg(),
            dy.into_buffer_arg(),
            dx.clone().into_buffer_arg(),
            shares.clone().into_buffer_arg(),
            n,
            groups,
            width,
            units.num_elems() as usize,
            GROUP,
        );
        let [x, weight] = ops.parents;
        if let Some(weight) = weight {
            let dweight = blank_f32(&dx, [width]);
            sum_columns::launch(
                &dx.client,
                cubes(width.div_ceil(COLUMNS as usize)),
                CubeDim::new_2d(COLUMNS, LANES),
                shares.into_buffer_arg(),
                dweight.clone().into_buffer_arg(),
                groups,
                width,
            );
            grads.register::<Cube>(weight.id, dweight);
        }
        if let Some(x) = x {
            grads.register::<Cube>(x.id, dx);
        }
    }
}
