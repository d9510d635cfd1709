//! Rotary position embedding (Su et al., 2104.09864), in the half-split form of Hugging Face.

use burn::tensor::{Device, Tensor, TensorData};

/// Cosines and sines of the angles `position · frequency`, each `[positions, head_dim / 2]`.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl RotaryTable {
    /// The angles of the first `positions` positions, computed in double precision.
    /// `frequencies [head_dim / 2]` are in radians a position.
    pub fn new(frequencies: &[f64], positions: usize, device: &Device) -> Self {
        let angles = (0..positions).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        let (sin, cos): (Vec<f32>, Vec<f32>) =
            angles.map(|angle| (angle.sin() as f32, angle.cos() as f32)).unzip();
        let shape = [positions, frequencies.len()];
        let table = |values| Tensor::from_data(TensorData::new(values, shape), device);
        Self { cos: table(cos), sin: table(sin) }
    }

    /// Positions that the table covers.
    pub fn positions(&self) -> usize {
        self.cos.dims()[0]
    }

    /// Cosines and sines.
    pub(super) fn parts(&self) -> (Tensor<2>, Tensor<2>) {
        (self.cos.clone(), self.sin.clone())
    }
}
