//! How much arithmetic each part of a step has.
//!
//! Counted is what the mathematics needs, two operations for a multiply-add: the products with weights
//! and, in attention, the scores and weighted sums of the pairs that the causal mask leaves. A backward
//! pass has twice the arithmetic of the forward pass. Both heads count with the loss, which makes logits
//! from them; the student's head takes three products there: the logits, the gradient in the hidden
//! states, the gradient in the head. What a kernel computes twice to save memory counts once, and
//! everything element by element (norms, softmax, the optimizer) counts nothing.

use super::clock::Part;
use crate::model::ModelConfig;

/// Tokens of a batch and what is done with them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens {
    pub(super) batch: usize,
    pub(super) sequence: usize,
    /// Tokens whose hidden state enters the loss.
    pub(super) rows: usize,
}

/// GFLOP of a part of one step; none where nothing is counted. `teacher` is none where there is no
/// soft loss; it `runs` where its hidden states are not there before.
pub(super) fn gflop(
    part: Part,
    student: &ModelConfig,
    teacher: Option<&ModelConfig>,
    runs: bool,
    tokens: Tokens,
) -> Option<f64> {
    let flop = match part {
        Part::Teacher => body(teacher.filter(|_| runs)?, tokens),
        Part::StudentForward => body(student, tokens),
        Part::Loss => 3.0 * head(student, tokens) + teacher.map_or(0.0, |teacher| head(teacher, tokens)),
        Part::Backward => 2.0 * body(student, tokens),
        Part::Optimizer | Part::Rest => return None,
    };
    Some(flop / 1e9)
}

/// The forward pass up to the last hidden states of the rows that count. The last block's feed-forward
/// layer runs on these rows alone.
fn body(model: &ModelConfig, Tokens { batch, sequence, rows }: Tokens) -> f64 {
    let [hidden, intermediate, layers, batch, sequence, rows] =
        [model.hidden_size, model.intermediate_size, model.layers, batch, sequence, rows].map(|n| n as f64);
    let queries = (model.heads * model.head_dim) as f64;
    let keys = (model.kv_heads * model.head_dim) as f64;
    let tokens = batch * sequence;
    let projections = tokens * hidden * (2.0 * queries + 2.0 * keys);
    let pairs = batch * sequence * (sequence + 1.0) / 2.0;
    let attention = 2.0 * pairs * queries;
    let feed_forward = 3.0 * hidden * intermediate;
    2.0 * (layers * (projections + attention) + ((layers - 1.0) * tokens + rows) * feed_forward)
}

/// One product with the head.
fn head(model: &ModelConfig, tokens: Tokens) -> f64 {
    2.0 * tokens.rows as f64 * (model.hidden_size * model.vocab_size) as f64
}

#[cfg(test)]
mod tests {
    use super::super::options::Shape;
    use super::*;

    fn minimind(hidden_size: usize, layers: usize) -> ModelConfig {
        Shape { hidden_size, layers }.model(6400).unwrap()
    }

    /// Two operations a weight and token, on one-token sequences in which every row counts: attention
    /// has one pair a token then.
    #[test]
    fn every_matrix_of_the_model_counts_once() {
        let model = minimind(768, 2);
        let tokens = Tokens { batch: 3, sequence: 1, rows: 3 };
        let norms = (2 * model.layers + 1) * model.hidden_size;
        let weights = model.parameters() as f64 - norms as f64;
        let pairs = (2 * 2 * model.layers * model.heads * model.head_dim) as f64;
        let expected = 3.0 * (2.0 * weights + pairs);
        assert_eq!(body(&model, tokens) + head(&model, tokens), expected);
    }

    #[test]
    fn a_minimind_step_has_about_72_mflop_a_token() {
        let (student, teacher) = (minimind(512, 1), minimind(768, 2));
        let tokens = Tokens { batch: 8, sequence: 512, rows: 8 * 511 };
        let sum = |teacher, runs| {
            Part::ALL.iter().filter_map(|&part| gflop(part, &student, teacher, runs, tokens)).sum::<f64>()
        };
        let per_token = |gflop: f64| gflop * 1e3 / 4096.0;
        // Six operations a weight of the student, two of the teacher, and the attention.
        let attention = 4.0 * 256.5 * (3.0 * 512.0 + 2.0 * 768.0) / 1e6;
        let expected = (6.0 * 6_096_384.0 + 2.0 * 17_305_344.0) / 1e6 + attention;
        let found = per_token(sum(Some(&teacher), true));
        assert!((found - expected).abs() < 0.01 * expected, "{found} for {expected}");
        let cached = per_token(sum(Some(&teacher), false));
        assert!(cached < found - 20.0, "only the head of the teacher is left: {cached}");
        assert!(per_token(sum(None, false)) < cached - 9.0, "nothing of the teacher is left");
    }
}
