//! What several tests need.

pub mod checkpoint;
pub mod device;
pub mod reference;
pub mod sweep;

use std::path::PathBuf;

use burn::tensor::{Device, Int, Tensor, TensorData};

/// A file of the reference numbers; `tests/golden/make_golden.py` says what they are.
pub fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Asserts that two numbers agree up to a fraction of the expected one.
#[track_caller]
pub fn close(what: &str, found: f64, expected: f64, relative: f64) {
    let error = (found - expected).abs();
    assert!(
        error <= relative * expected.abs(),
        "{what}: {found} for {expected}, off by {:.2e}",
        error / expected.abs()
    );
}

/// Ids of a batch as a tensor `[batch, sequence]`.
pub fn ids(values: &[i64], shape: [usize; 2], device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}
