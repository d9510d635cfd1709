//! The output heads with the distillation loss between them.

use super::head::ReadyHead;
use super::tensor::{blank, contiguous, dims, ids, numbers, numbers_mut, slice, tensor};
use crate::kernels::contract::Teacher;
use crate::kernels::cpu::loss::{
    self as kernel, Gradients, Head, Loss, LossConfig, Side, Teacher as Taught, TopK,
};
use crate::kernels::cpu::{Element, MatRef};
use crate::kernels::loss_spec::{Distillation, Measured, TeacherMeasured};
use crate::kernels::products::Products;
use burn::backend::Flex;
use burn::tensor::DType;
use burn_flex::FlexTensor;
use half::bf16;

/// Mean losses and their gradients in hidden states and head.
pub struct WithGradients {
    /// `[3]`: the mixture, the hard loss, the soft loss.
    pub losses: FlexTensor,
    /// `[n, hidden]`
    pub hidden: FlexTensor,
    /// `[vocab, hidden]`
    pub head: FlexTensor,
}

/// The losses of all rows, and their gradients.
pub fn with_gradients(
    hidden: FlexTensor,
    head: FlexTensor,
    teacher: Teacher<Flex>,
    targets: FlexTensor,
    how: &Products,
    mix: &Distillation,
) -> WithGradients {
    let [n, width] = dims(&hidden);
    let [vocab, _] = dims(&head);
    let (mut d_hidden, mut d_head) = (blank::<f32>([n, width]), blank::<f32>([vocab, width]));
    let gradients = [numbers_mut(&mut d_hidden), numbers_mut(&mut d_head)];
    let config = in_single_precision(mix, false);
    let loss = run(&config, hidden, head, teacher, targets, how, Some(gradients));
    WithGradients {
        losses: tensor([loss.total, loss.hard, loss.soft].map(|loss| loss as f32).to_vec(), [3]),
        hidden: d_hidden,
        head: d_head,
    }
}

/// Sums over the rows, without gradients.
pub fn measure(
    hidden: FlexTensor,
    head: FlexTensor,
    teacher: Teacher<Flex>,
    targets: FlexTensor,
    how: &Products,
    mix: &Distillation,
) -> Measured {
    let taught = !matches!(teacher, Teacher::None);
    let mut config = in_single_precision(mix, taught);
    if !taught {
        config.mix.divergence = None;
    }
    let loss = run(&config, hidden, head, teacher, targets, how, None);
    let rows = loss.rows as f64;
    Measured {
        rows: loss.rows,
        hard: loss.hard * rows,
        correct: loss.correct,
        teacher: taught.then(|| TeacherMeasured {
            soft: mix.divergence.map(|_| loss.soft * rows),
            agreed: loss.agreement.agreed,
            hard: loss.agreement.hard,
            correct: loss.agreement.correct,
        }),
    }
}

/// With the numbers that all rows share in single precision, as the kernels compute with them.
fn in_single_precision(mix: &Distillation, agreement: bool) -> LossConfig {
    let [temperature, hard_weight] = [mix.temperature, mix.hard_weight].map(|x| f64::from(x as f32));
    LossConfig { mix: Distillation { temperature, hard_weight, ..*mix }, agreement }
}

fn run(
    config: &LossConfig,
    hidden: FlexTensor,
    head: FlexTensor,
    teacher: Teacher<Flex>,
    targets: FlexTensor,
    how: &Products,
    gradients: Option<[&mut [f32]; 2]>,
) -> Loss {
    let (hidden, head, targets) = (contiguous(hidden), contiguous(head), ids(targets));
    let [n, width] = dims(&hidden);
    let [vocab, _] = dims(&head);
    let packed = ReadyHead::new(&head, vocab, how);
    let gradients = gradients.map(|[d_hidden, d_head]| Gradients {
        scale: 1.0,
        weight: MatRef::new(numbers(&head), vocab, width),
        hidden: d_hidden,
        head: d_head,
    });
    let student = Side { hidden: MatRef::new(numbers(&hidden), n, width), head: packed.head() };
    match teacher {
        Teacher::None => kernel::distillation_loss::<f32, f32>(config, student, None, &targets, gradients),
        Teacher::Hidden { hidden, head, how } => {
            let packed = ReadyHead::new(&contiguous(head), vocab, &how);
            run_with_hidden_states(config, student, hidden, packed.head(), &targets, gradients)
        }
        Teacher::Packed { hidden, head } => {
            let packed = ReadyHead::kept(&head);
            run_with_hidden_states(config, student, hidden, packed.head(), &targets, gradients)
        }
        Teacher::TopK { ids: places, logits, rest } => {
            let k = dims(&logits)[1];
            let (places, logits, rest) = (ids(places), contiguous(logits), contiguous(rest));
            let top = TopK { k, ids: &places, logits: numbers(&logits), rest: numbers(&rest) };
            let taught = Taught::<f32>::TopK(top);
            kernel::distillation_loss(config, student, Some(taught), &targets, gradients)
        }
    }
}

fn run_with_hidden_states(
    config: &LossConfig,
    student: Side<f32>,
    hidden: FlexTensor,
    head: &Head,
    targets: &[i32],
    gradients: Option<Gradients>,
) -> Loss {
    let hidden = contiguous(hidden);
    if hidden.dtype() == DType::BF16 {
        let taught = side::<bf16>(&hidden, head);
        kernel::distillation_loss(config, student, Some(taught), targets, gradients)
    } else {
        let taught = side::<f32>(&hidden, head);
        kernel::distillation_loss(config, student, Some(taught), targets, gradients)
    }
}

fn side<'a, T: Element + burn::tensor::Element + bytemuck::Pod>(
    hidden: &'a FlexTensor,
    head: &'a Head,
) -> Taught<'a, T> {
    let [n, width] = dims(hidden);
    Taught::Hidden(Side { hidden: MatRef::new(slice::<T>(hidden), n, width), head })
}
