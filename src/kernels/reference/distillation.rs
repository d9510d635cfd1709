//! The loss in plain tensors, in chunks of rows.

use burn::tensor::{IndexingUpdateOp, Int, Tensor};

use super::divergence::{Distribution, compare};
use super::product::product;
use crate::kernels::loss_spec::{Distillation, Divergence, Measured, TeacherMeasured};
use crate::kernels::loss_tensors::{Losses, Projection, Taught, TopK};

/// Logits in a chunk: few enough to stay in a core's cache.
const CHUNK_LOGITS: usize = 1 << 18;
/// Rows in a chunk at least, however wide the vocabulary: fewer would starve the matrix products.
const LEAST_ROWS: usize = 128;

impl Projection {
    fn logits(&self, first: usize, rows: usize) -> Tensor<2> {
        let hidden = self.hidden.clone().narrow(0, first, rows);
        product(hidden, self.head.clone().transpose(), self.how.precision)
    }
}

impl Taught {
    /// The logits of some rows over the first `vocab` tokens.
    fn logits(&self, first: usize, rows: usize, vocab: usize) -> Tensor<2> {
        match self {
            Self::Hidden(projection) => projection.without_autodiff().logits(first, rows).narrow(1, 0, vocab),
            Self::Packed(..) => unimplemented!("a packed head can only be multiplied by the kernels"),
            Self::TopK(TopK { ids, logits, rest }) => {
                let ids = ids.clone().narrow(0, first, rows);
                let rest = rest.clone().narrow(0, first, rows).unsqueeze_dim::<2>(1);
                let above = logits.clone().narrow(0, first, rows) - rest.clone();
                rest.expand([rows, vocab]).scatter(1, ids, above, IndexingUpdateOp::Add)
            }
        }
    }
}

/// As [`distillation_loss`](crate::kernels::distillation_loss).
///
/// # Panics
/// Where there are no rows, the teacher's vocabulary is narrower, or a divergence has no teacher.
pub fn distillation_loss(
    student: Projection,
    teacher: Option<Taught>,
    targets: Tensor<1, Int>,
    mix: &Distillation,
) -> Losses {
    let inner = student.without_autodiff();
    let [n, _] = inner.hidden.dims();
    let [vocab, _] = inner.head.dims();
    let precision = inner.how.precision;
    assert!(n > 0, "a loss needs rows");
    assert!(mix.divergence.is_none() || teacher.is_some(), "a divergence needs a teacher");
    let soft = mix.of_rows().zip(teacher);
    let [hard_slope, soft_slope] = mix.slopes().map(|slope| slope / n as f64);
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
        let mut gradient = hard_gradient * hard_slope;

        if let Some((divergence, teacher)) = &soft {
            let teacher_logits = teacher.logits(first, rows, vocab);
            let (value, soft_gradient) = if *divergence == Divergence::LogitMse {
                let difference = logits - teacher_logits;
                let value = difference.clone().square().mean_dim(1);
                (value, difference * (2.0 / vocab as f64))
            } else {
                let divisor = mix.divisor();
                let student = if divisor == 1.0 { plain } else { Distribution::new(logits, divisor) };
                compare(*divergence, Distribution::new(teacher_logits, divisor), student)
            };
            add(&mut soft_sum, value.sum());
            gradient = gradient + soft_gradient * soft_slope;
        }
        hidden_gradient.push(product(gradient.clone(), inner.head.clone(), precision));
        let rows_hidden = inner.hidden.clone().narrow(0, first, rows);
        let of_head = product(gradient.transpose(), rows_hidden, precision);
        head_gradient = Some(match head_gradient {
            Some(sum) => sum + of_head,
            None => of_head,
        });
    }

    let mean = |sum: Tensor<1>, scale: f64| sum * (scale / n as f64);
    let hard = mean(hard_sum.expect("there are rows"), 1.0);
    let soft = mix.divergence.map(|_| match soft_sum {
        Some(sum) => mean(sum, mix.soft_scale()),
        None => hard.zeros_like(),
    });
    let [hard_weight, soft_weight] = mix.weights();
    let total = match &soft {
        Some(soft) => hard.clone() * hard_weight + soft.clone() * soft_weight,
        None => hard.clone() * hard_weight,
    };
    // A product with the known gradients carries them into the graph, at a value of nothing.
    let hidden_gradient = Tensor::cat(hidden_gradient, 0);
    let head_gradient = head_gradient.expect("there are rows");
    let carrier = (student.hidden * hidden_gradient).sum() + (student.head * head_gradient).sum();
    let total = carrier.clone() - carrier.detach() + total;
    Losses { total, hard, soft }
}

/// As [`measure`](crate::kernels::measure).
pub fn measure(
    student: Projection,
    teacher: Option<Taught>,
    targets: Tensor<1, Int>,
    mix: &Distillation,
) -> Measured {
    let student = student.without_autodiff();
    let [n, _] = student.hidden.dims();
    let [vocab, _] = student.head.dims();
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
        let teacher_logits = teacher.logits(first, rows, vocab);
        let teacher_choice = teacher_logits.clone().argmax(1);
        sums.agreed += same(choice, teacher_choice.clone());
        sums.correct += same(teacher_choice, targets.clone());
        let teacher_plain = Distribution::new(teacher_logits.clone(), 1.0);
        sums.hard -= total(teacher_plain.log.clone().gather(1, targets));
        if mix.divergence.is_some() {
            sums.soft.get_or_insert(0.0);
        }
        let value = match mix.of_rows() {
            None => continue,
            Some(Divergence::LogitMse) => (logits - teacher_logits).square().mean_dim(1),
            Some(divergence) if mix.divisor() == 1.0 => compare(divergence, teacher_plain, plain).0,
            Some(divergence) => {
                let divided = |logits| Distribution::new(logits, mix.divisor());
                compare(divergence, divided(teacher_logits), divided(logits)).0
            }
        };
        *sums.soft.get_or_insert(0.0) += total(value) * mix.soft_scale();
    }
    measured
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
