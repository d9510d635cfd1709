//! What came out of a measurement, as `kdx bench --json` prints it.

use serde::Serialize;

use super::flops::{Tokens, gflop};
use super::options::{Options, TeacherSignal};
use super::peak::MatrixProduct;
use super::statistics::Spread;
use super::step::{Measured, Part, Times};
use crate::experiment::config::{LossConfig, Precision};
use crate::kernels::cpu::Isa;
use crate::model::ModelConfig;

/// Version of the fields below.
const FORMAT_VERSION: u32 = 1;

/// A measured training step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Version of these fields; grows when one changes its meaning.
    pub format_version: u32,
    /// The model that is trained.
    pub student: ModelSizes,
    /// The model that it imitates; none where there is no soft loss.
    pub teacher: Option<ModelSizes>,
    /// Rows of both embeddings.
    pub vocab_size: usize,
    /// Sequences in a batch.
    pub batch: usize,
    /// Tokens in a sequence.
    pub sequence: usize,
    /// Arithmetic of the training.
    pub precision: Precision,
    /// Where the tensors live.
    pub device: String,
    /// Where the teacher's hidden states come from; none without a teacher.
    pub signal: Option<TeacherSignal>,
    /// Soft loss, temperature and mixing weight.
    pub loss: LossConfig,
    /// Instruction set of the kernels.
    pub isa: &'static str,
    /// Threads that share the work.
    pub threads: usize,
    /// Steps before the measurement.
    pub warmup_steps: usize,
    /// Steps measured.
    pub steps: usize,
    /// Tokens through the student in a step.
    pub tokens_per_step: usize,
    /// Speed, over the steps.
    pub tokens_per_second: Spread,
    /// Duration of a step.
    pub step_seconds: Spread,
    /// Mean duration of the steps between the 10 % and the 90 % quantile: what the parts add up to.
    pub mean_step_seconds: f64,
    /// Where that time goes.
    pub parts: Vec<PartReport>,
    /// Arithmetic of all parts together.
    pub gflop: f64,
    /// `gflop` by `mean_step_seconds`.
    pub gflop_per_second: f64,
    /// `gflop_per_second` as a fraction of the matrix product in this precision.
    pub of_matrix_product: f64,
    /// Speed of a large matrix product on this machine, GFLOP/s.
    pub matrix_product: MatrixProduct,
    /// Most memory that the process has held; with `signal = "hidden"`, since the teacher is gone.
    /// None where the system does not say.
    pub peak_memory_mib: Option<f64>,
}

/// What a model is made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelSizes {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of transformer blocks.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Trained parameters; the head is the embedding.
    pub parameters: u64,
}

/// One part of the step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartReport {
    /// Which.
    pub part: Part,
    /// Mean seconds in a step.
    pub seconds: f64,
    /// The same by tokens.
    pub microseconds_per_token: f64,
    /// The same as a fraction of the step.
    pub share: f64,
    /// Arithmetic in a step; none where none is counted.
    pub gflop: Option<f64>,
    /// Arithmetic by time.
    pub gflop_per_second: Option<f64>,
    /// That speed as a fraction of the matrix product in this precision.
    pub of_matrix_product: Option<f64>,
}

impl Report {
    pub(super) fn new(
        options: &Options,
        measured: &Measured,
        isa: Isa,
        matrix_product: MatrixProduct,
    ) -> Self {
        let steps = &measured.steps;
        let step_seconds = Spread::of(steps.iter().map(Times::whole));
        let tokens_per_step = options.batch * options.sequence;
        let tokens_per_second = Spread::of(steps.iter().map(|step| tokens_per_step as f64 / step.whole()));
        let usual: Vec<&Times> = steps
            .iter()
            .filter(|step| (step_seconds.p10..=step_seconds.p90).contains(&step.whole()))
            .collect();
        let mean = |of: &dyn Fn(&Times) -> f64| {
            usual.iter().map(|step| of(step)).sum::<f64>() / usual.len().max(1) as f64
        };
        let mean_step_seconds = mean(&Times::whole);
        let fastest = match options.precision {
            Precision::Fp32 => matrix_product.fp32,
            Precision::Bf16 => matrix_product.bf16,
        };
        let tokens = Tokens { batch: options.batch, sequence: options.sequence, rows: measured.rows };
        let runs = options.signal == TeacherSignal::Online;
        let parts: Vec<PartReport> = Part::ALL
            .into_iter()
            .map(|part| {
                let seconds = mean(&|step| step.of(part));
                let gflop = gflop(part, &measured.student, measured.teacher.as_ref(), runs, tokens);
                let gflop_per_second = gflop.map(|gflop| gflop / seconds);
                PartReport {
                    part,
                    seconds,
                    microseconds_per_token: seconds * 1e6 / tokens_per_step as f64,
                    share: seconds / mean_step_seconds,
                    gflop,
                    gflop_per_second,
                    of_matrix_product: gflop_per_second.map(|speed| speed / fastest),
                }
            })
            .collect();
        let gflop: f64 = parts.iter().filter_map(|part| part.gflop).sum();
        let gflop_per_second = gflop / mean_step_seconds;
        Self {
            format_version: FORMAT_VERSION,
            student: ModelSizes::of(&measured.student),
            teacher: measured.teacher.as_ref().map(ModelSizes::of),
            vocab_size: options.vocab_size,
            batch: options.batch,
            sequence: options.sequence,
            precision: options.precision,
            device: options.device.to_string(),
            signal: measured.teacher.as_ref().map(|_| options.signal),
            loss: options.loss.clone(),
            isa: isa.level().name(),
            threads: rayon::current_num_threads(),
            warmup_steps: options.warmup,
            steps: steps.len(),
            tokens_per_step,
            tokens_per_second,
            step_seconds,
            mean_step_seconds,
            parts,
            gflop,
            gflop_per_second,
            of_matrix_product: gflop_per_second / fastest,
            matrix_product,
            peak_memory_mib: (measured.peak_memory > 0)
                .then_some(measured.peak_memory as f64 / (1 << 20) as f64),
        }
    }
}

impl ModelSizes {
    fn of(config: &ModelConfig) -> Self {
        Self {
            hidden_size: config.hidden_size,
            layers: config.layers,
            heads: config.heads,
            kv_heads: config.kv_heads,
            intermediate_size: config.intermediate_size,
            parameters: config.parameters(),
        }
    }
}
