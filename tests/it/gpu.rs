//! The operations and whole runs on a GPU: `KDX_TEST_DEVICE`, or the first there is. `vulkan:0` may be a software
//! device. The references run on the processor.

use std::sync::OnceLock;

use burn::tensor::{Device, Int, Tensor, TensorData};
use kdx::kernels::{
    AdamW, Distillation, Divergence, GradientScale, Heads, Moments, Norm, Parameter, Projection, RotaryTable,
    TopK, adamw_step, causal_attention, distillation_loss, measure, reference, sum_of_squares,
};
use kdx::schedule::DeviceName;
use kdx::spec::Precision;
use proptest::prelude::*;

use crate::kernels::{self, Case, case};
use crate::support::device::{device, on};
use crate::support::reference::noise;
use crate::{bench, golden, resume, runs, shared_process, signals};

fn name() -> String {
    let default = if cfg!(feature = "cuda") { "cuda:0" } else { "vulkan:0" };
    std::env::var("KDX_TEST_DEVICE").unwrap_or_else(|_| default.to_owned())
}

/// The device under test.
fn gpu() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let find = || {
        let name: DeviceName = name().parse().unwrap();
        name.to_burn().unwrap()
    };
    DEVICE.get_or_init(find).clone()
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

fn tensor<const D: usize>(values: &[f64], shape: [usize; D]) -> Tensor<D> {
    let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), &device())
}

/// Two vectors agree to a fraction of the largest expected number.
#[track_caller]
fn agree(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected.iter().fold(1e-30_f64, |size, x| size.max(x.abs()));
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * size, "{what}[{index}]: {a} for {b} of {size}");
    }
}

#[test]
fn operations_are_those_of_the_definition() {
    on(&gpu(), || {
        kernels::attention_with_turned_queries_and_keys_and_its_gradients_are_those_of_the_definition();
        kernels::norms_of_heads_and_their_gradients_are_those_of_the_definition();
        kernels::norm_linear_and_swiglu_are_those_of_the_definition();
        kernels::rows_are_gathered_and_their_gradients_added_up();
        kernels::swiglu_of_extreme_gates_is_finite_in_value_and_gradient();
    });
}

