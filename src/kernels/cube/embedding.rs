//! Rows of a matrix by number.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Cube, tensor::FloatTensor};
use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::tensor::{UNITS, blank_f32, contiguous, cubes, dims, ids, units};

#[cube(launch)]
fn gather_rows(rows: &[i32], matrix: &[f32], y: &mut [f32], n: usize, width: usize) {
    if ABSOLUTE_POS < n {
        let row = ABSOLUTE_POS / width;
        y[ABSOLUTE_POS] = matrix[usize::cast_from(rows[row]) * width + ABSOLUTE_POS % width];
    }
}

/// A cube for each row of the matrix looks through all numbers for its own, and adds what stands
/// there in their order: the same bits every time, which atomic additions would not give.
#[cube(launch)]
fn scatter_rows(
    rows: &[i32],
    dy: &[f32],
    before: &[f32],
    gradient: &mut [f32],
    n: usize,
    height: usize,
    width: usize,
    #[comptime] units: usize,
    #[comptime] adds: bool,
) {
    let own = CUBE_POS;
    if own >= height {
        terminate!();
    }
    // Whether a place holds this row; and, before that, whether any of a plane's does.
    let mut holds = Shared::<[u32]>::new_slice(units);
    let mut any = Shared::<[u32]>::new_slice(units);
    let unit = UNIT_POS as usize;
    let first = own * width;
    let mut column = unit;
    while column < width {
        if comptime!(adds) {
            gradient[first + column] = before[first + column];
        } else {
            gradient[first + column] = f32::new(0.0);
        }
        column += units;
    }
    let planes = (CUBE_DIM / PLANE_DIM) as usize;
    let mut start = 0usize;
    while start < n {
        let place = start + unit;
        let mut found = 0u32;
        if place < n && usize::cast_from(rows[place]) == own {
            found = 1u32;
        }
        let of_plane = plane_max(found);
        sync_cube();
        holds[unit] = found;
        if UNIT_POS_PLANE == 0 {
            any[PLANE_POS as usize] = of_plane;
        }
        sync_cube();
        for plane in 0..planes {
            if any[plane] == 1 {
                for lane in 0..PLANE_DIM as usize {
                    let at = plane * PLANE_DIM as usize + lane;
                    if holds[at] == 1 {
                        let mut column = unit;
                        while column < width {
                            gradient[first + column] += dy[(start + at) * width + column];
                            column += units;
                        }
                    }
                }
            }
        }
        start += units;
    }
}

/// `rows [n]` of `matrix`.
pub fn gather(rows: CubeTensor, matrix: CubeTensor) -> CubeTensor {
    forward(&ids(rows), contiguous(matrix))
}

fn forward(rows: &CubeTensor, matrix: CubeTensor) -> CubeTensor {
    let ([_, width], n) = (dims(&matrix), rows.meta.shape()[0]);
    let y = blank_f32(&matrix, [n, width]);
    let (count, dim) = units(n * width);
    gather_rows::launch(
        &y.client,
        count,
        dim,
        rows.clone().into_buffer_arg(),
        matrix.into_buffer_arg(),
        y.clone().into_buffer_arg(),
        n * width,
        width,
    );
    y
}

#[derive(Debug)]
struct Gather;

#[derive(Debug, Clone)]
struct Saved {
    rows: CubeTensor,
    /// The matrix, to find what gradient it has already.
    matrix: FloatTensor<Autodiff<Cube>>,
}

/// [`gather`] in a graph.
pub fn gather_tracked<C: CheckpointStrategy>(
    rows: CubeTensor,
    matrix: FloatTensor<Autodiff<Cube, C>>,
) -> FloatTensor<Autodiff<Cube, C>> {
    let node = matrix.node();
    let rows = ids(rows);
    let y = forward(&rows, contiguous(matrix.clone().into_primitive()));
    match Gather.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish(Saved { rows, matrix }, y),
        OpsKind::UnTracked(step) => step.finish(y),
    }
}

impl Backward<Cube, 1> for Gather {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = contiguous(grads.consume::<Cube>(&ops.node));
        let [Some(parent)] = ops.parents else { return };
        let Saved { rows, matrix } = ops.state;
        // A tied embedding has the gradient of the head by now: one pass adds to it.
        let before = grads.remove::<Cube>(&matrix).map(contiguous);
        let [height, width] = dims(&matrix.into_primitive());
        let gradient = blank_f32(&dy, [height, width]);
        scatter_rows::launch(
            &dy.client,
            cubes(height),
            CubeDim::new_1d(UNITS),
            rows.clone().into_buffer_arg(),
            dy.clone().into_buffer_arg(),
            before.as_ref().unwrap_or(&dy).clone().into_buffer_arg(),
            gradient.clone().into_buffer_arg(),
            rows.meta.shape()[0],
            height,
            width,
            UNITS as usize,
            before.is_some(),
        );
        grads.register::<Cube>(parent.id, gradient);
    }
}
