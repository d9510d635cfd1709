//! `kdx bench`: what a training step costs on this machine.

use std::process::ExitCode;

use clap::builder::TypedValueParser;
use miette::IntoDiagnostic;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Global, text};
use crate::bench::{self, Options, PartReport, Report, Shape, TeacherSignal};
use crate::schedule::{DeviceName, keep_kernels};
use crate::spec::{LossConfig, LossKind, Precision};

/// What `--help` says of the figures.
const FIGURES: &str = "\
Tokens a second are the median over the steps, with the 10 % and 90 % quantiles. Times of parts are means \
over the steps between these quantiles, and add up. A multiply-add counts as two operations; counted are \
the products with weights and, in attention, with the positions that the causal mask leaves; a backward \
pass has twice the operations of the forward pass; both heads count with the loss. Bytes are the fewest that \
a part can move: every tensor that it is given or leaves behind, once; what is made and used within it \
(scores, logits) is not counted.

Both are held against what the device itself reaches, measured after the steps: the fastest of several \
products of large matrices, in the same precision and made as training makes them, and of several large \
copies, bytes read and written. On a processor the matrices have 1024 × 1024 numbers; on other devices as \
many as it multiplies in a moment, and Burn's own product is measured beside (in fp32 it may round operands, \
to TF32).

A GPU works behind the calls that start its work. Tokens a second are those of steps as training takes them, \
which wait for the device only where figures are read, every --log-every steps. The parts are those of other \
steps, which wait for the device at the end of each part: they take longer, and so add up to more than the \
steps that count. Memory of the device is what the process holds there for tensors, without what the driver \
and kernels take. What is compiled for a GPU is kept in the store's cache, as by a sweep.

KDX_CPU=portable|avx2|avx512|avx512bf16|amx chooses the instruction set, RAYON_NUM_THREADS the threads.

--json prints one object: format_version, student and teacher (hidden_size, layers, heads, kv_heads, \
intermediate_size, parameters), vocab_size, batch, sequence, precision, device, signal, loss, isa, threads, \
warmup_steps, warmup_seconds, steps, steps_per_reading, tokens_per_step, tokens_per_second and step_seconds \
(p10, median, p90), mean_step_seconds, synchronized (whether the parts are of steps that wait for the \
device), part_steps, part_step_seconds (what the parts add up to), parts (part, seconds, \
microseconds_per_token, share, gflop, gflop_per_second, of_matrix_product, gbyte, gbyte_per_second, \
of_memory_bandwidth), gflop, gflop_per_second, of_matrix_product, matrix_product and burn_product (fp32 and \
bf16, GFLOP/s), memory_bandwidth (GB/s), device_memory (in_use_mib, reserved_mib, reserved_in_warmup_mib), \
peak_memory_mib (of the process, on the machine).";