proptest! {
    // Few: shapes are compiled into some kernels.
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn operations_are_the_plain_tensors_of_the_reference(
        n in 1..70usize, width in 1..80usize, out in [1..50usize, 1..50, 1..50], seed in any::<u32>(),
        bf16 in any::<bool>(),
    ) {
        on(&gpu(), || kernels::operations_of_the_reference(n, width, out, seed, bf16));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn losses_are_those_of_the_reference(case in case(0.1..8.0f64)) {
        prop_assume!(!case.is_at_a_kink(&case.student()));
        on(&gpu(), || kernels::loss_of_the_reference(&case));
    }

    #[test]
    fn measures_are_the_sums_that_losses_average(case in case(0.1..8.0f64)) {
        on(&gpu(), || kernels::measured_sums(&case));
    }

    #[test]
    fn losses_of_logits_far_apart_are_finite(case in case(10.0..1e4f64)) {
        on(&gpu(), || kernels::extreme_loss(&case));
    }
}

#[test]
fn every_divergence_has_the_loss_of_its_definition() {
    let kinds = [
        Divergence::ForwardKl,
        Divergence::ReverseKl,
        Divergence::MixedKl { forward_weight: 0.3 },
        Divergence::JensenShannon { beta: 0.3 },
        Divergence::SkewForwardKl { skew: 0.1 },
        Divergence::SkewReverseKl { skew: 0.1 },
        Divergence::SkewReverseKl { skew: 0.0 },
        Divergence::TotalVariation,
        Divergence::LogitMse,
    ];
    for divergence in kinds {
        for temperature in [1.0, 2.5] {
            let mix = Distillation { divergence: Some(divergence), temperature, hard_weight: 0.3 };
            let case = Case { mix, rows: 3, vocab: 11, extra: 2, seed: 5, scale: 2.0 };
            on(&gpu(), || kernels::loss_by_definition(&case));
        }
    }
}

/// Student, teacher and targets with a vocabulary wider than a cube has units, and many rows.
fn wide(rows: usize, vocab: usize, width: usize) -> (Projection, Projection, Tensor<1, Int>) {
    let side = |seed: u64, vocab: usize| {
        let hidden = tensor(&noise(seed, rows * width), [rows, width]);
        let head = tensor(&noise(seed + 1, vocab * width), [vocab, width]);
        Projection::new(hidden, head)
    };
    let targets: Vec<i64> = (0..rows as i64).map(|row| row * 7919 % vocab as i64).collect();
    let targets = Tensor::from_data(TensorData::new(targets, [rows]), &device());
    (side(1, vocab), side(11, vocab + 5), targets)
}

#[test]
fn a_loss_of_many_pieces_is_that_of_the_reference() {
    // More logits than a piece has, in rows that do not fill the last one.
    let (rows, vocab, width) = (300, 1 << 17, 8);
    let mix = Distillation { divergence: Some(Divergence::ReverseKl), temperature: 2.0, hard_weight: 0.4 };
    let run = |kernel: bool| {
        let (student, teacher, targets) = wide(rows, vocab, width);
        let lift = |t: Tensor<2>| Tensor::from_inner(t).require_grad();
        let student = Projection { hidden: lift(student.hidden), head: lift(student.head), how: student.how };
        let of = if kernel { distillation_loss } else { reference::distillation_loss };
        let losses = of(student.clone(), Some(teacher.into()), targets, &mix);
        let gradients = losses.total.backward();
        let gradient = |t: &Tensor<2>| numbers(t.grad(&gradients).unwrap());
        [numbers(losses.total), gradient(&student.hidden), gradient(&student.head)]
    };
    let found = on(&gpu(), || run(true));
    let expected = run(false);
    for (what, (found, expected)) in ["loss", "hidden", "head"].iter().zip(found.iter().zip(&expected)) {
        // Sums of a hundred thousand terms, in another order.
        agree(what, found, expected, 5e-5);
    }
}

#[test]
fn a_teacher_of_largest_logits_is_that_of_the_reference() {
    let run = |kernel: bool| {
        let (student, _, targets) = wide(5, 40, 8);
        let ids: Vec<i64> = (0..15).map(|i| i * 2).collect();
        let top = TopK {
            ids: Tensor::from_data(TensorData::new(ids, [5, 3]), &device()),
            logits: tensor(&noise(3, 15), [5, 3]) + 3.0,
            rest: tensor(&noise(4, 5), [5]),
        };
        let mix =
            Distillation { divergence: Some(Divergence::ForwardKl), temperature: 2.0, hard_weight: 0.5 };
        let (loss, sums) = if kernel {
            let loss = distillation_loss(student.clone(), Some(top.clone().into()), targets.clone(), &mix);
            (loss, measure(student, Some(top.into()), targets, &mix))
        } else {
            let loss = reference::distillation_loss(
                student.clone(),
                Some(top.clone().into()),
                targets.clone(),
                &mix,
            );
            (loss, reference::measure(student, Some(top.into()), targets, &mix))
        };
        [numbers(loss.total), vec![sums.hard, sums.teacher.unwrap().hard]]
    };
    let (found, expected) = (on(&gpu(), || run(true)), run(false));
    agree("loss", &found[0], &expected[0], 1e-5);
    agree("sums", &found[1], &expected[1], 1e-5);
}

#[test]
fn an_attention_of_many_pieces_is_that_of_the_reference() {
    let heads = Heads { batch: 36, sequence: 300, heads: 8, kv_heads: 2, head_dim: 4 };
    let row = (heads.heads + 2 * heads.kv_heads) * heads.head_dim;
    let n = heads.batch * heads.sequence;
    let run = |kernel: bool| {
        let qkv = Tensor::from_inner(tensor(&noise(6, n * row), [n, row])).require_grad();
        let table = RotaryTable::new(&[1.0, 0.1], heads.sequence, &device());
        let of = if kernel { causal_attention } else { reference::causal_attention };
        let out = of(qkv.clone(), &table, heads, kdx::kernels::Precision::F32);
        let weights = Tensor::from_inner(tensor(&noise(7, n * heads.heads * 4), out.dims()));
        let gradients = (out.clone() * weights).sum().backward();
        [numbers(out), numbers(qkv.grad(&gradients).unwrap())]
    };
    let (found, expected) = (on(&gpu(), || run(true)), run(false));
    agree("attention", &found[0], &expected[0], 1e-5);
    agree("gradient", &found[1], &expected[1], 1e-5);
}

#[test]
fn steps_and_norms_are_those_of_the_reference() {
    let adamw =
        |step| AdamW { learning_rate: 0.1, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.5, step };
    for (n, limit) in [(1, 10.0), (1000, 0.5), (70_001, 1.0)] {
        let steps = |kernel: bool| {
            let (mut parameter, mut moments): (_, Option<Moments>) = (tensor(&noise(1, n), [n]), None);
            let mut norms = Vec::new();
            for step in 1..4 {
                let gradient = tensor(&noise(step + 1, n), [n]);
                let norm = Norm::new([&gradient, &gradient]);
                assert_eq!(matches!(norm, Norm::OnDevice(_)), kernel);
                let expected = (2.0 * sum_of_squares(gradient.clone())).sqrt();
                assert!((norm.read() - expected).abs() <= 1e-6 * expected);
                norms.push(norm.read());
                let scale = GradientScale::clipping(&norm, limit, 1e-6);
                let (next, state) = if kernel {
                    let before = Parameter { value: parameter, gradient, moments };
                    adamw_step(vec![before], &scale, &adamw(step)).swap_remove(0)
                } else {
                    let GradientScale::By(scale) = scale else { panic!("known on the processor") };
                    reference::adamw_step(parameter, gradient, moments, scale, &adamw(step))
                };
                (parameter, moments) = (next, Some(state));
            }
            let moments = moments.unwrap();
            [numbers(parameter), numbers(moments.first), numbers(moments.second), norms]
        };
        let (found, expected) = (on(&gpu(), || steps(true)), steps(false));
        for (found, expected) in found.iter().zip(&expected) {
            agree("step", found, expected, 1e-5);
        }
    }
}

#[test]
fn logits_losses_and_gradients_are_those_of_pytorch() {
    // Single precision, in another order; the derivative of total variation jumps where probabilities are equal.
    let bounds = golden::Bounds { logits: 1e-3, losses: 1e-4, gradients: 1e-3 };
    on(&gpu(), || {
        golden::logits(&bounds);
        golden::losses(&bounds);
        golden::gradients_by_name(&bounds);
    });
}

#[test]
fn a_run_follows_the_curves_of_pytorch() {
    on(&gpu(), || {
        runs::a_run_reproduces_the_curve_of_pytorch();
        runs::a_run_with_accumulation_reproduces_the_curve_of_pytorch();
        runs::a_run_in_bfloat16_follows_the_curve_within_a_hundredth();
    });
}

#[test]
fn a_run_reads_its_figures_only_where_a_row_needs_them() {
    on(&gpu(), || {
        runs::rows_between_steps_hold_means_and_the_last_step_has_a_row();
        runs::a_loss_that_is_no_longer_finite_ends_the_run_as_diverged();
    });
}

#[test]
fn a_run_on_text_is_measured() {
    on(&gpu(), runs::a_run_on_text_is_measured_and_leaves_a_model_with_its_tokenizer);
}

#[test]
fn a_run_resumes_to_the_same_bytes() {
    for precision in [Precision::Fp32, Precision::Bf16] {
        on(&gpu(), || resume::resumes_after_every_row(precision));
    }
}

#[test]
fn a_measurement_waits_for_the_device_only_where_it_says() {
    let device = format!("--device={}", name());
    let report = bench::report(&[&device, "--log-every=4", "--seconds=0"]);
    // Three readings of four steps each; three steps by part.
    for (key, value) in [("steps_per_reading", 4), ("steps", 12), ("part_steps", 3)] {
        assert_eq!(report[key], value, "{key}");
    }
    assert_eq!(report["synchronized"], true);
    let parts: f64 =
        report["parts"].as_array().unwrap().iter().map(|part| bench::number(&part["seconds"])).sum();
    let whole = bench::number(&report["part_step_seconds"]);
    assert!((parts - whole).abs() <= 1e-9 * whole, "{parts} for {whole}");
    let memory = &report["device_memory"];
    let [used, held] = ["in_use_mib", "reserved_mib"].map(|key| bench::number(&memory[key]));
    // Weights, gradients and moments of 4,784 parameters at the least.
    assert!(used > 4784.0 * 12.0 / f64::from(1 << 20) && held >= used, "{used} of {held} MiB");
    for speed in
        [&report["matrix_product"]["fp32"], &report["burn_product"]["fp32"], &report["memory_bandwidth"]]
    {
        assert!(bench::number(speed) > 0.0);
    }
}

#[test]
fn states_read_ahead_are_those_of_the_teacher() {
    on(&gpu(), || {
        signals::gives_the_bits_of_a_run_online(Precision::Fp32);
        signals::a_run_stops_while_it_prepares_and_the_next_one_goes_on();
        signals::a_damaged_file_is_made_again_and_never_trusted();
    });
}

#[test]
fn many_parameters_take_the_steps_that_each_takes_alone() {
    let adamw =
        |step| AdamW { learning_rate: 0.1, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.1, step };
    // More than any launch takes, of lengths around those of the pieces, one without numbers.
    let lengths: Vec<usize> = (0..230).map(|i| [1, 1024, 1025, 0, 3000, 255][i % 6]).collect();
    on(&gpu(), || {
        let vectors = |seed: usize| -> Vec<Tensor<1>> {
            let of = |(i, &n): (usize, &usize)| tensor(&noise((seed * 1000 + i) as u64, n), [n]);
            lengths.iter().enumerate().map(of).collect()
        };
        let gradients = vectors(2);
        let norm = Norm::new(&gradients);
        let squares: f64 = gradients.iter().map(|gradient| sum_of_squares(gradient.clone())).sum();
        assert!((norm.read() - squares.sqrt()).abs() <= 1e-6 * squares.sqrt());
        let scale = GradientScale::clipping(&norm, 1.0, 1e-6);
        let parameters = vectors(1).into_iter().zip(gradients);
        let parameters: Vec<Parameter> =
            parameters.map(|(value, gradient)| Parameter { value, gradient, moments: None }).collect();
        let together = adamw_step(parameters.clone(), &scale, &adamw(1));
        assert_eq!(together.len(), lengths.len());
        for (parameter, (value, moments)) in parameters.into_iter().zip(together) {
            let (alone, moments_alone) = adamw_step(vec![parameter], &scale, &adamw(1)).swap_remove(0);
            assert!(
                numbers(value) == numbers(alone) && numbers(moments.first) == numbers(moments_alone.first)
            );
            assert!(numbers(moments.second) == numbers(moments_alone.second));
        }
    });
}

#[test]
fn runs_in_one_process_are_those_of_their_own() {
    shared_process::runs_in_one_process_are_those_of_their_own(&name().parse().unwrap());
}

#[test]
fn a_killed_process_costs_each_of_its_runs_an_attempt() {
    shared_process::a_killed_process_costs_each_run_an_attempt(&name().parse().unwrap(), "60");
}
