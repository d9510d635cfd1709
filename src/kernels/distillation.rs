//! The output heads of student and teacher together with the loss between them.
//!
//! Rows go through in chunks: logits, softmaxes, the loss, its gradient in the student's hidden
//! states and head. The full `[tokens, vocab]` matrix never exists, and since the gradients are at
//! hand when the value is, nothing of a chunk outlives it. (The idea: Liger Kernel, 2410.10989.)

use burn::tensor::{IndexingUpdateOp, Int, Tensor};

use super::attach::attach_gradients;
use super::divergence::{Distribution, Divergence, divergence};

/// Logits in a chunk: few enough to stay in a core's cache, enough rows for the matrix products.
const CHUNK_LOGITS: usize = 1 << 20;
/// Rows in a chunk at least, however wide the vocabulary.
const LEAST_ROWS: usize = 32;

/// Hidden states and the output head that makes logits of them.
#[derive(Debug, Clone)]
pub struct Projection {
    /// Last hidden states, after the final norm: `[rows, hidden]`.
    pub hidden: Tensor<2>,
    /// Output head, `[vocab, hidden]`.
    pub head: Tensor<2>,
}

impl Projection {
    /// Cuts the vocabulary to its first `vocab` entries.
    fn narrowed(self, vocab: usize) -> Self {
        if self.head.dims()[0] == vocab {
            return self;
        }
        Self { hidden: self.hidden, head: self.head.narrow(0, 0, vocab) }
    }

    fn logits(&self, first: usize, rows: usize) -> Tensor<2> {
        self.hidden.clone().narrow(0, first, rows).matmul(self.head.clone().transpose())
    }

