//! All rows: the walk through chunks and groups, and the products in it.

use super::rows::{Plan, RowLoss};
use super::types::{Agreement, Gradients, IGNORED, Loss, LossConfig, Side, Teacher, TopK};
use crate::kernels::cpu::gemm::product;
use crate::kernels::cpu::isa::Isa;
use crate::kernels::cpu::matrix::{Element, MatMut, MatRef, Shared};
use crate::kernels::cpu::micro::Tile;
use crate::kernels::cpu::pack::{DEPTH, Panels, pack, packed_len};
use crate::kernels::cpu::scratch::Scratch;
use crate::kernels::precision::Precision;
use half::bf16;
use rayon::prelude::*;

/// Bytes of student and teacher logits of a chunk.
pub(super) const CHUNK_BYTES: usize = 30 << 20;
/// Row panels of a chunk.
pub(super) const CHUNK_PANELS: usize = 18;
/// Bytes of the gradients of the logits of a group.
pub(super) const GROUP_BYTES: usize = 32 << 20;
/// Bytes of the weight that are packed at a time for step 3.
const WEIGHT_BYTES: usize = 4 << 20;
/// Rows of the weight that are packed at a time are a multiple of these: a whole number of blocks of k.
const WEIGHT_ROWS: usize = 2 * DEPTH;
/// Rows that a task of step 2 takes.
const TASK_ROWS: usize = 4;

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
    let is_compared = config.mix.divergence.is_some() || config.agreement;
    let teacher = teacher.filter(|_| is_compared);
    assert!(teacher.is_some() || !is_compared, "a teacher is needed");
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

    let plan = Plan::new(config, counted, gradients.as_ref().map(|gradients| gradients.scale));
    let (hard, soft, correct, agreement) = match student.head.logits.precision() {
        Precision::F32 => sum_rows::<S, T, f32>(&plan, student, teacher, targets, gradients),
        Precision::Bf16 => sum_rows::<S, T, bf16>(&plan, student, teacher, targets, gradients),
    };
    let count = counted as f64;
    let (hard, soft) = (hard / count, soft * config.mix.soft_scale() / count);
    Loss { hard, soft, total: config.mix.mix(hard, soft), rows: counted as u64, correct, agreement }
}

/// Hard and soft losses of all rows, the correct ones, and what is counted of the teacher. Gradients of
/// logits are kept as E, which is what their products round them to.
fn sum_rows<S: Element, T: Element, E: Element>(
    plan: &Plan,
    student: Side<S>,
    teacher: Option<Teacher<T>>,
    targets: &[i32],
    mut gradients: Option<Gradients>,
) -> (f64, f64, u64, Agreement) {
    let (n, v) = (student.hidden.rows, student.head.vocabulary());
    let isa = student.head.logits.isa();
    let tile = Tile::new(isa, student.head.logits.precision());
    let chunk = count_chunk_rows(tile.rows, n, v, teacher.is_some());
    let group = count_group_rows(chunk, n, v * size_of::<E>());
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
            fill_rows(isa, plan, v, s, t, d, &targets[start..start + rows], &mut losses[..rows]);
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
            add_gradients(&tile, &d_logits[..rows * v], hidden, group_start, gradients);
        }
    }
    (hard, soft, correct, agreement)
}

/// Steps 3 and 4 for a group of rows from `start` on.
fn add_gradients<S: Element, E: Element>(
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
fn count_chunk_rows(panel: usize, n: usize, v: usize, teacher: bool) -> usize {
    let row_bytes = v * size_of::<f32>() * if teacher { 2 } else { 1 };
    let panels = (CHUNK_BYTES / row_bytes.max(1) / panel).clamp(1, CHUNK_PANELS);
    // Chunks alike: a small last one would read all weights for a few rows.
    let chunks = n.div_ceil(panels * panel).max(1);
    (n.div_ceil(chunks).div_ceil(panel) * panel).min(n)
}

/// Rows of a group: whole chunks, whose gradients have so many bytes a row.
fn count_group_rows(chunk: usize, n: usize, row_bytes: usize) -> usize {
    let chunks = n.div_ceil(chunk.max(1));
    let most = (GROUP_BYTES / (row_bytes * chunk).max(1)).max(1);
    // Groups alike.
    (chunks.div_ceil(chunks.div_ceil(most).max(1)) * chunk).max(1)
}

/// Step 2 for all rows of a chunk; without gradients, `d` is empty.
#[allow(clippy::too_many_arguments)]
fn fill_rows<E: Element>(
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
        let mut scratch = Scratch::take(Plan::SCRATCH_ROWS * v);
        for (i, loss) in losses.iter_mut().enumerate() {
            let row = task * TASK_ROWS + i;
            // SAFETY: each row is handed out once, and each matrix that is not empty has a row for each
            // target.
            let (s, t, d) =
                unsafe { (s.slice(row * v, v), t.slice(row * t_len, t_len), d.slice(row * d_len, d_len)) };
            *loss = match targets[row] {
                IGNORED => {
                    d.fill(E::from_f32(0.0));
                    RowLoss::default()
                }
                label => plan.measure(isa, s, t, label as usize, scratch.f32_mut(), d),
            };
        }
    };
    losses.par_chunks_mut(TASK_ROWS).enumerate().for_each(task);
}
