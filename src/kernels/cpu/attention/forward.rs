//! The forward pass.

use super::super::matrix::{MatRef, Shared};
use super::super::micro::Tile;
use super::super::scratch::Scratch;
use super::super::vector::{exp_lanes, max_of};
use super::local::{self, Right, multiply, pack_left, pack_right};
use super::path::{AttentionPath, KEYS, QUERY_PANELS};
use crate::kernels::attention_spec::AttentionShape;
use crate::kernels::cpu::simd_fn::simd_fn;
use rayon::prelude::*;

/// `out = softmax(q · kᵀ / √d) · v`, causal, with the queries, keys and values of `qkv`; `lse` gets log Σ
/// e^score. Panics when shapes disagree.
pub fn attention(path: AttentionPath, shape: AttentionShape, qkv: &[f32], out: &mut [f32], lse: &mut [f32]) {
    shape.check(&[qkv], &[out], lse);
    let tile = Tile::new(path.isa, path.precision);
    let (out, lse) = (Shared::new(out), Shared::new(lse));
    (0..shape.batch * shape.kv_heads).into_par_iter().with_max_len(1).for_each(|task| {
        // SAFETY: each key head's task writes the outputs of its own query heads.
        unsafe { key_head(&tile, &shape, task / shape.kv_heads, task % shape.kv_heads, qkv, out, lse) };
    });
}

/// All query heads of a key head.
///
/// # Safety
/// The slices must have the shape's sizes; nobody else may access the outputs of these heads meanwhile.
#[allow(clippy::too_many_arguments)]
unsafe fn key_head(
    tile: &Tile,
    shape: &AttentionShape,
    batch: usize,
    kv_head: usize,
    qkv: &[f32],
    out: Shared<f32>,
    lse: Shared<f32>,
) {
    let AttentionShape { seq, heads, kv_heads, d, .. } = *shape;
    let row = shape.row();
    let rows = QUERY_PANELS * tile.rows;
    let key_tiles = seq.div_ceil(KEYS);
    let key_len = local::len(tile, tile.columns, d, KEYS).next_multiple_of(16);
    let value_len = local::len(tile, tile.columns, KEYS, d).next_multiple_of(16);
    let (mut keys, mut values) = (Scratch::take(key_tiles * key_len), Scratch::take(key_tiles * value_len));
    for (j, keys) in keys.f32_mut().chunks_exact_mut(key_len).enumerate() {
        let count = KEYS.min(seq - j * KEYS);
        let k = MatRef::with_strides(&qkv[shape.key(batch, j * KEYS, kv_head)..], count, d, row, 1);
        pack_right(tile, k.t(), keys);
        let v = MatRef::with_strides(&qkv[shape.value(batch, j * KEYS, kv_head)..], count, d, row, 1);
        let values = &mut values.f32_mut()[j * value_len..][..value_len];
        pack_right(tile, v, values);
    }
    let mut queries = Scratch::take(local::len(tile, tile.rows, d, rows));
    let mut packed = Scratch::take(local::len(tile, tile.rows, KEYS, rows));
    let (mut scores, mut sums) = (Scratch::take(rows * KEYS), Scratch::take(rows * d));
    let group = heads / kv_heads;
    for head in kv_head * group..(kv_head + 1) * group {
        for from in (0..seq).step_by(rows) {
            let count = rows.min(seq - from);
            let q = MatRef::with_strides(&qkv[shape.query(batch, from, head)..], count, d, row, 1);
            pack_left(tile, q, queries.f32_mut());
            let (mut max, mut total) = (vec![f32::NEG_INFINITY; count], vec![0.0_f32; count]);
            let sums = &mut sums.f32_mut()[..count * d];
            for j in 0..(from + count).div_ceil(KEYS) {
                let first = j * KEYS;
                let n = KEYS.min(from + count - first);
                let scores = &mut scores.f32_mut()[..count * n];
                let keys = Right { words: &keys.f32()[j * key_len..][..key_len], rows: d };
                // SAFETY: the scores are this task's.
                unsafe {
                    multiply(
                        tile,
                        [count, d, n],
                        shape.scale(),
                        queries.f32(),
                        keys,
                        0.0,
                        scores.as_mut_ptr(),
                        n,
                    )
                };
                for (i, row) in scores.chunks_exact_mut(n).enumerate() {
                    // Keys up to the query's own position.
                    let seen = (from + i + 1).saturating_sub(first).min(n);
                    row[seen..].fill(0.0);
                    let [new, sum] = weigh(tile.isa, &mut row[..seen], max[i]);
                    let decay = if new == f32::NEG_INFINITY { 1.0 } else { (max[i] - new).exp() };
                    total[i] = total[i] * decay + sum;
                    max[i] = new;
                    if j > 0 && decay != 1.0 {
                        scale(tile.isa, &mut sums[i * d..][..d], decay);
                    }
                }
                pack_left(tile, MatRef::new(scores, count, n), packed.f32_mut());
                let values =
                    Right { words: &values.f32()[j * value_len..][..value_len], rows: KEYS.min(seq - first) };
                let beta = if j == 0 { 0.0 } else { 1.0 };
                // SAFETY: as above.
                unsafe {
                    multiply(tile, [count, n, d], 1.0, packed.f32(), values, beta, sums.as_mut_ptr(), d)
                };
            }
            for (i, sums) in sums.chunks_exact_mut(d).enumerate() {
                scale(tile.isa, sums, 1.0 / total[i]);
                // SAFETY: this head's row of the outputs, which is this task's.
                let (out, lse) = unsafe {
                    let lse = lse.slice((batch * heads + head) * seq + from + i, 1);
                    (out.slice(((batch * seq + from + i) * heads + head) * d, d), lse)
                };
                out.copy_from_slice(sums);
                lse[0] = max[i] + total[i].ln();
            }
        }
    }
}

simd_fn! {
    /// Replaces scores by e^(score − max) and returns the new maximum (not below `max`) and their sum.
    fn weigh<S>(s, row: &mut [f32], max: f32) -> [f32; 2] {
        let max = max_of(s, row).max(max);
        let (shift, mut sum) = (s.splat(max), s.splat(0.0));
        for chunk in row.chunks_mut(S::LANES) {
            if chunk.len() == S::LANES {
                let e = exp_lanes(s, s.sub(s.load(chunk), shift));
                sum = s.add(sum, e);
                s.store(e, chunk);
            } else {
                let e = exp_lanes(s, s.sub(s.load_part(chunk, f32::NEG_INFINITY), shift));
                sum = s.add(sum, e);
                s.store_part(e, chunk);
            }
        }
        [max, s.sum(sum)]
    }
}

simd_fn! {
    fn scale<S>(s, row: &mut [f32], by: f32) {
        let by = s.splat(by);
        super::super::vector::map_in_place(s, row, #[inline(always)] |x| s.mul(x, by));
    }
}
