//! What several tests need.

pub mod checkpoint;
pub mod device;
pub mod reference;
pub mod sweep;

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use kdx::distill::Job;
use kdx::spec::{ModelSource, RunRecord};
use kdx::store::HeldRun;

/// The repository: `KDX_TEST_ROOT`, for a test binary that was built elsewhere, or where this one was built.
pub fn root() -> PathBuf {
    std::env::var_os("KDX_TEST_ROOT").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// The kdx binary: `KDX_TEST_BINARY`, for a test binary that was built elsewhere, or the one built with this one.
pub fn kdx() -> PathBuf {
    std::env::var_os("KDX_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_kdx").into(), PathBuf::from)
}

/// A file of the reference numbers; `tests/golden/make_golden.py` says what they are.
pub fn golden(name: &str) -> PathBuf {
    root().join("tests/golden").join(name)
}

/// A job whose models are all in directories.
pub fn job<'a>(record: &'a RunRecord, dir: &'a HeldRun, cache_dir: &'a Path, device: Device) -> Job<'a> {
    let stage = record.spec.stage();
    let directory = |model: &ModelSource| model.directory().map(Path::to_owned);
    Job {
        record,
        dir,
        start_dir: stage.start.model().and_then(directory),
        teacher_dirs: stage.teachers.iter().filter_map(|teacher| directory(&teacher.model)).collect(),
        cache_dir,
        device,
        until: None,
    }
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
