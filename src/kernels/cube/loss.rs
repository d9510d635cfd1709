//! The output heads with the distillation loss between them, in pieces of rows: the full `[rows, vocab]`
//! never exists, and nothing is read back but what is measured.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Cube, tensor::FloatTensor};
use burn_cubecl::cubecl::prelude::{CubeCount, CubeDim};
use burn_cubecl::ops::{into_data_sync, numeric};
use burn_cubecl::tensor::CubeTensor;

use super::chunk::pieces;
use super::operand::{Operand, product, product_into, transposed};
use super::row_loss::{FIGURES, NumbersLaunch, mean_losses, row_figures, row_losses};
use super::tensor::{UNITS, blank, blank_f32, cubes, dims, ids, part, reshape};
use crate::kernels::contract::Teacher;
use crate::kernels::loss_spec::{Distillation, Divergence, Measured, TeacherMeasured};
use crate::kernels::products::Products;

/// Rows of a piece come in multiples of this, the tile of a product.
const TILE: usize = 128;

/// Operands whose product is logits.
struct Side {
    hidden: CubeTensor,
    /// `[vocab, hidden]`
    head: CubeTensor,
}

impl Side {
    fn new(hidden: CubeTensor, head: CubeTensor, how: &Products) -> Self {
        let operand = Operand::new(&hidden.device, how.precision);
        Self { hidden: operand.of(hidden), head: operand.of(head) }
    }

    fn logits(&self, first: usize, rows: usize) -> CubeTensor {
        product(part(&self.hidden, first, rows), transposed(self.head.clone()))
    }

    fn vocabulary(&self) -> usize {
        dims(&self.head)[0]
    }
}

fn taught(teacher: Teacher<Cube>) -> Option<Side> {
    match teacher {
        Teacher::None => None,
        Teacher::Hidden { hidden, head, how } => Some(Side::new(hidden, head, &how)),
        Teacher::Packed { .. } => unreachable!("a head is packed only where kernels read it so"),
        Teacher::TopK { .. } => unreachable!("the largest logits go through plain tensors"),
    }
}

/// What all rows have in common.
struct Loss {
    student: Side,
    teacher: Option<Side>,
    targets: CubeTensor,
    rows: usize,
    /// None where there is no teacher.
    divergence: Option<Divergence>,
    mix: Distillation,
}

impl Loss {
    fn new(
        hidden: CubeTensor,
        head: CubeTensor,
        teacher: Teacher<Cube>,
        targets: CubeTensor,
        how: &Products,
        mix: &Distillation,
    ) -> Self {
        let [rows, _] = dims(&hidden);
        let teacher = taught(teacher);
        let divergence = mix.of_rows().filter(|_| teacher.is_some());
        let student = Side::new(hidden, head, how);
        Self { student, teacher, targets: ids(targets), rows, divergence, mix: *mix }
    }

    fn numbers(&self) -> NumbersLaunch {
        let [hard_slope, soft_slope] = self.mix.slopes().map(|slope| (slope / self.rows as f64) as f32);
        let number = self.divergence.map_or(0.0, |divergence| divergence.split().1 as f32);
        NumbersLaunch::new((1.0 / self.mix.divisor()) as f32, number, hard_slope, soft_slope)
    }

    /// What kernels are compiled for.
    fn kind(&self) -> Option<Divergence<()>> {
        self.divergence.map(|divergence| divergence.split().0)
    }

    fn pieces(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let [_, width] = dims(&self.student.hidden);
        let taught = self.teacher.as_ref().map_or(0, |teacher| dims(&teacher.hidden)[1]);
        let width = super::chunk::gcd(width, taught);
        pieces(&self.student.hidden, self.rows, self.student.vocabulary(), width, TILE)
    }

    /// The student's logits of a piece, and the teacher's with their width; the student's again where
    /// there is none.
    fn logits(&self, first: usize, rows: usize) -> (CubeTensor, CubeTensor, usize) {
        let student = self.student.logits(first, rows);
        match &self.teacher {
            Some(teacher) => (student, teacher.logits(first, rows), teacher.vocabulary()),
            None => (student.clone(), student, self.student.vocabulary()),
        }
    }

    fn is_warm(&self) -> bool {
        self.mix.divisor() != 1.0
    }
}

