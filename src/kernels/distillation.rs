//! The output heads of student and teacher together with the loss between them.
//!
//! Rows go through in chunks: logits, softmaxes, the loss, its gradient in the student's hidden
//! states and head. The full `[tokens, vocab]` matrix never exists, and since the gradients are at
//! hand when the value is, nothing of a chunk outlives it. (The idea: Liger Kernel, 2410.10989.)

use burn::backend::Dispatch;
use burn::tensor::{DType, Int, Tensor};

use super::extension::{Kernels, Teacher};
use super::flex::loss::{HeadProducts, PackedHead};
use super::{Precision, is_processor, reference};

/// A divergence of two distributions over the vocabulary, or of the raw logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Divergence {
    /// KL(p ‖ q), mass-covering.
    ForwardKl,
    /// KL(q ‖ p), mode-seeking (MiniLLM, 2306.08543).
    ReverseKl,
    /// Generalized Jensen–Shannon (GKD, 2306.13649): `beta·KL(p ‖ m) + (1-beta)·KL(q ‖ m)` with
    /// `m = beta·p + (1-beta)·q`.
    JensenShannon {
        /// The teacher's weight, in `[0, 1]`.
        beta: f64,
    },
    /// KL(p ‖ skew·p + (1-skew)·q) (DistiLLM, 2402.03898).
    SkewForwardKl {
        /// The teacher's weight in the mixture, in `[0, 1]`.
        skew: f64,
    },
    /// KL(q ‖ skew·q + (1-skew)·p).
    SkewReverseKl {
        /// The student's weight in the mixture, in `[0, 1]`.
        skew: f64,
    },
    /// `½·Σ|p - q|`.
    TotalVariation,
    /// Mean squared difference of the raw logits over rows and vocabulary; no temperature.
    LogitMse,
}

/// Hidden states and the output head that makes logits of them.
#[derive(Debug, Clone)]
pub struct Projection {
    /// Last hidden states, after the final norm: `[rows, hidden]`.
    pub hidden: Tensor<2>,
    /// Output head, `[vocab, hidden]`.
    pub head: Tensor<2>,
    /// How the products with the head are made.
    pub how: HeadProducts,
}

impl Projection {
    /// In single precision.
    pub fn new(hidden: Tensor<2>, head: Tensor<2>) -> Self {
        Self { hidden, head, how: HeadProducts::default() }
    }

    /// Outside any graph.
    pub fn without_autodiff(&self) -> Self {
        Self {
            hidden: self.hidden.clone().without_autodiff(),
            head: self.head.clone().without_autodiff(),
            how: self.how.clone(),
        }
    }
}

/// The largest logits of each row, and one that stands for all the others.
#[derive(Debug, Clone)]
pub struct TopK {
    /// The tokens, `[rows, k]`, each below the student's vocabulary.
    pub ids: Tensor<2, Int>,
    /// Their logits, `[rows, k]`.
    pub logits: Tensor<2>,
    /// The logit that every other token of a row is taken to have, `[rows]`.
    pub rest: Tensor<1>,
}

/// What the teacher says of a batch's rows. Outside any graph.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "a batch has one")]
pub enum Taught {
    /// Hidden states and the head, cut to the student's vocabulary before the softmax.
    Hidden(Projection),
    /// Hidden states, `[rows, hidden]`, and a head that is nowhere but packed.
    Packed(Tensor<2>, PackedHead),
    /// The largest logits.
    TopK(TopK),
}

/// The output head of a teacher of whom nothing else is in memory.
#[derive(Debug, Clone)]
pub enum KeptHead {
    /// On the processor.
    Packed(PackedHead),
    /// Elsewhere: the rows of the student's vocabulary, in the type that products take them in, if the
    /// device has it.
    Whole(Box<Tensor<2>>, Precision),
}

impl KeptHead {
    /// The first `vocab` rows of a head, `[v_t, h_t]`, `v_t ≥ vocab`.
    ///
    /// # Panics
    /// Where the head has fewer rows.
    pub fn new(weight: Tensor<2>, vocab: usize, precision: Precision) -> Self {
        if is_processor(&weight.device()) {
            return Self::Packed(PackedHead::new(weight, vocab, precision));
        }
        let rounds = precision == Precision::Bf16 && weight.device().supports_dtype(DType::BF16);
        let rows = weight.narrow(0, 0, vocab);
        Self::Whole(Box::new(if rounds { rows.cast(DType::BF16) } else { rows }), precision)
    }

    /// What the teacher says where it has these hidden states, `[n, h_t]`.
    pub fn teach(&self, hidden: Tensor<2>) -> Taught {
        match self {
            Self::Packed(head) => Taught::Packed(hidden, head.clone()),
            Self::Whole(head, precision) => {
                let how = HeadProducts { precision: *precision, packed: None };
                Taught::Hidden(Projection { hidden, head: (**head).clone(), how })
            }
        }
    }
}

impl From<Projection> for Taught {
    fn from(projection: Projection) -> Self {
        Self::Hidden(projection)
    }
}

impl From<TopK> for Taught {
    fn from(top: TopK) -> Self {
        Self::TopK(top)
    }
}

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

/// How hard and soft loss are made and mixed: `hard_weight·hard + (1-hard_weight)·soft`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distillation {
    /// The soft loss; none learns from labels alone.
    pub divergence: Option<Divergence>,
    /// Divides both models' logits; the divergence is multiplied by its square (Hinton et al.,
    /// 1503.02531). Not for [`Divergence::LogitMse`].
    pub temperature: f64,
    /// Weight of the cross-entropy.
    pub hard_weight: f64,
}

impl Distillation {
    /// What the mean divergence over rows is multiplied by.
    pub(super) fn soft_scale(&self) -> f64 {
        match self.divergence {
            Some(Divergence::LogitMse) | None => 1.0,
            Some(_) => self.temperature * self.temperature,
        }
    }
}

/// Losses of a batch, means over its rows, each `[1]`.
#[derive(Debug, Clone)]
pub struct Losses {
    /// The mixture; carries the gradient.
    pub total: Tensor<1>,
    /// Cross-entropy on the targets, nats a row.
    pub hard: Tensor<1>,
    /// The divergence with its scale; none without a teacher.
    pub soft: Option<Tensor<1>>,
}

/// Sums over the rows of a batch: what an evaluation adds up.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Measured {
    /// Rows.
    pub rows: u64,
    /// Sum of the cross-entropies, nats.
    pub hard: f64,
    /// Rows whose most likely token is the target.
    pub correct: u64,
    /// What a teacher adds.
    pub teacher: Option<TeacherMeasured>,
}

/// The part of [`Measured`] that needs a teacher.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TeacherMeasured {
    /// Sum over rows of the soft loss, its scale included; none where there is no divergence.
    pub soft: Option<f64>,
    /// Rows where student and teacher have the same most likely token.
    pub agreed: u64,
    /// Sum of the teacher's cross-entropies, over the student's vocabulary.
    pub hard: f64,
    /// Rows whose most likely token, to the teacher, is the target.
    pub correct: u64,
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

impl std::ops::AddAssign for Measured {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.hard += other.hard;
        self.correct += other.correct;
        if let Some(other) = other.teacher {
            let teacher = self.teacher.get_or_insert_default();
            teacher.agreed += other.agreed;
            teacher.hard += other.hard;
            teacher.correct += other.correct;
            if let Some(soft) = other.soft {
                *teacher.soft.get_or_insert(0.0) += soft;
            }
        }
    }
}
