//! Where the time of a training step goes: `cargo bench --bench training_step [-- SHAPE…]`.
//!
//! Synthetic ids; every position counts. Prints tokens per second by the clock and by the time of the
//! process (which does not see what else the machine does), and the share of each part.

use std::time::{Duration, Instant};

use burn::tensor::{Device, Int, Tensor, TensorData};
use kdx::distill::{DeviceBatch, Gradients, Optimizer, Signal};
use kdx::experiment::config::{OptimizerConfig, SizeConfig};
use kdx::kernels::{Distillation, Divergence, Precision, distillation_loss};
use kdx::model::{ModelConfig, Transformer};
use rustix::time::{ClockId, clock_gettime};

/// name, student and teacher as (hidden, layers), vocabulary, (batch, sequence)
type Shape = (&'static str, (usize, usize), (usize, usize), usize, (usize, usize));

const SHAPES: [Shape; 4] = [
    ("toy", (64, 1), (192, 4), 1024, (16, 48)),
    ("small", (128, 2), (256, 4), 1024, (32, 96)),
    ("minimind", (512, 1), (768, 2), 6400, (8, 512)),
    ("deep", (192, 4), (64, 1), 1024, (16, 48)),
];

fn model((hidden, layers): (usize, usize), vocab: usize, device: &Device) -> (ModelConfig, Transformer) {
    let size = SizeConfig { hidden_size: Some(hidden), layers: Some(layers), ..SizeConfig::default() };
    let config = ModelConfig::from_size(&size, vocab).unwrap();
    let model = Transformer::random(&config, 0, device);
    (config, model)
}

fn main() {
    // In the pool, as training is: nothing is handed from thread to thread then.
    rayon::scope(|_| measure_all());
}

fn measure_all() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    for shape in SHAPES {
        if wanted.is_empty() || wanted.iter().any(|name| name == shape.0) {
            measure(shape, Precision::F32);
            measure(shape, Precision::Bf16);
        }
    }
}

/// Processor time of all threads so far, seconds.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn measure((name, student, teacher, vocab, (batch, sequence)): Shape, precision: Precision) {
    let device = Device::flex();
    let (_, mut student) = model(student, vocab, &device.clone().autodiff());
    let (_, teacher) = model(teacher, vocab, &device);
    student = student.with_precision(precision);
    let signal = Signal::Online(teacher.with_precision(precision).frozen());
    let mix = Distillation { divergence: Some(Divergence::ForwardKl), temperature: 1.5, hard_weight: 0.5 };
    let ids: Vec<i32> = (0..batch * sequence).map(|i| ((i * 7919 + i / 3) % vocab) as i32).collect();
    let n = batch * (sequence - 1);
    let rows: Vec<i32> =
        (0..batch * sequence).filter(|i| (i + 1) % sequence != 0).map(|i| i as i32).collect();
    let targets: Vec<i32> = rows.iter().map(|&row| ids[row as usize + 1]).collect();
    let vector = |values: Vec<i32>| Tensor::<1, Int>::from_data(TensorData::new(values, [n]), &device);
    let data = DeviceBatch {
        ids: Tensor::from_data(TensorData::new(ids, [batch, sequence]), &device),
        rows: vector(rows),
        targets: vector(targets),
        count: n,
    };
    let mut optimizer = Optimizer::default();
    let mut parts = [Duration::ZERO; 5];
    let mut steps = Vec::new();
    let started = Instant::now();
    let mut step = 0;
    let mut processor = 0.0;
    while step < 4 || started.elapsed() < Duration::from_secs(8) {
        step += 1;
        if step == 3 {
            processor = processor_time();
        }
        let begin = Instant::now();
        let mut last = begin;
        let mut lap = |part: usize| {
            let now = Instant::now();
            if step > 2 {
                parts[part] += now - last;
            }
            last = now;
        };
        let taught = signal.teach(&data);
        lap(0);
        let hidden = student.forward_rows(data.ids.clone(), data.rows.clone());
        lap(1);
        let losses = distillation_loss(student.project(hidden), Some(taught), data.targets.clone(), &mix);
        lap(2);
        let mut gradients = Gradients::default();
        gradients.add(&student, &losses.total);
        lap(3);
        let norm = gradients.norm();
        student = optimizer.step(student, gradients, norm, &OptimizerConfig::default(), 1e-4, step);
        lap(4);
        if step > 2 {
            steps.push(begin.elapsed());
        }
    }
    let processor = (processor_time() - processor) / steps.len() as f64;
    steps.sort();
    let median = steps[steps.len() / 2].as_secs_f64();
    let tokens = (batch * sequence) as f64;
    println!(
        "{name} {precision:?}: {:.0} tokens/s, {:.1} ms a step (median of {}); {:.0} tokens a processor second, {:.1} ms a step",
        tokens / median,
        median * 1e3,
        steps.len(),
        tokens / processor,
        processor * 1e3
    );
    let total: f64 = parts.iter().map(Duration::as_secs_f64).sum();
    for (part, time) in ["teacher", "student forward", "loss", "backward", "optimizer"].iter().zip(parts) {
        let time = time.as_secs_f64();
        println!("  {part:<16} {:5.1} %  {:8.2} ms", 100.0 * time / total, 1e3 * time / steps.len() as f64);
    }
}
