//! What one training step costs on this machine, and where its time goes.
//!
//! The steps are those of [`distill::train`](crate::distill::train()), made of the same calls; only the
//! data are random, and a clock stands between the parts.
//!
//! ```text
//! options     what is measured
//! step        the steps, with a clock between their parts
//! flops       how much arithmetic each part has
//! peak        how fast this machine multiplies matrices
//! statistics  the middle and the spread of the steps
//! report      what came out
//! ```

mod error;
mod flops;
mod options;
mod peak;
mod report;
mod statistics;
mod step;

pub use error::BenchError;
pub use options::{Options, Shape, ShapeError, TeacherSignal};
pub use peak::{MatrixProduct, matrix_product_gflops};
pub use report::{ModelSizes, PartReport, Report};
pub use statistics::Spread;
pub use step::Part;

use crate::kernels::cpu::Isa;

/// Measures training steps.
///
/// All of it runs on a thread of the current rayon pool, as training does.
///
/// # Errors
/// Where an option is out of its range, no model has these sizes, the machine cannot hold the models,
/// `KDX_CPU` asks for instructions that the processor lacks, or the loss stops being finite.
pub fn measure(options: &Options) -> Result<Report, BenchError> {
    rayon::scope(|_| {
        options.check()?;
        let isa = Isa::from_env()?;
        let measured = step::measure(options)?;
        // Last, so that the matrices are not part of the peak memory.
        Ok(Report::new(options, &measured, isa, MatrixProduct::measure(isa)))
    })
}
