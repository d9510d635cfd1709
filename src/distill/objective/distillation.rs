//! `hard_weight·hard + (1 - hard_weight)·soft`, above the fused loss.
//!
//! The fused loss knows one teacher. With several it runs once for each, and the soft losses are summed by
//! the teachers' weights: the first run carries the hard loss, the others none.

use burn::tensor::{Int, Tensor};

use super::measures::Measures;
use super::{Objective, Weighted};
use crate::kernels::{Distillation, Losses, Projection, distillation_loss, measure};

impl Objective for Distillation {
    fn loss(&self, student: Projection, taught: Vec<Weighted>, targets: Tensor<1, Int>) -> Losses {
        let taught = if self.divergence.is_some() { taught } else { Vec::new() };
        let mut sum: Option<Losses> = None;
        for Weighted { taught, weight } in taught {
            let (mix, factor) = split(self, weight, sum.is_none());
            let losses = distillation_loss(student.clone(), Some(taught), targets.clone(), &mix);
            let losses = Losses {
                total: scale(losses.total, factor),
                hard: losses.hard,
                soft: losses.soft.map(|soft| scale(soft, weight)),
            };
            sum = Some(match sum {
                None => losses,
                Some(sum) => Losses {
                    total: sum.total + losses.total,
                    hard: sum.hard,
                    soft: sum.soft.zip(losses.soft).map(|(a, b)| a + b),
                },
            });
        }
        sum.unwrap_or_else(|| distillation_loss(student, None, targets, self))
    }

    fn measure(&self, student: Projection, taught: Vec<Weighted>, targets: Tensor<1, Int>) -> Measures {
        let weights: f64 = taught.iter().map(|teacher| teacher.weight).sum();
        let mut sum: Option<Measures> = None;
        for Weighted { taught, weight } in taught {
            let measured = measure(student.clone(), Some(taught), targets.clone(), self);
            let measures = Measures::new(&measured, weight, weight / weights);
            match &mut sum {
                None => sum = Some(measures),
                Some(sum) => sum.add_teacher(measures.teachers),
            }
        }
        sum.unwrap_or_else(|| Measures::new(&measure(student, None, targets, self), 1.0, 1.0))
    }

    fn mix(&self, hard: f64, soft: Option<f64>) -> f64 {
        match soft {
            Some(soft) => self.hard_weight * hard + (1.0 - self.hard_weight) * soft,
            None => hard,
        }
    }
}

/// What the fused loss computes for one teacher, and what that is multiplied by, so that the sum over all
/// teachers is `hard_weight·hard + (1 - hard_weight)·Σ weight·soft`.
fn split(mix: &Distillation, weight: f64, is_first: bool) -> (Distillation, f64) {
    let soft = (1.0 - mix.hard_weight) * weight;
    if !is_first {
        return (Distillation { hard_weight: 0.0, ..*mix }, soft);
    }
    // Exactly the mixture itself, not only up to rounding.
    if weight == 1.0 {
        return (*mix, 1.0);
    }
    let scale = mix.hard_weight + soft;
    (Distillation { hard_weight: mix.hard_weight / scale, ..*mix }, scale)
}

