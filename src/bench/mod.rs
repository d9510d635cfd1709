//! What one training step costs on this machine, and where its time goes.
//!
//! The steps are those of [`distill::train`](crate::distill::train()); only the data are random, and a clock
//! stands between the parts.
//!
//! A processor has done its work when a call returns, so one set of steps gives both the speed and the parts.
//! Other devices work behind the calls: their speed is that of steps as training takes them, which wait for
//! the device only where figures are read, every so many steps; the parts are those of a second set of steps,
//! which wait for the device at the end of each part. Such steps take longer, and parts are fractions of
//! them.
//!
//! ```text
//! options      what is measured
//! step         the steps
//! clock        the clock between the parts of a step
//! flops        how much arithmetic each part has
//! traffic      how much memory each part moves at the least
//! ceilings     how fast the device is at most:
//! peak         … products of matrices on the processor
//! tensor_peak  … and on other devices
//! bandwidth    … and memory
//! statistics   the middle and the spread of the steps
//! report       what came out
//! ```

mod bandwidth;
mod ceilings;
mod clock;
mod error;
mod flops;
mod options;
mod peak;
mod report;
mod statistics;
mod step;
mod tensor_peak;
mod traffic;

pub use error::BenchError;
pub use options::{Options, Shape, ShapeError, TeacherSignal};
pub use peak::{BurnProduct, MatrixProduct, matrix_product_gflops};
pub use report::{DeviceMemory, ModelSizes, PartReport, Report};
pub use statistics::Spread;

use ceilings::Ceilings;

pub use crate::distill::Part;
use crate::kernels::cpu::Isa;

/// Measures training steps.
///
/// All of it runs on a thread of the current rayon pool, as training does.
///
/// # Errors
/// Where an option is out of its range, no model has these sizes, the machine cannot hold the models,
/// `KDX_CPU` asks for instructions that the processor lacks, the device fails, or the loss stops being
/// finite.
pub fn measure(options: &Options) -> Result<Report, BenchError> {
    rayon::scope(|_| {
        options.check()?;
        let isa = Isa::from_env()?;
        options.device.check()?;
        let device = options.device.to_burn()?;
        let measured = step::measure(options, &device)?;
        // Last, so that the matrices are not part of the peak memory.
        let ceilings =
            options.ceilings.then(|| Ceilings::measure(&device, options.device.is_cpu(), isa)).transpose()?;
        Ok(Report::new(options, &measured, isa, ceilings))
    })
}
