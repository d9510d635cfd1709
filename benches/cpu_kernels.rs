//! Speed of each kernel on one thread, against the measured peak of fused multiply-adds on that core.
//!
//! Times are processor time of the thread (so that other load on the machine counts less), the best of many.

use kdx::kernels::cpu::*;
use std::hint::black_box;

/// Seconds that this thread has run.
fn thread_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The best time of a call, over about a quarter of a second; short calls are timed many at once.
pub fn best(mut f: impl FnMut()) -> f64 {
    let start = thread_seconds();
    f();
    let calls = (1e-3 / (thread_seconds() - start)).clamp(1.0, 1e6) as usize;
    let begin = thread_seconds();
    let mut best = f64::INFINITY;
    for i in 0.. {
        let start = thread_seconds();
        (0..calls).for_each(|_| f());
        let end = thread_seconds();
        best = best.min((end - start) / calls as f64);
        if i >= 3 && end - begin > 0.25 {
            break;
        }
    }
    best
}

/// GFLOP/s of independent fused multiply-adds in registers.
fn peak(isa: Isa, precision: Precision) -> f64 {
    #[target_feature(enable = "avx512f")]
    fn fma(n: u64) -> f32 {
        use std::arch::x86_64::*;
        let mut sums = [_mm512_set1_ps(0.0); 24];
        let (x, y) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(0.25)));
        for _ in 0..n {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, x, y);
            }
        }
        _mm512_reduce_add_ps(sums.into_iter().fold(_mm512_setzero_ps(), |a, b| _mm512_add_ps(a, b)))
    }
    assert!(isa.level() >= Level::Avx512, "peaks are measured with AVX-512");
    let n = 1_000_000;
    // SAFETY: checked above.
    let f32_peak = (n * 24 * 32) as f64
        / best(|| {
            black_box(unsafe { fma(n) });
        })
        / 1e9;
    // `vdpbf16ps` runs at the rate of a fused multiply-add and does twice the work.
    if precision == Precision::Bf16 { 2.0 * f32_peak } else { f32_peak }
}

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let isa = Isa::from_env().expect("a path");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
    println!("path {isa}; load {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    pool.install(|| {
        if "gemm".contains(&filter) {
            products(isa);
        }
        if "loss".contains(&filter) {
            losses(isa);
        }
        if "attention".contains(&filter) {
            attentions(isa);
        }
        if "other".contains(&filter) {
            others(isa);
        }
    });
}

fn products(isa: Isa) {
    for precision in [Precision::F32, Precision::Bf16] {
        for (m, k, n) in [
            (512, 512, 512),
            (1024, 1024, 1024),
            (2048, 2048, 2048),
            (4096, 512, 512),
            (4096, 512, 1408),
            (4096, 1408, 512),
            (4096, 512, 6400),
            (252, 512, 6400),
            (252, 6400, 512),
            (1, 512, 6400),
            (8, 512, 512),
        ] {
            let peak = peak(isa, precision);
            let (a, b) = (vec![0.5_f32; m * k], vec![0.25_f32; n * k]);
            let mut c = vec![0.0_f32; m * n];
            let flops = (2 * m * k * n) as f64 / 1e9;
            let packed = PackedMatrix::new(isa, precision, MatRef::new(&b, n, k).t());
            let with = flops
                / best(|| gemm_packed(1.0, MatRef::new(&a, m, k), &packed, 0.0, MatMut::new(&mut c, m, n)));
            let nn = flops
                / best(|| {
                    gemm(
                        isa,
                        precision,
                        1.0,
                        MatRef::new(&a, m, k),
                        MatRef::new(&b, k, n),
                        0.0,
                        MatMut::new(&mut c, m, n),
                    )
                });
            let nt = flops
                / best(|| {
                    gemm(
                        isa,
                        precision,
                        1.0,
                        MatRef::new(&a, m, k),
                        MatRef::new(&b, n, k).t(),
                        0.0,
                        MatMut::new(&mut c, m, n),
                    )
                });
            let tn = flops
                / best(|| {
                    gemm(
                        isa,
                        precision,
                        1.0,
                        MatRef::new(&a, k, m).t(),
                        MatRef::new(&b, k, n),
                        1.0,
                        MatMut::new(&mut c, m, n),
                    )
                });
            println!(
                "gemm {precision:?} {m}x{k}x{n}: peak {peak:.0}  packed {with:.0} ({:.0} %)  nn {:.0} %  nt {:.0} %  tn {:.0} %",
                100.0 * with / peak,
                100.0 * nn / peak,
                100.0 * nt / peak,
                100.0 * tn / peak
            );
        }
    }
}