/// Multiplies, where that changes anything.
fn scale(tensor: Tensor<1>, by: f64) -> Tensor<1> {
    if by == 1.0 { tensor } else { tensor * by }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, TensorData};

    use super::*;
    use crate::kernels::{Divergence, Taught};

    const ROWS: usize = 6;
    const VOCAB: usize = 11;

    fn random(shape: [usize; 2], device: &Device) -> Tensor<2> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
    }

    fn teacher(width: usize) -> Taught {
        let device = Device::flex();
        Projection::new(random([ROWS, width], &device), random([VOCAB, width], &device)).into()
    }

    fn targets() -> Tensor<1, Int> {
        Tensor::from_data(TensorData::new(vec![1_i32, 0, 10, 4, 4, 7], [ROWS]), &Device::flex())
    }

    fn number(tensor: &Tensor<1>) -> f64 {
        f64::from(tensor.clone().into_scalar::<f32>())
    }

    #[test]
    fn soft_losses_of_two_teachers_are_summed_by_their_weights() {
        let device = Device::flex().autodiff();
        let hidden = random([ROWS, 5], &device).require_grad();
        let head = random([VOCAB, 5], &device).require_grad();
        let student = Projection::new(hidden.clone(), head.clone());
        let (first, second) = (teacher(3), teacher(8));
        let gradient = |loss: &Tensor<1>| -> Vec<f64> {
            let gradients = loss.backward();
            let of =
                |tensor: &Tensor<2>| tensor.grad(&gradients).unwrap().into_data().iter::<f64>().collect();
            let [hidden, head]: [Vec<f64>; 2] = [of(&hidden), of(&head)];
            [hidden, head].concat()
        };
        for (hard_weight, weights) in [(0.3, [0.25, 0.75]), (0.0, [2.0, 0.5]), (0.6, [1.0, 1.0])] {
            let mix = |hard_weight| Distillation {
                divergence: Some(Divergence::ForwardKl),
                temperature: 1.5,
                hard_weight,
            };
            let alone = |hard_weight, teacher: &Taught| {
                distillation_loss(student.clone(), Some(teacher.clone()), targets(), &mix(hard_weight))
            };
            let (hard, soft) = (alone(1.0, &first), [alone(0.0, &first), alone(0.0, &second)]);
            let taught = || {
                let teachers = [first.clone(), second.clone()].into_iter().zip(weights);
                teachers.map(|(taught, weight)| Weighted { taught, weight }).collect::<Vec<_>>()
            };
            let found = mix(hard_weight).loss(student.clone(), taught(), targets());
            let sum = weights[0] * number(&soft[0].total) + weights[1] * number(&soft[1].total);
            let total = hard_weight * number(&hard.total) + (1.0 - hard_weight) * sum;
            assert!((number(&found.hard) - number(&hard.hard)).abs() < 1e-6);
            assert!((number(found.soft.as_ref().unwrap()) - sum).abs() < 1e-5);
            assert!((number(&found.total) - total).abs() < 1e-5, "{} for {total}", number(&found.total));

            let parts = [&hard.total, &soft[0].total, &soft[1].total].map(gradient);
            for (place, found) in gradient(&found.total).into_iter().enumerate() {
                let [hard, a, b] = [0, 1, 2].map(|part| parts[part][place]);
                let soft = weights[0] * a + weights[1] * b;
                let expected = hard_weight * hard + (1.0 - hard_weight) * soft;
                assert!((found - expected).abs() < 1e-5, "{found} for {expected} at {place}");
            }

            let measures = mix(hard_weight).measure(student.without_autodiff(), taught(), targets());
            let each = [&first, &second].map(|teacher| {
                let mix = mix(hard_weight);
                measure(student.without_autodiff(), Some(teacher.clone()), targets(), &mix).teacher.unwrap()
            });
            let found = measures.teachers.unwrap();
            assert!((found.soft.unwrap() - ROWS as f64 * sum).abs() < 1e-4);
            let share = weights.map(|weight| weight / (weights[0] + weights[1]));
            assert!((found.hard - share[0] * each[0].hard - share[1] * each[1].hard).abs() < 1e-9);
            assert_eq!(measures.rows, ROWS as u64);
        }
    }

    #[test]
    fn a_teacher_of_weight_one_is_the_mixture_itself() {
        let device = Device::flex().autodiff();
        let student = Projection::new(random([ROWS, 5], &device), random([VOCAB, 5], &device));
        let (taught, divergence) = (teacher(3), Some(Divergence::ReverseKl));
        let mix = Distillation { divergence, temperature: 2.0, hard_weight: 0.1 };
        let fused = distillation_loss(student.clone(), Some(taught.clone()), targets(), &mix);
        let found = mix.loss(student, vec![Weighted { taught, weight: 1.0 }], targets());
        let bits = |tensor: &Tensor<1>| tensor.clone().into_scalar::<f32>().to_bits();
        assert_eq!(bits(&found.total), bits(&fused.total));
        assert_eq!(bits(&found.soft.unwrap()), bits(&fused.soft.unwrap()));
    }
}
