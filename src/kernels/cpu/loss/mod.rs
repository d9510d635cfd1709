//! The fused linear distillation loss: output layers, losses and their gradients, without the logits of more
//! than a chunk of tokens ever being there.
//!
//! The idea of working through tokens in chunks and computing the gradient in the forward pass is that of
//! Liger Kernel (arXiv 2410.10989), extended here by the teacher's output layer. For each chunk:
//!
//! 1. the student's and the teacher's logits: two products with packed weights;
//! 2. per row, in the caches: maxima, exponentials and their sums, the losses, and the gradient of the logits
//!    ([`rows`]), rounded to what the products take.
//!
//! And for each group of chunks:
//!
//! 3. its part of `d_hidden`: gradient times weight, which is packed some rows at a time;
//! 4. `d_head += gradientᵀ · hidden`.
//!
//! A chunk is as large as keeps both logits within [`CHUNK_BYTES`] and at most [`CHUNK_PANELS`] panels of rows
//! (252 with 14): large enough that reading the weights (step 1) once per chunk is cheap beside the products,
//! small enough that the logits stay in the last-level cache. A group is as large as keeps the gradients of its
//! logits within [`GROUP_BYTES`]: step 4 reads and writes all of `d_head`, far more than its operands, so the
//! fewer groups there are the better. Both depend on the sizes alone, so the order of every sum does too.
//!
//! Definitions, with q = softmax(s/T) of the student, p of the teacher, means over rows that count:
//! hard = mean cross-entropy at temperature 1; soft = T² · mean divergence ([`Soft`]), or the mean over rows and
//! vocabulary of (s − t)² for [`Soft::LogitMse`]; total = w · hard + (1 − w) · soft.

mod passes;
#[cfg(test)]
mod reference;
mod rows;
#[cfg(test)]
mod tests;

use super::gemm::product;
use super::isa::{Isa, Precision};
use super::matrix::{Element, MatMut, MatRef, Shared};
use super::micro::Tile;
use super::pack::{DEPTH, PackedMatrix, Panels, pack, packed_len};
use super::scratch::Scratch;
use super::{isa, simd};
use half::bf16;
use rayon::prelude::*;
use rows::{Plan, RowLoss};

/// A target that does not count.
pub const IGNORED: i32 = -100;
/// Bytes of student and teacher logits of a chunk.
const CHUNK_BYTES: usize = 30 << 20;
/// Row panels of a chunk.
const CHUNK_PANELS: usize = 18;
/// Bytes of the gradients of the logits of a group.
const GROUP_BYTES: usize = 32 << 20;
/// Bytes of the weight that are packed at a time for step 3.
const WEIGHT_BYTES: usize = 4 << 20;
/// Rows of the weight that are packed at a time are a multiple of these: a whole number of blocks of k.
const WEIGHT_ROWS: usize = 2 * DEPTH;
/// Rows that a task of step 2 takes.
const TASK_ROWS: usize = 4;

/// The soft loss: a divergence of the student's distribution q from the teacher's p.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Soft {
    /// None: the labels alone.
    None,
    /// KL(p ‖ q).
    ForwardKl,
    /// KL(q ‖ p).
    ReverseKl,
    /// `beta` · KL(p ‖ m) + (1 − `beta`) · KL(q ‖ m) with m = `beta` · p + (1 − `beta`) · q.
    JensenShannon {
        /// In [0, 1].
        beta: f32,
    },
    /// KL(p ‖ `skew` · p + (1 − `skew`) · q).
    SkewForwardKl {
        /// In [0, 1].
        skew: f32,
    },
    /// KL(q ‖ `skew` · q + (1 − `skew`) · p).
    SkewReverseKl {
        /// In [0, 1].
        skew: f32,
    },
    /// ½ Σ |p − q|.
    TotalVariation,
    /// (s − t)² of the raw logits, without temperature.
    LogitMse,
}

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossConfig {
    /// The soft loss.
    pub soft: Soft,
    /// T, positive; exact enough from 0.1 to 20.
    pub temperature: f32,
    /// w, in [0, 1]; without a soft loss it counts as 1.
    pub hard_weight: f32,
    /// Whether to count where student and teacher agree (a teacher is needed).
    pub agreement: bool,
}

impl LossConfig {
    /// Cross-entropy with the labels: what a teacher is trained on.
    pub const CROSS_ENTROPY: LossConfig =
        LossConfig { soft: Soft::None, temperature: 1.0, hard_weight: 1.0, agreement: false };

