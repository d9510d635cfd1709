//! Rotary embedding and causal attention, of queries, keys and values side by side.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, tensor::FloatTensor};
use burn_flex::FlexTensor;

use super::tensor::{blank, contiguous, dims, isa, numbers, numbers_mut, owned};
use crate::kernels::attention_spec::{AttentionShape, AttentionSpec};
use crate::kernels::cpu::attention::{self as kernel, AttentionPath};
use crate::kernels::cpu::rotary::{Angles, rotate};

impl AttentionSpec {
    fn path(&self) -> AttentionPath {
        AttentionPath { isa: isa(), precision: self.precision }
    }

    /// Turns queries and keys, forth or back.
    fn turn(&self, rows: &mut [f32], cos: &FlexTensor, sin: &FlexTensor, back: bool) {
        let AttentionShape { seq, heads, kv_heads, .. } = self.shape;
        let angles = Angles { half: dims(cos)[1], cos: numbers(cos), sin: numbers(sin) };
        rotate(isa(), rows, self.shape.row(), angles, seq, heads + kv_heads, back);
    }
}

/// All that the derivative needs.
#[derive(Debug, Clone)]
struct Saved {
    /// With queries and keys turned.
    qkv: FlexTensor,
    out: FlexTensor,
    log_sums: Vec<f32>,
    cos: FlexTensor,
    sin: FlexTensor,
    spec: AttentionSpec,
}

fn forward(qkv: FlexTensor, cos: FlexTensor, sin: FlexTensor, spec: AttentionSpec) -> Saved {
    let (cos, sin, mut qkv) = (contiguous(cos), contiguous(sin), owned(qkv));
    spec.turn(qkv.storage_mut(), &cos, &sin, false);
    let AttentionShape { batch, seq, heads, d, .. } = spec.shape;
    let (mut out, mut log_sums) = (blank::<f32>([batch * seq, heads * d]), vec![0.0; batch * heads * seq]);
    kernel::attention(spec.path(), spec.shape, numbers(&qkv), numbers_mut(&mut out), &mut log_sums);
    Saved { qkv, out, log_sums, cos, sin, spec }
}

/// `qkv [batch · seq, (heads + 2 · kv heads) · d]`, tables of at least `seq` rows → `[batch · seq, heads ·
/// d]`.
pub fn attention(qkv: FlexTensor, cos: FlexTensor, sin: FlexTensor, spec: AttentionSpec) -> FlexTensor {
    forward(qkv, cos, sin, spec).out
}

#[derive(Debug)]
struct Attention;

/// [`attention`] in a graph.
pub fn attention_tracked<C: CheckpointStrategy>(
    qkv: FloatTensor<Autodiff<Flex, C>>,
    cos: FlexTensor,
    sin: FlexTensor,
    spec: AttentionSpec,
) -> FloatTensor<Autodiff<Flex, C>> {
    let (qkv, node) = qkv.into_parts();
    let saved = forward(qkv, cos, sin, spec);
    let out = saved.out.clone();
    match Attention.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish(saved, out),
        OpsKind::UnTracked(step) => step.finish(out),
    }
}

impl Backward<Flex, 1> for Attention {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dout = contiguous(grads.consume::<Flex>(&ops.node));
        let [Some(parent)] = ops.parents else { return };
        let Saved { qkv, out, log_sums, cos, sin, spec } = ops.state;
        let mut gradient = blank::<f32>(dims(&qkv));
        kernel::attention_backward(
            spec.path(),
            spec.shape,
            numbers(&qkv),
            numbers(&out),
            &log_sums,
            numbers(&dout),
            numbers_mut(&mut gradient),
        );
        spec.turn(numbers_mut(&mut gradient), &cos, &sin, true);
        grads.register::<Flex>(parent.id, gradient);
    }
}
