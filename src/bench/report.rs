//! What came out of a measurement, as `kdx bench --json` prints it.

use serde::Serialize;

use super::ceilings::Ceilings;
use super::clock::Times;
use super::flops::count_gflop;
use super::options::{Options, TeacherSignal};
use super::peak::{BurnProduct, MatrixProduct};
use super::statistics::{Spread, mean};
use super::step::{DeviceBytes, Measured};
use super::traffic::count_gbyte;
use crate::distill::Part;
use crate::kernels::cpu::Isa;
use crate::model::ModelConfig;
use crate::model::cost::Tokens;
use crate::spec::{LossConfig, Precision};

/// Version of the fields below.
const FORMAT_VERSION: u32 = 2;
const MIB: f64 = (1 << 20) as f64;

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
    /// Time of these; on a GPU kernels are compiled in it, and chosen among.
    pub warmup_seconds: f64,
    /// Steps measured.
    pub steps: usize,
    /// Steps between two readings of the figures, each of which waits for the device; 1 on the processor.
    pub steps_per_reading: usize,
    /// Tokens through the student in a step.
    pub tokens_per_step: usize,
    /// Speed, over the steps; where several are read at once, over these readings.
    pub tokens_per_second: Spread,
    /// Duration of a step; where several are read at once, their mean.
    pub step_seconds: Spread,
    /// Mean of those between the 10 % and the 90 % quantile.
    pub mean_step_seconds: f64,
    /// Whether the parts are of steps of their own, which waited for the device at the end of each part.
    pub synchronized: bool,
    /// Steps that were measured by part; the same as `steps` where these are not steps of their own.
    pub part_steps: usize,
    /// Mean duration of the steps measured by part, as `mean_step_seconds`: what the parts add up to.
    pub part_step_seconds: f64,
    /// Where that time goes.
    pub parts: Vec<PartReport>,
    /// Arithmetic of all parts together.
    pub gflop: f64,
    /// `gflop` by `mean_step_seconds`.
    pub gflop_per_second: f64,
    /// `gflop_per_second` as a fraction of the matrix product in this precision; none where that was not
    /// measured.
    pub of_matrix_product: Option<f64>,
    /// Speed of a large matrix product on the device, made as in training, GFLOP/s; none where it was not
    /// measured.
    pub matrix_product: Option<MatrixProduct>,
    /// Speed of Burn's own; none on the processor.
    pub burn_product: Option<BurnProduct>,
    /// Speed of a large copy on the device, bytes read and written, GB/s; none where it was not measured.
    pub memory_bandwidth: Option<f64>,
    /// Memory of the device; none on the processor, and where the device does not say.
    pub device_memory: Option<DeviceMemory>,
    /// Most memory of the machine that the process has held; with `signal = "hidden"`, since the teacher is
    /// gone. None where the system does not say.
    pub peak_memory_mib: Option<f64>,
}

/// Memory of a device that is not the processor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DeviceMemory {
    /// Most that tensors took at the end of a part; within one it may have been more.
    pub in_use_mib: f64,
    /// Most that the process held for tensors, room for more included, in steps as training takes them. What
    /// the warm-up left, in which kernels are tried out, was given back before.
    pub reserved_mib: f64,
    /// What the process held after the warm-up.
    pub reserved_in_warmup_mib: f64,
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
    /// Mean seconds in a step that is measured by part.
    pub seconds: f64,
    /// The same by tokens.
    pub microseconds_per_token: f64,
    /// The same as a fraction of that step.
    pub share: f64,
    /// Arithmetic in a step; none where none is counted.
    pub gflop: Option<f64>,
    /// Arithmetic by time.
    pub gflop_per_second: Option<f64>,
    /// That speed as a fraction of the matrix product in this precision.
    pub of_matrix_product: Option<f64>,
    /// Gigabytes that it moves through memory at the least; none where they are not counted.
    pub gbyte: Option<f64>,
    /// Those by time.
    pub gbyte_per_second: Option<f64>,
    /// That speed as a fraction of `memory_bandwidth`; above 1 where caches keep what one part leaves for the
    /// next.
    pub of_memory_bandwidth: Option<f64>,
}

