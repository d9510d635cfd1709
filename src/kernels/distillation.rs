//! The output heads of student and teacher together with the loss between them.
//!
//! Rows go through in chunks: logits, softmaxes, the loss, its gradient in the student's hidden
//! states and head. The full `[tokens, vocab]` matrix never exists, and since the gradients are at
//! hand when the value is, nothing of a chunk outlives it. (The idea: Liger Kernel, 2410.10989.)

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

use super::contract::{Kernels, Teacher};
use super::device::is_processor;
use super::loss_spec::{Distillation, Measured};
use super::loss_tensors::{Losses, Projection, Taught, TopK};
use super::reference;

/// Whether a loss goes through plain tensors: off the processor, one that knows only the largest logits.
fn is_plain(student: &Projection, teacher: &Option<Taught>) -> bool {
    matches!(teacher, Some(Taught::TopK(_))) && !is_processor(&student.hidden.device())
}

fn into_extension(teacher: Option<Taught>) -> Teacher<Dispatch> {
    match teacher {
        None => Teacher::None,
        Some(Taught::Hidden(projection)) => {
            let Projection { hidden, head, how } = projection.without_autodiff();
            Teacher::Hidden { hidden: hidden.into_dispatch(), head: head.into_dispatch(), how }
        }
        Some(Taught::Packed(hidden, head)) => {
            Teacher::Packed { hidden: hidden.without_autodiff().into_dispatch(), head }
        }
        Some(Taught::TopK(TopK { ids, logits, rest })) => Teacher::TopK {
            ids: ids.into_dispatch(),
            logits: logits.without_autodiff().into_dispatch(),
            rest: rest.without_autodiff().into_dispatch(),
        },
    }
}

/// The distillation loss of `n` rows: `student` (hidden `[n, h_s]`, head `[v, h_s]`), `teacher`
/// (hidden `[n, h_t]`, head `[v_t, h_t]` with `v_t ≥ v`, cut to `v` before the softmax; or its largest
/// logits), `targets [n]`, each below `v`. All rows count, so those that do not are left out before.
///
/// Differentiable in the student's hidden states and head; the gradients are computed with the value.
///
/// # Panics
/// Where there are no rows, the teacher's vocabulary is narrower, or a divergence has no teacher.
pub fn distillation_loss(
    student: Projection,
    teacher: Option<Taught>,
    targets: Tensor<1, Int>,
    mix: &Distillation,
) -> Losses {
    if is_plain(&student, &teacher) {
        return reference::distillation_loss(student, teacher, targets, mix);
    }
    let Projection { hidden, head, how } = student.without_autodiff();
    assert!(hidden.dims()[0] > 0, "a loss needs rows");
    assert!(mix.divergence.is_none() || teacher.is_some(), "a divergence needs a teacher");
    let teacher = into_extension(teacher.filter(|_| mix.divergence.is_some()));
    let targets = targets.without_autodiff().into_dispatch();
    let (hidden, head) = (hidden.into_dispatch(), head.into_dispatch());
    let (losses, hidden_gradient, head_gradient) =
        Dispatch::loss_with_gradients(hidden, head, teacher, targets, how, *mix);
    let losses: Tensor<1> = Tensor::from_dispatch(losses);
    let [total, hard, soft] = [0, 1, 2].map(|which| losses.clone().narrow(0, which, 1));
    let (hidden, head) = (student.hidden.into_dispatch(), student.head.into_dispatch());
    let total =
        Dispatch::known_gradients(total.into_dispatch(), hidden, head, hidden_gradient, head_gradient);
    Losses { total: Tensor::from_dispatch(total), hard, soft: mix.divergence.map(|_| soft) }
}

/// Measures the same rows without a gradient: sums of losses, and the most likely tokens. Shapes as
/// for [`distillation_loss`]; a teacher is measured even where there is no divergence.
pub fn measure(
    student: Projection,
    teacher: Option<Taught>,
    targets: Tensor<1, Int>,
    mix: &Distillation,
) -> Measured {
    if is_plain(&student, &teacher) {
        return reference::measure(student, teacher, targets, mix);
    }
    let Projection { hidden, head, how } = student.without_autodiff();
    let teacher = into_extension(teacher);
    let targets = targets.without_autodiff().into_dispatch();
    Dispatch::measure(hidden.into_dispatch(), head.into_dispatch(), teacher, targets, how, *mix)
}
