//! Losses and layers written out in double precision, plainly and slowly: what the kernels are held to.

use kdx::kernels::Divergence;

/// The logarithm of the softmax of `logits / temperature`.
pub fn log_softmax(logits: &[f64], temperature: f64) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|z| ((z - highest) / temperature).exp()).sum();
    logits.iter().map(|z| (z - highest) / temperature - sum.ln()).collect()
}

/// One divergence of one row, its temperature² included.
pub fn divergence(kind: Divergence, student: &[f64], teacher: &[f64], temperature: f64) -> f64 {
    if kind == Divergence::LogitMse {
        let squares: f64 = student.iter().zip(teacher).map(|(s, t)| (s - t) * (s - t)).sum();
        return squares / student.len() as f64;
    }
    let (log_q, log_p) = (log_softmax(student, temperature), log_softmax(teacher, temperature));
    let exp = |logs: &[f64]| -> Vec<f64> { logs.iter().map(|l| l.exp()).collect() };
    let (q, p) = (exp(&log_q), exp(&log_p));
    let kl = |a: &[f64], log_a: &[f64], log_b: &[f64]| -> f64 {
        let terms = a.iter().zip(log_a).zip(log_b);
        terms.map(|((a, log_a), log_b)| if *a == 0.0 { 0.0 } else { a * (log_a - log_b) }).sum()
    };
    let mixture = |x: f64, a: &[f64], b: &[f64]| -> Vec<f64> {
        let term = |weight: f64, log: f64| if weight == 0.0 { f64::NEG_INFINITY } else { weight.ln() + log };
        let sum = |a: f64, b: f64| {
            let high = a.max(b);
            high + ((a - high).exp() + (b - high).exp()).ln()
        };
        a.iter().zip(b).map(|(a, b)| sum(term(x, *a), term(1.0 - x, *b))).collect()
    };
    let value = match kind {
        Divergence::ForwardKl => kl(&p, &log_p, &log_q),
        Divergence::ReverseKl => kl(&q, &log_q, &log_p),
        Divergence::MixedKl { forward_weight } => {
            forward_weight * kl(&p, &log_p, &log_q) + (1.0 - forward_weight) * kl(&q, &log_q, &log_p)
        }
        Divergence::JensenShannon { beta } => {
            let log_m = mixture(beta, &log_p, &log_q);
            beta * kl(&p, &log_p, &log_m) + (1.0 - beta) * kl(&q, &log_q, &log_m)
        }
        Divergence::SkewForwardKl { skew } => kl(&p, &log_p, &mixture(skew, &log_p, &log_q)),
        Divergence::SkewReverseKl { skew } => kl(&q, &log_q, &mixture(skew, &log_q, &log_p)),
        Divergence::TotalVariation => 0.5 * q.iter().zip(&p).map(|(q, p)| (q - p).abs()).sum::<f64>(),
        Divergence::LogitMse => unreachable!(),
    };
    temperature * temperature * value
}

/// Causal grouped-query attention of one sequence: rows of `heads · width`, and of `kv_heads · width`.
pub fn attention(
    query: &[f64],
    key: &[f64],
    value: &[f64],
    heads: usize,
    kv_heads: usize,
    width: usize,
) -> Vec<f64> {
    let length = query.len() / (heads * width);
    let mut output = vec![0.0; query.len()];
    for head in 0..heads {
        let kv_head = head / (heads / kv_heads);
        for at in 0..length {
            let scores: Vec<f64> = (0..=at)
                .map(|seen| {
                    let products = (0..width).map(|i| {
                        query[(at * heads + head) * width + i] * key[(seen * kv_heads + kv_head) * width + i]
                    });
                    products.sum::<f64>() / (width as f64).sqrt()
                })
                .collect();
            for (seen, log_weight) in log_softmax(&scores, 1.0).into_iter().enumerate() {
                for i in 0..width {
                    let seen_value = value[(seen * kv_heads + kv_head) * width + i];
                    output[(at * heads + head) * width + i] += log_weight.exp() * seen_value;
                }
            }
        }
    }
    output
}

/// Central differences of `f` in each element of `x`.
pub fn differences(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut moved = x.to_vec();
    let step = 1e-5;
    (0..x.len())
        .map(|i| {
            moved[i] = x[i] + step;
            let above = f(&moved);
            moved[i] = x[i] - step;
            let below = f(&moved);
            moved[i] = x[i];
            (above - below) / (2.0 * step)
        })
        .collect()
}

/// Numbers that look random, in (-1, 1), exact in single precision.
pub fn noise(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 41) as f64 / (1u64 << 22) as f64 - 1.0
    };
    (0..count + 8).map(|_| next()).skip(8).collect()
}
