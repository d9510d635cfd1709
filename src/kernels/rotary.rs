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

    /// The first `positions` rows, shaped to broadcast over `[batch, positions, heads, head_dim / 2]`.
    fn first(&self, positions: usize) -> (Tensor<4>, Tensor<4>) {
        let [_, half] = self.cos.dims();
        let part = |table: &Tensor<2>| table.clone().narrow(0, 0, positions).reshape([1, positions, 1, half]);
        (part(&self.cos), part(&self.sin))
    }
}

/// Turns the pairs `(x[i], x[i + head_dim / 2])` of each head by the angle of its position:
/// `x [batch, sequence, heads, head_dim]` → the same shape. Differentiable.
///
/// # Panics
/// Where the table covers fewer positions than the sequence has.
pub fn rotary(x: Tensor<4>, table: &RotaryTable) -> Tensor<4> {
    let [_, sequence, _, head_dim] = x.dims();
    let half = head_dim / 2;
    let (cos, sin) = table.first(sequence);
    let first = x.clone().narrow(3, 0, half);
    let second = x.narrow(3, half, half);
    let turned_first = first.clone() * cos.clone() - second.clone() * sin.clone();
    let turned_second = second * cos + first * sin;
    Tensor::cat(vec![turned_first, turned_second], 3)
}
