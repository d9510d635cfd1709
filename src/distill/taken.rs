//! What a step came to, while its device may still be computing it.

use burn::tensor::Tensor;

use crate::kernels::{Losses, Norm};
use crate::store::StepLosses;

/// Losses of a step while its micro-batches come in; on the device, so that nothing waits.
#[derive(Debug)]
pub struct Sums {
    total: Tensor<1>,
    hard: Tensor<1>,
    soft: Option<Tensor<1>>,
}

impl Sums {
    /// Adds the losses of a micro-batch, which are `share` of the step's.
    pub(super) fn add(sums: Option<Self>, losses: Losses, share: f64) -> Self {
        let total = losses.total.without_autodiff() * share;
        let hard = losses.hard * share;
        let soft = losses.soft.map(|soft| soft * share);
        match sums {
            None => Self { total, hard, soft },
            Some(sums) => Self {
                total: sums.total + total,
                hard: sums.hard + hard,
                soft: sums.soft.zip(soft).map(|(a, b)| a + b),
            },
        }
    }

    fn read(self) -> StepLosses {
        let number = |tensor: Tensor<1>| f64::from(tensor.into_scalar::<f32>());
        StepLosses { total: number(self.total), hard: number(self.hard), soft: self.soft.map(number) }
    }
}

/// What a step came to, which its device may still be computing.
#[derive(Debug)]
pub struct Taken {
    /// The step, from 1.
    pub step: u64,
    /// Tokens that went through the student so far.
    pub tokens: u64,
    /// None where nothing in its batches counted.
    pub losses: Option<Sums>,
    /// Of the gradient.
    pub norm: Norm,
}

impl Taken {
    /// Reads its losses and the gradient's norm; waits for the device once.
    pub fn read(self) -> (StepLosses, f64) {
        let (losses, norm) = match (self.losses, self.norm) {
            (Some(losses), Norm::OnDevice(norm)) => (losses, norm),
            (losses, norm) => return (losses.map(Sums::read).unwrap_or_default(), norm.read()),
        };
        let has_soft = losses.soft.is_some();
        let figures = [Some(*norm), Some(losses.total), Some(losses.hard), losses.soft];
        let figures: Vec<f64> = Tensor::cat(figures.into_iter().flatten().collect(), 0)
            .into_data()
            .iter::<f32>()
            .map(f64::from)
            .collect();
        let at = |which: usize| figures.get(which).copied().unwrap_or_default();
        (StepLosses { total: at(1), hard: at(2), soft: has_soft.then(|| at(3)) }, at(0))
    }
}
