//! How many bytes each part of a step moves through memory at the least.
//!
//! Counted is every tensor that a part is given or leaves behind, once: weights, their gradients and the
//! optimizer's moments with four bytes a number, activations with the bytes that products read them by (four
//! in fp32, two in bf16). What is made and used within a part (scores, logits, copies of weights in another
//! type) counts nothing. So these are bounds: a part moves more, and a device reaches more bandwidth than
//! follows from them; only the optimizer's are exact.

use crate::distill::Part;
use crate::model::ModelConfig;
use crate::model::cost::{Tokens, count_body, count_forward_bytes, count_head, count_kept};
use crate::spec::Precision;

/// Bytes of a weight, of its gradient, and of each of its moments.
const WEIGHT: f64 = 4.0;

/// Counts the gigabytes of a part of one step; none where nothing is counted. `teacher` is none where there
/// is no soft loss; it `runs` where its hidden states are not there before.
pub(super) fn count_gbyte(
    part: Part,
    student: &ModelConfig,
    teacher: Option<&ModelConfig>,
    runs: bool,
    tokens: Tokens,
    precision: Precision,
) -> Option<f64> {
    let activation = match precision {
        Precision::Fp32 => 4.0,
        Precision::Bf16 => 2.0,
    };
    let rows = tokens.rows as f64;
    let width = student.hidden_size as f64;
    let forward = |model: &ModelConfig| count_forward_bytes(model, tokens, WEIGHT, activation);
    let head = |model: &ModelConfig| count_head(model) as f64;
    let kept = count_kept(student, tokens) * activation;
    let bytes = match part {
        Part::Teacher => forward(teacher.filter(|_| runs)?),
        Part::StudentForward => forward(student) + kept,
        Part::Loss => {
            let of_teacher = teacher.map_or(0.0, |teacher| {
                rows * teacher.hidden_size as f64 * activation + head(teacher) * WEIGHT
            });
            // The head and the hidden states, and a gradient of each.
            of_teacher + rows * width * (activation + WEIGHT) + 2.0 * head(student) * WEIGHT
        }
        // Weights and their gradients, what was kept, the hidden states' gradient, the embedding's.
        Part::Backward => {
            2.0 * count_body(student) as f64 * WEIGHT + kept + (rows * width + head(student)) * WEIGHT
        }
        // The gradient is read for the norm, and again with the weight and both moments, which are written.
        Part::Optimizer => 8.0 * student.parameters() as f64 * WEIGHT,
        Part::Rest => return None,
    };
    Some(bytes / 1e9)
}

#[cfg(test)]
mod tests {
    use super::super::options::Shape;
    use super::*;

    const TOKENS: Tokens = Tokens { batch: 2, sequence: 3, rows: 4 };

    fn model(hidden_size: usize, layers: usize) -> ModelConfig {
        Shape { hidden_size, layers }.model(100).unwrap()
    }

    #[test]
    fn the_optimizer_moves_eight_numbers_a_parameter() {
        let student = model(16, 1);
        let found = count_gbyte(Part::Optimizer, &student, None, false, TOKENS, Precision::Bf16).unwrap();
        assert!((found * 1e9 - 32.0 * student.parameters() as f64).abs() < 1e-6);
    }

    #[test]
    fn activations_in_half_the_bytes_halve_what_is_kept() {
        let (student, teacher) = (model(16, 2), model(32, 3));
        let of = |part, teacher: Option<&ModelConfig>, runs, precision| {
            count_gbyte(part, &student, teacher, runs, TOKENS, precision)
        };
        let halved = |part| {
            of(part, None, true, Precision::Fp32).unwrap() - of(part, None, true, Precision::Bf16).unwrap()
        };
        let kept = count_kept(&student, TOKENS) * 2.0 / 1e9;
        assert!((halved(Part::Backward) - kept).abs() < 1e-15);
        assert!((halved(Part::StudentForward) - kept - 4.0 * 16.0 * 2.0 / 1e9).abs() < 1e-15);
        assert_eq!(of(Part::Teacher, Some(&teacher), false, Precision::Fp32), None, "it is there before");
        assert!(of(Part::Teacher, Some(&teacher), true, Precision::Fp32).is_some());
        let loss = |teacher| of(Part::Loss, teacher, true, Precision::Fp32).unwrap() * 1e9;
        let expected = 4.0 * (4.0 * 32.0 + 100.0 * 32.0);
        assert!((loss(Some(&teacher)) - loss(None) - expected).abs() < 1e-3);
        assert_eq!(of(Part::Rest, None, true, Precision::Fp32), None);
    }
}