    fn weight(&self) -> f64 {
        if self.soft == Soft::None { 1.0 } else { self.hard_weight.into() }
    }
}

/// An output layer's weight, packed for the logits.
pub struct Head {
    logits: PackedMatrix,
}

impl Head {
    /// Packs `weight`, vocabulary × hidden size (of a teacher with more words, the first that count).
    pub fn new<T: Element>(isa: Isa, precision: Precision, weight: MatRef<T>) -> Self {
        Head { logits: PackedMatrix::new(isa, precision, weight.t()) }
    }

    /// Words of the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.logits.columns()
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.logits.bytes()
    }
}

/// Hidden states, rows × hidden size, and the output layer for them.
#[derive(Clone, Copy)]
pub struct Side<'a, T> {
    /// The last hidden states, after the final norm.
    pub hidden: MatRef<'a, T>,
    /// The packed output layer.
    pub head: &'a Head,
}

/// What the teacher says of the rows.
#[derive(Clone, Copy)]
pub enum Teacher<'a, T> {
    /// Hidden states, and the output layer that makes logits of them.
    Hidden(Side<'a, T>),
    /// The largest logits of each row.
    TopK(TopK<'a>),
}

/// The largest logits of each row, and one that stands for each of the others.
#[derive(Debug, Clone, Copy)]
pub struct TopK<'a> {
    /// Logits kept of a row.
    pub k: usize,
    /// Their places, rows × k, each below the vocabulary.
    pub ids: &'a [i32],
    /// Their values, rows × k.
    pub logits: &'a [f32],
    /// The logit of every other place, one a row.
    pub rest: &'a [f32],
}

impl TopK<'_> {
    /// Writes the logits of the rows from `first` on.
    fn fill(&self, first: usize, v: usize, logits: &mut [f32]) {
        logits.par_chunks_mut(v).enumerate().for_each(|(i, row)| {
            let row_of = first + i;
            row.fill(self.rest[row_of]);
            let kept = row_of * self.k..(row_of + 1) * self.k;
            for (&id, &logit) in self.ids[kept.clone()].iter().zip(&self.logits[kept]) {
                row[id as usize] = logit;
            }
        });
    }
}

/// Where gradients go, and what they take besides.
pub struct Gradients<'a> {
    /// What they are multiplied by: the gradient of the whole with respect to this loss.
    pub scale: f32,
    /// The student's output layer, of which its head was packed: vocabulary × hidden size.
    pub weight: MatRef<'a>,
    /// Rows × hidden size; overwritten.
    pub hidden: &'a mut [f32],
    /// Vocabulary × hidden size; overwritten.
    pub head: &'a mut [f32],
}

/// The losses and what was counted.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Loss {
    /// Mean cross-entropy with the labels. 0 when no row counts, as the others.
    pub hard: f64,
    /// The soft loss, T² included.
    pub soft: f64,
    /// w · hard + (1 − w) · soft.
    pub total: f64,
    /// Rows that count.
    pub rows: u64,
    /// Rows whose label is the student's first choice.
    pub correct: u64,
    /// What is counted of the teacher, if asked for.
    pub agreement: Agreement,
}

/// How student and teacher compare.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Agreement {
    /// Rows where both have the same first choice.
    pub agreed: u64,
    /// Sum of the teacher's cross-entropies with the labels.
    pub hard: f64,
    /// Rows whose label is the teacher's first choice.
    pub correct: u64,
}

