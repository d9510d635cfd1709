//! What a model costs, counted from its sizes: the only place that does shape arithmetic. Callers combine.
//!
//! ```text
//! parameters  numbers that are trained, and the parts of them
//! flop        floating-point operations of passes
//! bytes       what passes move through memory at the least, and keep for the backward pass
//! memory      what training takes of the processors' memory at the peak
//! gpu_memory  … of a GPU's
//! ```

mod bytes;
mod flop;
mod gpu_memory;
mod memory;
mod parameters;

pub use bytes::{count_forward_bytes, count_kept};
pub use flop::{Tokens, count_forward_flop, count_head_flop, estimate_token_flop};
pub use gpu_memory::{GpuWork, estimate_gpu_memory};
pub use memory::{count_training_bytes, estimate_memory};
pub use parameters::{count_body, count_head};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::ModelConfig;
    use crate::spec::{Precision, SizeConfig};

    fn minimind(hidden_size: usize, layers: usize) -> ModelConfig {
        let size =
            SizeConfig { hidden_size: Some(hidden_size), layers: Some(layers), ..SizeConfig::default() };
        ModelConfig::from_size(&size, 6400).unwrap()
    }

    /// Plans and measurements of different versions are comparable as long as these hold.
    #[test]
    fn what_minimind_costs_stays_the_same() {
        let (student, teacher) = (minimind(512, 1), minimind(768, 2));
        let tokens = Tokens { batch: 8, sequence: 512, rows: 8 * 511 };
        let both = |of: &dyn Fn(&ModelConfig) -> f64| [of(&student), of(&teacher)];
        assert_eq!(both(&|m| estimate_token_flop(m, 512)), [12_717_056.0, 36_183_552.0]);
        assert_eq!(both(&|m| count_forward_flop(m, tokens)), [25_202_524_160.0, 107_848_138_752.0]);
        assert_eq!(both(&|m| count_kept(m, tokens)), [20_944_896.0, 61_827_072.0]);
        assert_eq!(both(&|m| count_forward_bytes(m, tokens, 4.0, 2.0)), [23_853_056.0, 68_422_656.0]);
        assert_eq!(estimate_memory(&student, Some(&teacher), 8 * 512), 1_131_453_440);
        let work = |precision| {
            let (student, teacher) = (&student, Some(&teacher));
            estimate_gpu_memory(&GpuWork { student, teacher, precision, batch: 8, seq: 512 })
        };
        assert_eq!([work(Precision::Bf16), work(Precision::Fp32)], [1_424_123_072, 1_648_592_512]);
    }
}