    fn without_autodiff(&self) -> Self {
        Self { hidden: self.hidden.clone().without_autodiff(), head: self.head.clone().without_autodiff() }
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
    fn soft_scale(&self) -> f64 {
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
/// (hidden `[n, h_t]`, head `[v_t, h_t]` with `v_t ≥ v`, cut to `v` before the softmax; outside any
/// graph), `targets [n]`, each below `v`. All rows count, so those that do not are left out before.
///
/// Differentiable in the student's hidden states and head; the gradients are computed with the value.
///
/// # Panics
/// Where there are no rows, the teacher's vocabulary is narrower, or a divergence has no teacher.
pub fn distillation_loss(
    student: Projection,
    teacher: Option<Projection>,
    targets: Tensor<1, Int>,
    mix: &Distillation,
) -> Losses {
    let inner = student.without_autodiff();
    let [n, _] = inner.hidden.dims();
    let [vocab, _] = inner.head.dims();
    assert!(n > 0, "a loss needs rows");
    let soft = mix.divergence.map(|kind| {
        let teacher = teacher.expect("a divergence needs a teacher");
        (kind, teacher.narrowed(vocab))
    });
    let targets = targets.without_autodiff();

    let mut hard_sum: Option<Tensor<1>> = None;
    let mut soft_sum: Option<Tensor<1>> = None;
    let mut hidden_gradient = Vec::new();
    let mut head_gradient: Option<Tensor<2>> = None;
    for (first, rows) in chunks(n, vocab) {
        let logits = inner.logits(first, rows);
        let targets = targets.clone().narrow(0, first, rows).unsqueeze_dim::<2>(1);

        // Cross-entropy and its gradient in the logits.
        let plain = Distribution::new(logits.clone(), 1.0);
        let hard = plain.log.clone().gather(1, targets.clone()).neg();
        let minus_one = Tensor::ones([rows, 1], &targets.device()).neg();
        let hard_gradient = plain.probability.clone().scatter(1, targets, minus_one, IndexingUpdateOp::Add);
        add(&mut hard_sum, hard.sum());
        let mut gradient = hard_gradient * (mix.hard_weight / n as f64);

        if let Some((kind, teacher)) = &soft {
            let teacher_logits = teacher.logits(first, rows);
            let weight = 1.0 - mix.hard_weight;
            let (value, soft_gradient, slope) = if *kind == Divergence::LogitMse {
                let difference = logits - teacher_logits;
                let value = difference.clone().square().mean_dim(1);
                (value, difference, 2.0 / vocab as f64)
            } else {
                let student =
                    if mix.temperature == 1.0 { plain } else { Distribution::new(logits, mix.temperature) };
                let teacher = Distribution::new(teacher_logits, mix.temperature);
                let (value, gradient) = divergence(*kind, teacher, student);
                // One temperature of the scale goes into the derivative of the scaled logits.
                (value, gradient, mix.temperature)
            };
            add(&mut soft_sum, value.sum());
            gradient = gradient + soft_gradient * (weight * slope / n as f64);
        }
        hidden_gradient.push(gradient.clone().matmul(inner.head.clone()));
        let rows_hidden = inner.hidden.clone().narrow(0, first, rows);
        let of_head = gradient.transpose().matmul(rows_hidden);
        head_gradient = Some(match head_gradient {
            Some(sum) => sum + of_head,
            None => of_head,
        });
    }

    let mean = |sum: Tensor<1>, scale: f64| sum * (scale / n as f64);
    let hard = mean(hard_sum.expect("there are rows"), 1.0);
    let soft = soft_sum.map(|sum| mean(sum, mix.soft_scale()));
    let total = match &soft {
        Some(soft) => hard.clone() * mix.hard_weight + soft.clone() * (1.0 - mix.hard_weight),
        None => hard.clone() * mix.hard_weight,
    };
    let hidden_gradient = Tensor::cat(hidden_gradient, 0);
    let head_gradient = head_gradient.expect("there are rows");
    let total = attach_gradients(total, student, hidden_gradient, head_gradient);
    Losses { total, hard, soft }
}

/// Measures the same rows without a gradient: sums of losses, and the most likely tokens. Shapes as
/// for [`distillation_loss`]; a teacher is measured even where there is no divergence.
pub fn measure(
    student: Projection,
    teacher: Option<Projection>,
    targets: Tensor<1, Int>,
    mix: &Distillation,
) -> Measured {
    let student = student.without_autodiff();
    let [n, _] = student.hidden.dims();
    let [vocab, _] = student.head.dims();
    let teacher = teacher.map(|teacher| teacher.narrowed(vocab));
    let targets = targets.without_autodiff();
    let mut measured = Measured {
        rows: n as u64,
        teacher: teacher.is_some().then(TeacherMeasured::default),
        ..Measured::default()
    };
    for (first, rows) in chunks(n, vocab) {
        let targets = targets.clone().narrow(0, first, rows).unsqueeze_dim::<2>(1);
        let logits = student.logits(first, rows);
        let choice = logits.clone().argmax(1);
        let plain = Distribution::new(logits.clone(), 1.0);
        measured.hard -= total(plain.log.clone().gather(1, targets.clone()));
        measured.correct += same(choice.clone(), targets.clone());

        let (Some(teacher), Some(sums)) = (&teacher, &mut measured.teacher) else { continue };
        let teacher_logits = teacher.logits(first, rows);
        let teacher_choice = teacher_logits.clone().argmax(1);
        sums.agreed += same(choice, teacher_choice.clone());
        sums.correct += same(teacher_choice, targets.clone());
        let teacher_plain = Distribution::new(teacher_logits.clone(), 1.0);
        sums.hard -= total(teacher_plain.log.clone().gather(1, targets));
        let value = match mix.divergence {
            None => continue,
            Some(Divergence::LogitMse) => (logits - teacher_logits).square().mean_dim(1),
            Some(kind) if mix.temperature == 1.0 => divergence(kind, teacher_plain, plain).0,
            Some(kind) => {
                let at_temperature = |logits| Distribution::new(logits, mix.temperature);
                divergence(kind, at_temperature(teacher_logits), at_temperature(logits)).0
            }
        };
        *sums.soft.get_or_insert(0.0) += total(value) * mix.soft_scale();
    }
    measured
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

/// First row and number of rows of each chunk. Depends on the shapes alone, so that sums come out the
/// same whatever the number of threads.
fn chunks(n: usize, vocab: usize) -> impl Iterator<Item = (usize, usize)> {
    let size = (CHUNK_LOGITS / vocab.max(1)).max(LEAST_ROWS);
    (0..n).step_by(size).map(move |first| (first, size.min(n - first)))
}

fn add(sum: &mut Option<Tensor<1>>, value: Tensor<1>) {
    *sum = Some(match sum.take() {
        Some(sum) => sum + value,
        None => value,
    });
}

/// The sum of a column, in double precision.
fn total(column: Tensor<2>) -> f64 {
    column.into_data().iter::<f32>().map(f64::from).sum()
}

/// Rows where two columns are equal.
fn same(a: Tensor<2, Int>, b: Tensor<2, Int>) -> u64 {
    a.equal(b).int().into_data().iter::<i64>().sum::<i64>() as u64
}