/// Computes the loss of all rows and, if wanted, its gradients. `targets` holds a label for each row, or
/// [`IGNORED`]. Precision and path are those of the student's head.
///
/// Panics when shapes disagree, a label is outside the vocabulary, or a soft loss has no teacher.
pub fn distillation_loss<S: Element, T: Element>(
    config: &LossConfig,
    student: Side<S>,
    teacher: Option<Teacher<T>>,
    targets: &[i32],
    mut gradients: Option<Gradients>,
) -> Loss {
    let (n, width) = (student.hidden.rows, student.hidden.columns);
    let v = student.head.vocabulary();
    assert_eq!(targets.len(), n, "one target for each row");
    assert!(
        targets.iter().all(|&y| y == IGNORED || (0..v as i64).contains(&y.into())),
        "a label outside the vocabulary"
    );
    let counted = targets.iter().filter(|&&y| y != IGNORED).count();
    let teacher = teacher.filter(|_| config.soft != Soft::None || config.agreement);
    assert!(teacher.is_some() || (config.soft == Soft::None && !config.agreement), "a teacher is needed");
    match &teacher {
        Some(Teacher::Hidden(side)) => {
            assert!(side.hidden.rows == n && side.head.vocabulary() == v, "a teacher of other shapes");
        }
        Some(Teacher::TopK(TopK { k, ids, logits, rest })) => {
            assert!([ids.len(), logits.len()] == [n * k; 2] && rest.len() == n, "a teacher of other shapes");
            assert!(ids.iter().all(|&id| (0..v as i64).contains(&id.into())), "an id outside the vocabulary");
        }
        None => {}
    }
    if let Some(gradients) = &mut gradients {
        let weight = (gradients.weight.rows, gradients.weight.columns);
        assert!(
            gradients.hidden.len() == n * width && gradients.head.len() == v * width && weight == (v, width),
            "gradients of other shapes"
        );
        if counted == 0 {
            gradients.hidden.fill(0.0);
            gradients.head.fill(0.0);
        }
    }
    if counted == 0 {
        return Loss::default();
    }

    let plan = Plan::new(config, v, counted, gradients.as_ref().map(|gradients| gradients.scale));
    let (hard, soft, correct, agreement) = match student.head.logits.precision() {
        Precision::F32 => sums::<S, T, f32>(&plan, student, teacher, targets, gradients),
        Precision::Bf16 => sums::<S, T, bf16>(&plan, student, teacher, targets, gradients),
    };
    let count = counted as f64;
    let (hard, soft) = (hard / count, soft * plan.soft_factor() / count);
    let weight = config.weight();
    // A part that has no weight must not spoil the total where it is infinite.
    let part = |weight: f64, loss: f64| if weight == 0.0 { 0.0 } else { weight * loss };
    let total = part(weight, hard) + part(1.0 - weight, soft);
    Loss { hard, soft, total, rows: counted as u64, correct, agreement }
}

/// Hard and soft losses of all rows, the correct ones, and what is counted of the teacher. Gradients of logits are
/// kept as E, which is what their products round them to.
fn sums<S: Element, T: Element, E: Element>(
    plan: &Plan,
    student: Side<S>,
    teacher: Option<Teacher<T>>,
    targets: &[i32],
    mut gradients: Option<Gradients>,
) -> (f64, f64, u64, Agreement) {
    let (n, v) = (student.hidden.rows, student.head.vocabulary());
    let isa = student.head.logits.isa();
    let tile = Tile::new(isa, student.head.logits.precision());
    let chunk = chunk_rows(tile.rows, n, v, teacher.is_some());
    let group = group_rows(chunk, n, v * size_of::<E>());
    let mut student_logits = Scratch::take(chunk * v);
    let mut teacher_logits = Scratch::take(if teacher.is_some() { chunk * v } else { 0 });
    let kept = if gradients.is_some() { group * v } else { 0 };
    let mut kept_words = Scratch::take((kept * size_of::<E>()).div_ceil(size_of::<f32>()));
    let d_logits: &mut [E] = &mut bytemuck::cast_slice_mut(kept_words.f32_mut())[..kept];
    let mut losses = vec![RowLoss::default(); chunk];
    let (mut hard, mut soft, mut correct) = (0.0, 0.0, 0);
    let mut agreement = Agreement::default();
    for group_start in (0..n).step_by(group) {
        let group_end = n.min(group_start + group);
        for start in (group_start..group_end).step_by(chunk) {
            let rows = chunk.min(group_end - start);
            let hidden = student.hidden.rows(start, start + rows);
            let s = &mut student_logits.f32_mut()[..rows * v];
            product(&tile, 1.0, hidden, student.head.logits.view(), 0.0, MatMut::new(s, rows, v));
            let mut t: &mut [f32] = &mut [];
            if let Some(teacher) = &teacher {
                t = &mut teacher_logits.f32_mut()[..rows * v];
                match teacher {
                    Teacher::Hidden(Side { hidden, head }) => {
                        let hidden = hidden.rows(start, start + rows);
                        let tile = Tile::new(head.logits.isa(), head.logits.precision());
                        product(&tile, 1.0, hidden, head.logits.view(), 0.0, MatMut::new(t, rows, v));
                    }
                    Teacher::TopK(top) => top.fill(start, v, t),
                }
            }
            let first = if gradients.is_some() { (start - group_start) * v } else { 0 };
            let d = &mut d_logits[first..(first + rows * v).min(kept)];
            all_rows(isa, plan, v, s, t, d, &targets[start..start + rows], &mut losses[..rows]);
            for row in &losses[..rows] {
                hard += row.hard;
                soft += row.soft;
                correct += u64::from(row.correct);
                agreement.agreed += u64::from(row.agrees);
                agreement.hard += row.teacher_hard;
                agreement.correct += u64::from(row.teacher_correct);
            }
        }
        if let Some(gradients) = &mut gradients {
            let rows = group_end - group_start;
            let hidden = student.hidden.rows(group_start, group_end);
            backward(&tile, &d_logits[..rows * v], hidden, group_start, gradients);
        }
    }
    (hard, soft, correct, agreement)
}

