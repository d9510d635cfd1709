//! The rotary table of a model: its angles, made as long as its sequences need.

use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Device;

use super::config::{Llama3Scaling, RopeConfig};
use crate::kernels::RotaryTable;

/// Positions of the first table of a rotary embedding; it doubles as longer sequences come.
const FIRST_POSITIONS: usize = 128;

/// The rotary table of a model, made for the longest sequence so far and shared by its clones.
#[derive(Debug, Clone)]
pub(super) struct RotaryCache {
    frequencies: Arc<[f64]>,
    device: Device,
    table: Arc<Mutex<RotaryTable>>,
}

impl RotaryCache {
    /// The table of a model with heads of this width, on a device without autodiff.
    pub(super) fn new(rope: &RopeConfig, head_dim: usize, device: &Device) -> Self {
        let frequencies: Arc<[f64]> = compute_frequencies(rope, head_dim).into();
        let table = RotaryTable::new(&frequencies, FIRST_POSITIONS, device);
        Self { frequencies, device: device.clone(), table: Arc::new(Mutex::new(table)) }
    }

    /// Gives a table of at least so many positions.
    pub(super) fn make_table(&self, positions: usize) -> RotaryTable {
        // A table is replaced whole, so one that a panicking thread left behind is still good.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.positions() < positions {
            *table = RotaryTable::new(&self.frequencies, positions.next_power_of_two(), &self.device);
        }
        table.clone()
    }
}

/// Radians a position for each pair of a head, `[head_dim / 2]`.
fn compute_frequencies(rope: &RopeConfig, head_dim: usize) -> Vec<f64> {
    let plain = (0..head_dim / 2).map(|pair| rope.theta.powf(-2.0 * pair as f64 / head_dim as f64));
    match &rope.scaling {
        None => plain.collect(),
        Some(scaling) => plain.map(|frequency| stretch(frequency, scaling)).collect(),
    }
}

/// Stretches a frequency as Llama 3.1 does.
fn stretch(frequency: f64, scaling: &Llama3Scaling) -> f64 {
    let turns = scaling.original_max_position_embeddings * frequency / std::f64::consts::TAU;
    let Llama3Scaling { factor, low_freq_factor, high_freq_factor, .. } = *scaling;
    // The share of the unchanged frequency: 0 for long waves, 1 for short ones.
    let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
    frequency * (kept + (1.0 - kept) / factor)
}