/// Arguments of `kdx bench`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = FIGURES)]
pub struct Args {
    /// Width and layers of the student; the rest follows as in an experiment file.
    #[arg(long, value_name = "HxL", default_value = "512x1")]
    student: Shape,
    /// Width and layers of the teacher.
    #[arg(long, value_name = "HxL", default_value = "768x2")]
    teacher: Shape,
    /// Tokens of the vocabulary.
    #[arg(long, value_name = "N", default_value_t = 6400)]
    vocab: usize,
    /// Sequences in a batch.
    #[arg(long, value_name = "N", default_value_t = 8)]
    batch: usize,
    /// Tokens in a sequence.
    #[arg(long, value_name = "N", default_value_t = 512)]
    seq: usize,
    /// Arithmetic, as `train.precision`.
    #[arg(long, default_value = "fp32", value_parser = parse_named::<Precision>())]
    precision: Precision,
    /// Where to train.
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
    /// `online` runs the teacher in every step, `hidden` has its hidden states beforehand.
    #[arg(long, default_value = "online", value_parser = parse_named::<TeacherSignal>())]
    signal: TeacherSignal,
    /// The soft loss, as `loss.kind`.
    #[arg(long, value_name = "KIND", default_value = "forward_kl", value_parser = parse_named::<LossKind>())]
    loss: LossKind,
    /// As `loss.temperature`.
    #[arg(long, value_name = "T", default_value_t = LossConfig::default().temperature)]
    temperature: f64,
    /// As `loss.alpha`: the weight of the hard loss.
    #[arg(long, value_name = "A", default_value_t = LossConfig::default().alpha)]
    alpha: f64,
    /// Measure for this long; three steps at least.
    #[arg(long, value_name = "S", default_value_t = 20.0)]
    seconds: f64,
    /// Steps before the measurement.
    #[arg(long, value_name = "N", default_value_t = 3)]
    warmup: usize,
    /// On a GPU, as `train.log_every`: steps between two readings of the figures, which wait for the device.
    #[arg(long, value_name = "N", default_value_t = 10)]
    log_every: usize,
    /// Do not measure how fast the device multiplies matrices and moves memory.
    #[arg(long)]
    no_ceilings: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Reads a value as an experiment file writes it.
fn parse_named<T: DeserializeOwned + Clone + Send + Sync + 'static>() -> impl TypedValueParser<Value = T> {
    clap::builder::NonEmptyStringValueParser::new().try_map(|name| serde_json::from_value::<T>(name.into()))
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> miette::Result<ExitCode> {
    // Half a minute of compiling on a GPU, once for all measurements and runs.
    keep_kernels(&global.store().cache_dir(), &args.device);
    let loss = LossConfig {
        kind: args.loss,
        temperature: args.temperature,
        alpha: args.alpha,
        ..LossConfig::default()
    };
    let report = bench::measure(&Options {
        student: args.student,
        teacher: args.teacher,
        vocab_size: args.vocab,
        batch: args.batch,
        sequence: args.seq,
        precision: args.precision,
        device: args.device.clone(),
        signal: args.signal,
        loss,
        warmup: args.warmup,
        seconds: args.seconds,
        log_every: args.log_every,
        ceilings: !args.no_ceilings,
    })?;
    if args.json {
        text::say!("{}", serde_json::to_string_pretty(&report).into_diagnostic()?);
    } else {
        text::print(&render(args, &report));
    }
    Ok(ExitCode::SUCCESS)
}

fn render(args: &Args, report: &Report) -> String {
    let teacher = match &report.teacher {
        None => "no teacher".to_owned(),
        Some(sizes) => {
            format!(
                "teacher {} ({}), {}",
                args.teacher,
                text::count(sizes.parameters),
                name_choice(&report.signal)
            )
        }
    };
    let mut out = format!(
        "student {} ({}), {teacher}, vocabulary {}, batch {} × {}, loss {}, {}\n{}: {}, {}\n\n",
        args.student,
        text::count(report.student.parameters),
        report.vocab_size,
        report.batch,
        report.sequence,
        name_choice(&report.loss.kind),
        name_choice(&report.precision),
        report.device,
        report.isa,
        text::plural(report.threads, "thread"),
    );
    let rows = report.parts.iter().map(make_row).chain([make_total_row(report)]).collect();
    let heading =
        ["part", "ms a step", "µs a token", "share", "GFLOP", "GFLOP/s", "of a product", "GB/s", "of a copy"];
    out += &text::table(heading, rows);
    if report.synchronized {
        out += &format!(
            "The parts are of {} that waited for the device at the end of each; they took {:.2} ms.\n",
            text::plural(report.part_steps, "step"),
            report.part_step_seconds * 1e3
        );
    }
    let speed = &report.tokens_per_second;
    out += &format!(
        "\n{:.0} tokens/s, the median of {}; four fifths of them between {:.0} and {:.0}\n",
        speed.median,
        text::plural(report.steps, "step"),
        speed.p10,
        speed.p90
    );
    if let Some(product) = &report.matrix_product {
        out += &format!("matrix product: {:.0} GFLOP/s in fp32, {:.0} in bf16\n", product.fp32, product.bf16);
    }
    if let Some(product) = &report.burn_product {
        let bf16 = product.bf16.map_or("none".to_owned(), |speed| format!("{speed:.0}"));
        out += &format!("Burn's own: {:.0} GFLOP/s in fp32, {bf16} in bf16\n", product.fp32);
    }
    if let Some(bandwidth) = report.memory_bandwidth {
        out += &format!("memory: {bandwidth:.1} GB/s\n");
    }
    if let Some(memory) = &report.device_memory {
        out += &format!(
            "memory of the device: {:.0} MiB held for tensors, {:.0} MiB of it in use at the end of a part \
             ({:.0} MiB held after the warm-up)\n",
            memory.reserved_mib, memory.in_use_mib, memory.reserved_in_warmup_mib
        );
    }
    if let Some(memory) = report.peak_memory_mib {
        out += &format!("peak memory: {memory:.0} MiB\n");
    }
    out
}

fn make_row(part: &PartReport) -> [String; 9] {
    [
        part.part.name().to_owned(),
        format!("{:.2}", part.seconds * 1e3),
        format!("{:.2}", part.microseconds_per_token),
        write_percent(Some(part.share)),
        write_figure(part.gflop),
        write_figure(part.gflop_per_second),
        write_percent(part.of_matrix_product),
        write_figure(part.gbyte_per_second),
        write_percent(part.of_memory_bandwidth),
    ]
}

fn make_total_row(report: &Report) -> [String; 9] {
    [
        "step".to_owned(),
        format!("{:.2}", report.mean_step_seconds * 1e3),
        format!("{:.2}", report.mean_step_seconds * 1e6 / report.tokens_per_step as f64),
        if report.synchronized { write_percent(None) } else { write_percent(Some(1.0)) },
        write_figure(Some(report.gflop)),
        write_figure(Some(report.gflop_per_second)),
        write_percent(report.of_matrix_product),
        write_figure(None),
        write_percent(None),
    ]
}

fn write_figure(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value < 1.0 => format!("{value:.3}"),
        Some(value) => format!("{value:.1}"),
    }
}

fn write_percent(share: Option<f64>) -> String {
    share.map_or("–".to_owned(), |share| format!("{:.1} %", 100.0 * share))
}

/// A choice as an experiment file writes it.
fn name_choice(choice: &impl Serialize) -> String {
    let value = serde_json::to_value(choice).ok();
    value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
