//! Sums and maxima over the units of a cube. Their order depends on the device's plane size alone.

use burn_cubecl::cubecl;
use cubecl::prelude::*;

/// Numbers of shared memory that [`cube_sum`] and [`cube_max`] need: one for each plane of a cube.
pub const SCRATCH: usize = 256;

/// Below every number that a maximum is taken of; what is this far down has an exponential of zero.
pub const LOWEST: f32 = -3.0e38;

/// The sum over all units, to each of them.
#[cube]
pub fn cube_sum(value: f32, scratch: &mut Shared<[f32]>) -> f32 {
    let of_plane = plane_sum(value);
    // Others may still read what the reduction before left.
    sync_cube();
    if UNIT_POS_PLANE == 0 {
        scratch[PLANE_POS as usize] = of_plane;
    }
    sync_cube();
    let mut sum = f32::new(0.0);
    for plane in 0..CUBE_DIM / PLANE_DIM {
        sum += scratch[plane as usize];
    }
    sum
}

/// The maximum over all units, to each of them.
#[cube]
pub fn cube_max(value: f32, scratch: &mut Shared<[f32]>) -> f32 {
    let of_plane = plane_max(value);
    sync_cube();
    if UNIT_POS_PLANE == 0 {
        scratch[PLANE_POS as usize] = of_plane;
    }
    sync_cube();
    let mut max = f32::new(LOWEST);
    for plane in 0..CUBE_DIM / PLANE_DIM {
        max = max.max(scratch[plane as usize]);
    }
    max
}
