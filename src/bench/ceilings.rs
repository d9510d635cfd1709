//! How fast the device is at most, measured on it: what the parts of a step are held against.

use burn::tensor::Device;

use super::error::BenchError;
use super::peak::{BurnProduct, MatrixProduct};
use super::{bandwidth, tensor_peak};
use crate::kernels::cpu::Isa;

/// The most that a device does in a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ceilings {
    /// By the products that training makes.
    pub(super) matrix_product: MatrixProduct,
    /// By Burn's own products; none on the processor.
    pub(super) burn_product: Option<BurnProduct>,
    /// Of reading and writing memory, GB/s.
    pub(super) bandwidth: f64,
}

impl Ceilings {
    /// Measures them; nothing else should run on the device.
    pub(super) fn measure(device: &Device, is_processor: bool, isa: Isa) -> Result<Self, BenchError> {
        if is_processor {
            let bandwidth = bandwidth::of_processor();
            return Ok(Self { matrix_product: MatrixProduct::measure(isa), burn_product: None, bandwidth });
        }
        // What training held for reuse.
        device.memory_cleanup();
        let (matrix_product, burn_product) = tensor_peak::matrix_products(device)?;
        let bandwidth = bandwidth::of_device(device)?;
        Ok(Self { matrix_product, burn_product: Some(burn_product), bandwidth })
    }
}