impl Report {
    pub(super) fn new(options: &Options, measured: &Measured, isa: Isa, ceilings: Option<Ceilings>) -> Self {
        let steps = &measured.steps;
        let step_seconds = Spread::of(steps.iter().copied());
        let tokens_per_step = options.batch * options.sequence;
        let tokens_per_second = Spread::of(steps.iter().map(|seconds| tokens_per_step as f64 / seconds));
        let usual = steps.iter().filter(|&&seconds| step_seconds.is_usual(seconds));
        let mean_step_seconds = mean(usual.copied());

        let whole = Spread::of(measured.parts.iter().map(Times::whole));
        let usual: Vec<&Times> =
            measured.parts.iter().filter(|times| whole.is_usual(times.whole())).collect();
        let part_step_seconds = mean(usual.iter().map(|times| times.whole()));
        let parts: Vec<PartReport> = Part::ALL
            .into_iter()
            .map(|part| {
                let seconds = mean(usual.iter().map(|times| times.of(part)));
                let share = seconds / part_step_seconds;
                PartReport::new(part, seconds, share, options, measured, ceilings.as_ref())
            })
            .collect();

        let gflop: f64 = parts.iter().filter_map(|part| part.gflop).sum();
        let gflop_per_second = gflop / mean_step_seconds;
        let product = |ceilings: &Ceilings| fastest(ceilings, options.precision);
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
            warmup_seconds: measured.warmup_seconds,
            steps: steps.len() * measured.steps_per_reading,
            steps_per_reading: measured.steps_per_reading,
            tokens_per_step,
            tokens_per_second,
            step_seconds,
            mean_step_seconds,
            synchronized: measured.synchronized,
            part_steps: measured.parts.len(),
            part_step_seconds,
            parts,
            gflop,
            gflop_per_second,
            of_matrix_product: ceilings.as_ref().map(|ceilings| gflop_per_second / product(ceilings)),
            matrix_product: ceilings.map(|ceilings| ceilings.matrix_product),
            burn_product: ceilings.and_then(|ceilings| ceilings.burn_product),
            memory_bandwidth: ceilings.map(|ceilings| ceilings.bandwidth),
            device_memory: measured.device_memory.map(DeviceMemory::of),
            peak_memory_mib: (measured.peak_memory > 0).then_some(measured.peak_memory as f64 / MIB),
        }
    }
}

/// GFLOP/s of a matrix product in this precision.
fn fastest(ceilings: &Ceilings, precision: Precision) -> f64 {
    match precision {
        Precision::Fp32 => ceilings.matrix_product.fp32,
        Precision::Bf16 => ceilings.matrix_product.bf16,
    }
}

impl PartReport {
    fn new(
        part: Part,
        seconds: f64,
        share: f64,
        options: &Options,
        measured: &Measured,
        ceilings: Option<&Ceilings>,
    ) -> Self {
        let tokens = Tokens { batch: options.batch, sequence: options.sequence, rows: measured.rows };
        let runs = options.signal == TeacherSignal::Online;
        let (student, teacher) = (&measured.student, measured.teacher.as_ref());
        let gflop = count_gflop(part, student, teacher, runs, tokens);
        let gbyte = count_gbyte(part, student, teacher, runs, tokens, options.precision);
        let by_time = |amount: Option<f64>| amount.map(|amount| amount / seconds);
        let of = |amount: Option<f64>, most: Option<f64>| by_time(amount).zip(most).map(|(a, b)| a / b);
        Self {
            part,
            seconds,
            microseconds_per_token: seconds * 1e6 / (options.batch * options.sequence) as f64,
            share,
            gflop,
            gflop_per_second: by_time(gflop),
            of_matrix_product: of(gflop, ceilings.map(|ceilings| fastest(ceilings, options.precision))),
            gbyte,
            gbyte_per_second: by_time(gbyte),
            of_memory_bandwidth: of(gbyte, ceilings.map(|ceilings| ceilings.bandwidth)),
        }
    }
}

impl DeviceMemory {
    fn of(bytes: DeviceBytes) -> Self {
        let [in_use_mib, reserved_mib, reserved_in_warmup_mib] =
            [bytes.in_use, bytes.reserved, bytes.reserved_in_warmup].map(|bytes| bytes as f64 / MIB);
        Self { in_use_mib, reserved_mib, reserved_in_warmup_mib }
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