/// Losses `[3]`, the mixture, hard and soft, and the mixture's gradients in hidden states and head.
pub fn with_gradients(
    hidden: CubeTensor,
    head: CubeTensor,
    teacher: Teacher<Cube>,
    targets: CubeTensor,
    how: &Products,
    mix: &Distillation,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let operand = Operand::new(&hidden.device, how.precision);
    let [n, width] = dims(&hidden);
    let loss = Loss::new(hidden, head, teacher, targets, how, mix);
    let vocab = loss.student.vocabulary();
    let of = &loss.student.hidden;
    let (hard, soft) = (blank_f32(of, [n]), blank_f32(of, [n]));
    let hidden_gradient = blank_f32(of, [n, width]);
    let mut head_gradient: Option<CubeTensor> = None;
    for (first, rows) in loss.pieces() {
        let (student, teacher, taught) = loss.logits(first, rows);
        let gradient = blank(of, [rows, vocab], operand.dtype);
        row_losses::launch(
            &of.client,
            cubes(rows),
            CubeDim::new_1d(UNITS),
            student.into_buffer_arg(),
            teacher.into_buffer_arg(),
            loss.targets.clone().into_buffer_arg(),
            hard.clone().into_buffer_arg(),
            soft.clone().into_buffer_arg(),
            gradient.clone().into_buffer_arg(),
            loss.numbers(),
            first,
            rows,
            vocab,
            taught,
            loss.kind(),
            loss.is_warm(),
            operand.rounds,
            operand.elem(),
        );
        product_into(gradient.clone(), loss.student.head.clone(), part(&hidden_gradient, first, rows));
        let of_head = product(transposed(gradient), part(of, first, rows));
        head_gradient = Some(match head_gradient {
            Some(sum) => numeric::add(sum, of_head),
            None => of_head,
        });
    }
    let losses = blank_f32(of, [3]);
    let [hard_weight, soft_weight] = mix.weights();
    mean_losses::launch(
        &of.client,
        CubeCount::Static(1, 1, 1),
        CubeDim::new_1d(UNITS),
        hard.into_buffer_arg(),
        soft.into_buffer_arg(),
        losses.clone().into_buffer_arg(),
        hard_weight as f32,
        soft_weight as f32,
        mix.soft_scale() as f32,
        n,
    );
    let head_gradient = head_gradient.unwrap_or_else(|| unreachable!("a loss has rows"));
    (losses, hidden_gradient, head_gradient)
}

/// Sums over the rows, without gradients. Waits for the device.
pub fn measure(
    hidden: CubeTensor,
    head: CubeTensor,
    teacher: Teacher<Cube>,
    targets: CubeTensor,
    how: &Products,
    mix: &Distillation,
) -> Measured {
    let loss = Loss::new(hidden, head, teacher, targets, how, mix);
    let of = &loss.student.hidden;
    let figures = blank_f32(of, [loss.rows, FIGURES]);
    for (first, rows) in loss.pieces() {
        let (student, teacher, taught) = loss.logits(first, rows);
        row_figures::launch(
            &of.client,
            cubes(rows),
            CubeDim::new_1d(UNITS),
            student.into_buffer_arg(),
            teacher.into_buffer_arg(),
            loss.targets.clone().into_buffer_arg(),
            figures.clone().into_buffer_arg(),
            loss.numbers(),
            first,
            rows,
            loss.student.vocabulary(),
            taught,
            loss.kind(),
            loss.teacher.is_some(),
            loss.is_warm(),
        );
    }
    let mut sums = [0.0f64; FIGURES];
    for (place, figure) in into_data_sync(figures).iter::<f32>().enumerate() {
        sums[place % FIGURES] += f64::from(figure);
    }
    let [hard, correct, soft, agreed, teacher_hard, teacher_correct] = sums;
    Measured {
        rows: loss.rows as u64,
        hard,
        correct: correct as u64,
        teacher: loss.teacher.is_some().then(|| TeacherMeasured {
            soft: mix.divergence.map(|_| soft * mix.soft_scale()),
            agreed: agreed as u64,
            hard: teacher_hard,
            correct: teacher_correct as u64,
        }),
    }
}

#[derive(Debug)]
struct KnownGradients;

/// `value` in a graph, with gradients that are known already.
pub fn known_gradients<C: CheckpointStrategy>(
    value: CubeTensor,
    [a, b]: [FloatTensor<Autodiff<Cube, C>>; 2],
    gradients: (CubeTensor, CubeTensor),
) -> FloatTensor<Autodiff<Cube, C>> {
    match KnownGradients.prepare::<C>([a.node(), b.node()]).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish(gradients, value),
        OpsKind::UnTracked(step) => step.finish(value),
    }
}

impl Backward<Cube, 2> for KnownGradients {
    type State = (CubeTensor, CubeTensor);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        // What comes from above stays on the device.
        let upstream = reshape(grads.consume::<Cube>(&ops.node), [1, 1]);
        let [a, b] = ops.parents;
        for (node, gradient) in [(a, ops.state.0), (b, ops.state.1)] {
            let Some(node) = node else { continue };
            grads.register::<Cube>(node.id, numeric::mul(gradient, upstream.clone()));
        }
    }
}
