//! Rotary embedding and causal attention, of queries, keys and values side by side.
//!
//! The products are those of whole matrices, so that they run on a device's matrix units: scores of
//! some sequences and heads at a time, few enough to stay near the cores, are made, turned into weights and
//! used up. Of all that only the logarithms of the rows' sums are kept; the derivative makes the scores
//! again, as in FlashAttention (Dao et al., 2205.14135).

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Cube, tensor::FloatTensor};
use burn_cubecl::tensor::CubeTensor;

use super::chunk::{gcd, pieces};
use super::heads::{merge, merge_turned, split, split_turned};
use super::operand::{Operand, product, product_into, transposed};
use super::softmax::{causal_softmax, causal_softmax_backward};
use super::tensor::{blank_f32, contiguous, part};
use crate::kernels::attention_spec::{AttentionShape, AttentionSpec};

/// All that the derivative needs. Queries are turned and scaled, keys turned; all are operands,
/// `[batch · kv heads, ·, d]`.
#[derive(Debug, Clone)]
struct Saved {
    query: CubeTensor,
    key: CubeTensor,
    value: CubeTensor,
    /// `[batch · kv heads, group · seq]`
    log_sums: CubeTensor,
    cos: CubeTensor,
    sin: CubeTensor,
    shape: AttentionShape,
    operand: Operand,
}

/// Pieces of the `batch · kv heads`, each with its scores.
fn each(like: &CubeTensor, shape: AttentionShape) -> impl Iterator<Item = (usize, usize)> + use<> {
    let AttentionShape { batch, seq, heads, kv_heads, d } = shape;
    let rows = heads / kv_heads * seq;
    // Queries and keys in bfloat16 are cut, and log-sums in single precision.
    let width = gcd(2 * rows, seq * d);
    pieces(like, batch * kv_heads, rows * seq, width, 1)
}

fn forward(qkv: CubeTensor, cos: CubeTensor, sin: CubeTensor, spec: AttentionSpec) -> (CubeTensor, Saved) {
    let (qkv, cos, sin) = (contiguous(qkv), contiguous(cos), contiguous(sin));
    let shape = spec.shape;
    let operand = Operand::new(&qkv.device, spec.precision);
    let [query, key, value] = split_turned(&qkv, &cos, &sin, shape, operand);
    let AttentionShape { batch, seq, heads, kv_heads, d } = shape;
    let (units, rows) = (batch * kv_heads, heads / kv_heads * seq);
    let out = blank_f32(&qkv, [units, rows, d]);
    let log_sums = blank_f32(&qkv, [units, rows]);
    for (first, count) in each(&qkv, shape) {
        let [query, key, value] = [&query, &key, &value].map(|tensor| part(tensor, first, count));
        let scores = product(query, transposed(key));
        let weights = causal_softmax(&scores, &part(&log_sums, first, count), seq, operand);
        product_into(weights, value, part(&out, first, count));
    }
    let merged = merge(&out, shape);
    (merged, Saved { query, key, value, log_sums, cos, sin, shape, operand })
}

/// `qkv [batch · seq, (heads + 2 · kv heads) · d]`, tables of at least `seq` rows → `[batch · seq, heads ·
/// d]`.
pub fn attention(qkv: CubeTensor, cos: CubeTensor, sin: CubeTensor, spec: AttentionSpec) -> CubeTensor {
    forward(qkv, cos, sin, spec).0
}

impl Saved {
    /// The derivative in `qkv`.
    fn backward(self, dout: CubeTensor) -> CubeTensor {
        let Self { query, key, value, log_sums, cos, sin, shape, operand } = self;
        let dout = split(&contiguous(dout), shape, operand);
        let AttentionShape { batch, seq, heads, kv_heads, d } = shape;
        let (units, rows) = (batch * kv_heads, heads / kv_heads * seq);
        let [dq, dk, dv] = [rows, seq, seq].map(|rows| blank_f32(&query, [units, rows, d]));
        for (first, count) in each(&query, shape) {
            let of = |tensor: &CubeTensor| part(tensor, first, count);
            let scores = product(of(&query), transposed(of(&key)));
            let slopes = product(of(&dout), transposed(of(&value)));
            let (weights, slopes) = causal_softmax_backward(&scores, &slopes, &of(&log_sums), seq, operand);
            product_into(transposed(weights), of(&dout), of(&dv));
            product_into(slopes.clone(), of(&key), of(&dq));
            product_into(transposed(slopes), of(&query), of(&dk));
        }
        merge_turned([dq, dk, dv], &cos, &sin, shape)
    }
}

#[derive(Debug)]
struct Attention;

/// [`attention`] in a graph.
pub fn attention_tracked<C: CheckpointStrategy>(
    qkv: FloatTensor<Autodiff<Cube, C>>,
    cos: CubeTensor,
    sin: CubeTensor,
    spec: AttentionSpec,
) -> FloatTensor<Autodiff<Cube, C>> {
    let (qkv, node) = qkv.into_parts();
    let (out, saved) = forward(qkv, cos, sin, spec);
    match Attention.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(step) => step.finish(saved, out),
        OpsKind::UnTracked(step) => step.finish(out),
    }
}

impl Backward<Cube, 1> for Attention {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dout = grads.consume::<Cube>(&ops.node);
        let [Some(parent)] = ops.parents else { return };
        grads.register::<Cube>(parent.id, ops.state.backward(dout));
    }
}