/// Steps 3 and 4 for a group of rows from `start` on.
fn backward<S: Element, E: Element>(
    tile: &Tile,
    d_logits: &[E],
    hidden: MatRef<S>,
    start: usize,
    gradients: &mut Gradients,
) {
    let (rows, width) = (hidden.rows, hidden.columns);
    let v = gradients.weight.rows;
    let packed_words = |k| packed_len(tile.format, tile.columns, k, width);

    let d_hidden = &mut gradients.hidden[start * width..][..rows * width];
    let step = (WEIGHT_BYTES / (packed_words(WEIGHT_ROWS) * size_of::<f32>())).max(1) * WEIGHT_ROWS;
    let mut packed = Scratch::take(packed_words(step.min(v)).max(packed_words(rows)));
    for first in (0..v).step_by(step) {
        let words = step.min(v - first);
        let weight = gradients.weight.rows(first, first + words);
        pack(tile.isa, tile.format, tile.columns, weight, packed.f32_mut());
        let panels = Panels { words: packed.f32(), rows: words, columns: width };
        let d = MatRef::with_strides(&d_logits[first..], rows, words, v, 1);
        let beta = if first == 0 { 0.0 } else { 1.0 };
        product(tile, 1.0, d, panels, beta, MatMut::new(d_hidden, rows, width));
    }

    pack(tile.isa, tile.format, tile.columns, hidden, packed.f32_mut());
    let panels = Panels { words: packed.f32(), rows, columns: width };
    let beta = if start == 0 { 0.0 } else { 1.0 };
    let d = MatRef::new(d_logits, rows, v);
    product(tile, 1.0, d.t(), panels, beta, MatMut::new(gradients.head, v, width));
}

/// Rows of a chunk: a matter of sizes only.
fn chunk_rows(panel: usize, n: usize, v: usize, teacher: bool) -> usize {
    let row_bytes = v * size_of::<f32>() * if teacher { 2 } else { 1 };
    let panels = (CHUNK_BYTES / row_bytes.max(1) / panel).clamp(1, CHUNK_PANELS);
    // Chunks alike: a small last one would read all weights for a few rows.
    let chunks = n.div_ceil(panels * panel).max(1);
    (n.div_ceil(chunks).div_ceil(panel) * panel).min(n)
}

/// Rows of a group: whole chunks, whose gradients have so many bytes a row.
fn group_rows(chunk: usize, n: usize, row_bytes: usize) -> usize {
    let chunks = n.div_ceil(chunk.max(1));
    let most = (GROUP_BYTES / (row_bytes * chunk).max(1)).max(1);
    // Groups alike.
    (chunks.div_ceil(chunks.div_ceil(most).max(1)) * chunk).max(1)
}

/// Step 2 for all rows of a chunk; without gradients, `d` is empty.
#[allow(clippy::too_many_arguments)]
fn all_rows<E: Element>(
    isa: Isa,
    plan: &Plan,
    v: usize,
    s: &mut [f32],
    t: &mut [f32],
    d: &mut [E],
    targets: &[i32],
    losses: &mut [RowLoss],
) {
    let (t_len, d_len) = (if t.is_empty() { 0 } else { v }, if d.is_empty() { 0 } else { v });
    let (s, t, d) = (Shared::new(s), Shared::new(t), Shared::new(d));
    let task = |(task, losses): (usize, &mut [RowLoss])| {
        let mut scratch = Scratch::take(plan.scratch_rows() * v);
        for (i, loss) in losses.iter_mut().enumerate() {
            let row = task * TASK_ROWS + i;
            // SAFETY: each row is handed out once, and each matrix that is not empty has a row for each target.
            let (s, t, d) =
                unsafe { (s.slice(row * v, v), t.slice(row * t_len, t_len), d.slice(row * d_len, d_len)) };
            *loss = match targets[row] {
                IGNORED => {
                    d.fill(E::from_f32(0.0));
                    RowLoss::default()
                }
                label => plan.row(isa, s, t, label as usize, scratch.f32_mut(), d),
            };
        }
    };
    losses.par_chunks_mut(TASK_ROWS).enumerate().for_each(task);
}
