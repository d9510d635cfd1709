//! How much arithmetic each part of a step has.
//!
//! Counted is what the mathematics needs, two operations for a multiply-add: the products with weights
//! and, in attention, the scores and weighted sums of the pairs that the causal mask leaves. A backward
//! pass has twice the arithmetic of the forward pass. Both heads count with the loss, which makes logits
//! from them; the student's head takes three products there: the logits, the gradient in the hidden
//! states, the gradient in the head. What a kernel computes twice to save memory counts once, and
//! everything element by element (norms, softmax, the optimizer) counts nothing.

use crate::distill::Part;
use crate::model::ModelConfig;
use crate::model::cost::{Tokens, count_forward_flop, count_head_flop};

/// Counts the GFLOP of a part of one step; none where nothing is counted. `teacher` is none where there is no
/// soft loss; it `runs` where its hidden states are not there before.
pub(super) fn count_gflop(
    part: Part,
    student: &ModelConfig,
    teacher: Option<&ModelConfig>,
    runs: bool,
    tokens: Tokens,
) -> Option<f64> {
    let head = |model: &ModelConfig| count_head_flop(model, tokens.rows as f64);
    let flop = match part {
        Part::Teacher => count_forward_flop(teacher.filter(|_| runs)?, tokens),
        Part::StudentForward => count_forward_flop(student, tokens),
        Part::Loss => 3.0 * head(student) + teacher.map_or(0.0, head),
        Part::Backward => 2.0 * count_forward_flop(student, tokens),
        Part::Optimizer | Part::Rest => return None,
    };
    Some(flop / 1e9)
}

#[cfg(test)]
mod tests {
    use super::super::options::Shape;
    use super::*;

    fn minimind(hidden_size: usize, layers: usize) -> ModelConfig {
        Shape { hidden_size, layers }.model(6400).unwrap()
    }

    #[test]
    fn a_minimind_step_has_about_72_mflop_a_token() {
        let (student, teacher) = (minimind(512, 1), minimind(768, 2));
        let tokens = Tokens { batch: 8, sequence: 512, rows: 8 * 511 };
        let sum = |teacher, runs| {
            Part::ALL
                .iter()
                .filter_map(|&part| count_gflop(part, &student, teacher, runs, tokens))
                .sum::<f64>()
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
