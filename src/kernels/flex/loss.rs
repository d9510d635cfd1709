//! The output heads with the distillation loss between them.

use std::fmt;
use std::sync::{Arc, OnceLock};

use burn_flex::FlexTensor;
use half::bf16;

use super::tensor::{blank, contiguous, dims, ids, isa, numbers, numbers_mut, slice, tensor};
use crate::kernels::cpu::loss::{
    self as kernel, Gradients, Head, Loss, LossConfig, Side, Soft, Teacher as Taught, TopK,
};
use crate::kernels::cpu::{Element, MatRef, Precision};
use crate::kernels::distillation::{Distillation, Divergence, Measured, TeacherMeasured};
use crate::kernels::extension::Teacher;
use burn::backend::Flex;
use burn::tensor::{DType, Tensor};

/// A head that never changes, packed by the first loss that it is in.
#[derive(Clone, Default)]
pub struct PackedHead(Arc<OnceLock<Head>>);

impl PackedHead {
    /// The first `vocab` rows of a head, `[rows, hidden]`, for products in this precision.
    ///
    /// # Panics
    /// Where the head has fewer rows.
    pub fn new(head: Tensor<2>, vocab: usize, precision: Precision) -> Self {
        let [_, hidden] = head.dims();
        let head = FlexTensor::from_data(head.without_autodiff().into_data());
        let rows = MatRef::new(&numbers(&head)[..vocab * hidden], vocab, hidden);
        Self(Arc::new(OnceLock::from(Head::new(isa(), precision, rows))))
    }
}

impl fmt::Debug for PackedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "PackedHead" } else { "PackedHead (not yet)" })
    }
}

/// How the head's products are made.
#[derive(Debug, Clone, Default)]
pub struct HeadProducts {
    /// What the operands of products are rounded to.
    pub precision: Precision,
    /// Where a head that never changes is kept packed.
    pub packed: Option<PackedHead>,
}

/// A head packed now, or before.
enum Packed {
    Now(Head),
    Before(PackedHead),
}

impl Packed {
    /// The first `vocab` rows of a head.
    fn new(head: &FlexTensor, vocab: usize, how: &HeadProducts) -> Self {
        let [_, width] = dims(head);
        let pack = || {
            let rows = MatRef::new(&numbers(head)[..vocab * width], vocab, width);
            Head::new(isa(), how.precision, rows)
        };
        // A frozen head was perhaps packed for a narrower student.
        match &how.packed {
            Some(packed) if packed.0.get_or_init(pack).vocabulary() == vocab => Self::Before(packed.clone()),
            _ => Self::Now(pack()),
        }
    }

    fn head(&self) -> &Head {
        match self {
            Self::Now(head) => head,
            Self::Before(packed) => packed.0.get().unwrap_or_else(|| panic!("a head that was never packed")),
        }
    }
}

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
    how: &HeadProducts,
    mix: &Distillation,
) -> WithGradients {
    let [n, width] = dims(&hidden);
    let [vocab, _] = dims(&head);
    let (mut d_hidden, mut d_head) = (blank::<f32>([n, width]), blank::<f32>([vocab, width]));
    let gradients = [numbers_mut(&mut d_hidden), numbers_mut(&mut d_head)];
    let config = config(mix, false);
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
    how: &HeadProducts,
    mix: &Distillation,
) -> Measured {
    let taught = !matches!(teacher, Teacher::None);
    let mut config = config(mix, taught);
    if !taught {
        config.soft = Soft::None;
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

fn config(mix: &Distillation, agreement: bool) -> LossConfig {
    let soft = match mix.divergence {
        None => Soft::None,
        Some(Divergence::ForwardKl) => Soft::ForwardKl,
        Some(Divergence::ReverseKl) => Soft::ReverseKl,
        Some(Divergence::JensenShannon { beta }) => Soft::JensenShannon { beta: beta as f32 },
        Some(Divergence::SkewForwardKl { skew }) => Soft::SkewForwardKl { skew: skew as f32 },
        Some(Divergence::SkewReverseKl { skew }) => Soft::SkewReverseKl { skew: skew as f32 },
        Some(Divergence::TotalVariation) => Soft::TotalVariation,
        Some(Divergence::LogitMse) => Soft::LogitMse,
    };
    LossConfig { soft, temperature: mix.temperature as f32, hard_weight: mix.hard_weight as f32, agreement }
}

fn run(
    config: &LossConfig,
    hidden: FlexTensor,
    head: FlexTensor,
    teacher: Teacher<Flex>,
    targets: FlexTensor,
    how: &HeadProducts,
    gradients: Option<[&mut [f32]; 2]>,
) -> Loss {
    let (hidden, head, targets) = (contiguous(hidden), contiguous(head), ids(targets));
    let [n, width] = dims(&hidden);
    let [vocab, _] = dims(&head);
    let packed = Packed::new(&head, vocab, how);
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
            let packed = Packed::new(&contiguous(head), vocab, &how);
            by_hidden_states(config, student, hidden, packed.head(), &targets, gradients)
        }
        Teacher::Packed { hidden, head } => {
            let packed = Packed::Before(head);
            by_hidden_states(config, student, hidden, packed.head(), &targets, gradients)
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

fn by_hidden_states(
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