/// Numbers that are not all the same.
fn noise(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

fn losses(isa: Isa) {
    use kdx::kernels::{Distillation, Divergence};
    use loss::*;
    for (n, v, width, t_width) in [(1024, 6400, 512, 768), (256, 49_152, 512, 768)] {
        for precision in [Precision::F32, Precision::Bf16] {
            let peak = peak(isa, precision);
            let (hidden, weight) = (noise(n * width), noise(v * width));
            let (t_hidden, t_weight) = (noise(n * t_width), noise(v * t_width));
            let head = Head::new(isa, precision, MatRef::new(&weight, v, width));
            let t_head = Head::new(isa, precision, MatRef::new(&t_weight, v, t_width));
            let targets: Vec<i32> = (0..n).map(|i| (i * 7 % v) as i32).collect();
            let (mut d_hidden, mut d_head) = (vec![0.0; n * width], vec![0.0; v * width]);
            let pack = best(|| drop(Head::new(isa, precision, MatRef::new(&weight, v, width))));
            let gflop = 2.0 * (n * v) as f64 * (3 * width + t_width) as f64 / 1e9;
            for (divergence, temperature) in [
                (Divergence::ForwardKl, 1.0),
                (Divergence::ForwardKl, 2.0),
                (Divergence::ReverseKl, 2.0),
                (Divergence::JensenShannon { beta: 0.5 }, 2.0),
                (Divergence::LogitMse, 1.0),
            ] {
                let mix = Distillation { divergence: Some(divergence), temperature, hard_weight: 0.5 };
                let config = LossConfig { mix, agreement: false };
                let time = best(|| {
                    let student = Side { hidden: MatRef::new(&hidden, n, width), head: &head };
                    let teacher =
                        Teacher::Hidden(Side { hidden: MatRef::new(&t_hidden, n, t_width), head: &t_head });
                    let gradients = Gradients {
                        scale: 1.0,
                        weight: MatRef::new(&weight, v, width),
                        hidden: &mut d_hidden,
                        head: &mut d_head,
                    };
                    black_box(distillation_loss(&config, student, Some(teacher), &targets, Some(gradients)));
                });
                println!(
                    "loss {precision:?} n {n} v {v} {divergence:?} T {temperature}: {:.1} us/token, {:.0} GFLOP/s ({:.0} %), packing the head {:.1} ms",
                    time / n as f64 * 1e6,
                    gflop / time,
                    100.0 * gflop / time / peak,
                    pack * 1e3
                );
            }
        }
    }
}

fn attentions(isa: Isa) {
    use attention::*;
    for (batch, seq, heads, kv_heads, d) in
        [(8, 512, 8, 2, 64), (8, 48, 4, 2, 16), (4, 512, 8, 8, 128), (4, 256, 12, 4, 64)]
    {
        for precision in [Precision::F32, Precision::Bf16] {
            let peak = peak(isa, precision);
            let shape = AttentionShape { batch, seq, heads, kv_heads, d };
            let path = AttentionPath { isa, precision };
            let qkv = noise(batch * seq * shape.row());
            let dout = noise(batch * seq * heads * d);
            let (mut out, mut lse) = (dout.clone(), vec![0.0; batch * heads * seq]);
            let forward = best(|| attention(path, shape, &qkv, &mut out, &mut lse));
            let mut gradient = qkv.clone();
            let backward = best(|| attention_backward(path, shape, &qkv, &out, &lse, &dout, &mut gradient));
            // What is needed: half of each square.
            let gflop = (batch * heads * seq * seq * d) as f64 * 2.0 / 1e9;
            println!(
                "attention {precision:?} {shape:?}: forward {:.2} ms, {:.0} GFLOP/s ({:.0} %), backward {:.2} ms, {:.0} GFLOP/s ({:.0} %)",
                forward * 1e3,
                gflop / forward,
                100.0 * gflop / forward / peak,
                backward * 1e3,
                2.5 * gflop / backward,
                250.0 * gflop / backward / peak
            );
        }
    }
}

fn others(isa: Isa) {
    let (n, h) = (4096, 512);
    let gbs = |bytes: usize, time: f64| bytes as f64 / time / 1e9;
    let (x, w, dy) = (noise(n * h), noise(h), noise(n * h));
    let (mut y, mut r, mut dw) = (x.clone(), vec![0.0; n], vec![0.0; h]);
    let time = best(|| y.copy_from_slice(&x));
    println!("copy {n}x{h}: {:.2} ms, {:.0} GB/s", time * 1e3, gbs(8 * n * h, time));
    let time = best(|| vector::exp(isa, black_box(&mut y)));
    println!(
        "exp in place {n}x{h}: {:.2} ms, {:.2} ns/number, {:.0} GB/s",
        time * 1e3,
        time * 1e9 / (n * h) as f64,
        gbs(8 * n * h, time)
    );
    let time = best(|| norm::rms_norm(isa, &x, &w, 1e-5, &mut y, &mut r));
    println!("rms_norm: {:.2} ms, {:.0} GB/s", time * 1e3, gbs(8 * n * h, time));
    let time = best(|| norm::rms_norm_backward(isa, &x, &w, &r, &dy, &mut y, &mut dw));
    println!("rms_norm_backward: {:.2} ms, {:.0} GB/s", time * 1e3, gbs(12 * n * h, time));
    let table = noise(512 * 32);
    let angles = rotary::Angles { half: 32, cos: &table, sin: &table };
    let time = best(|| rotary::rotate(isa, &mut y, 512, angles, 512, 8, false));
    println!("rotate: {:.2} ms, {:.0} GB/s", time * 1e3, gbs(8 * n * h, time));
    let i = 1408;
    let (joined, dy) = (noise(n * 2 * i), noise(n * i));
    let (mut a, mut gradient) = (dy.clone(), joined.clone());
    let time = best(|| swiglu::swiglu(isa, &joined, i, &mut a));
    println!("swiglu {n}x{i}: {:.2} ms, {:.0} GB/s", time * 1e3, gbs(12 * n * i, time));
    let time = best(|| swiglu::swiglu_backward(isa, &joined, i, &dy, &mut gradient));
    println!("swiglu_backward: {:.2} ms, {:.0} GB/s", time * 1e3, gbs(20 * n * i, time));
    let v = 6400;
    let (ids, mut embedding) = ((0..n).map(|i| (i * 37 % v) as i32).collect::<Vec<_>>(), noise(v * h));
    let time = best(|| embedding::gather(&ids, &embedding, h, &mut y));
    println!("gather: {:.2} ms, {:.0} GB/s", time * 1e3, gbs(8 * n * h, time));
    let time = best(|| embedding::scatter_add(&ids, &y, h, &mut embedding));
    println!("scatter_add: {:.2} ms, {:.0} GB/s", time * 1e3, gbs(12 * n * h, time));
    let len = 6_000_000;
    let (mut value, gradient, mut first, mut second) =
        (noise(len), noise(len), vec![0.0; len], vec![0.0; len]);
    let settings =
        adamw::AdamW { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };
    let time = best(|| {
        black_box(adamw::squared_norm(isa, &gradient));
    });
    println!("global_norm of {len}: {:.2} ms, {:.0} GB/s", time * 1e3, gbs(4 * len, time));
    let time = best(|| {
        let p = adamw::Parameter {
            value: &mut value,
            gradient: &gradient,
            first: &mut first,
            second: &mut second,
            decays: true,
        };
        settings.step(isa, 3, 0.5, &mut [p]);
    });
    println!("AdamW of {len}: {:.2} ms, {:.0} GB/s", time * 1e3, gbs(28 * len, time));
}
