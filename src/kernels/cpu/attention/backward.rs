//! The backward pass: with P the probabilities and D = Σ dout · out for each query,
//! dV = Pᵀ · dout, dP = dout · Vᵀ, dS = P (dP − D)/√d, dQ = dS · K, dK = dSᵀ · Q.

use super::super::matrix::{MatRef, Shared};
use super::super::micro::Tile;
use super::super::scratch::Scratch;
use super::super::vector::{dot, exp_lanes};
use super::local::{self, Right, multiply, pack_left, pack_right};
use super::path::{AttentionPath, KEYS, QUERY_PANELS};
use crate::kernels::attention_spec::AttentionShape;
use crate::kernels::cpu::simd_fn::simd_fn;
use rayon::prelude::*;

/// What the forward pass had and gave.
struct Saved<'a> {
    qkv: &'a [f32],
    out: &'a [f32],
    lse: &'a [f32],
    dout: &'a [f32],
}

/// From the gradient of `out`, those of queries, keys and values (overwritten). Panics when shapes disagree.
pub fn attention_backward(
    path: AttentionPath,
    shape: AttentionShape,
    qkv: &[f32],
    out: &[f32],
    lse: &[f32],
    dout: &[f32],
    dqkv: &mut [f32],
) {
    shape.check(&[qkv, dqkv], &[out, dout], lse);
    let tile = Tile::new(path.isa, path.precision);
    let saved = Saved { qkv, out, lse, dout };
    let gradients = Shared::new(dqkv);
    (0..shape.batch * shape.kv_heads).into_par_iter().with_max_len(1).for_each(|task| {
        // SAFETY: each key head's task writes the gradients of its own heads.
        unsafe { key_head(&tile, &shape, task / shape.kv_heads, task % shape.kv_heads, &saved, gradients) };
    });
}

/// # Safety
/// The slices must have the shape's sizes; nobody else may access the gradients of these heads meanwhile.
unsafe fn key_head(
    tile: &Tile,
    shape: &AttentionShape,
    batch: usize,
    kv_head: usize,
    saved: &Saved,
    gradients: Shared<f32>,
) {
    let AttentionShape { seq, heads, kv_heads, d, .. } = *shape;
    let row = shape.row();
    let rows = QUERY_PANELS * tile.rows;
    let key_tiles = seq.div_ceil(KEYS);
    let across = local::len(tile, tile.columns, d, KEYS).next_multiple_of(16);
    let along = local::len(tile, tile.columns, KEYS, d).next_multiple_of(16);
    let mut packed = [across, across, along].map(|len| (Scratch::take(key_tiles * len), len));
    for j in 0..key_tiles {
        let count = KEYS.min(seq - j * KEYS);
        let k = MatRef::with_strides(&saved.qkv[shape.key(batch, j * KEYS, kv_head)..], count, d, row, 1);
        let v = MatRef::with_strides(&saved.qkv[shape.value(batch, j * KEYS, kv_head)..], count, d, row, 1);
        // The sums start at zero: keys and values of this head, position by position.
        for position in j * KEYS..j * KEYS + count {
            for at in [shape.key(batch, position, kv_head), shape.value(batch, position, kv_head)] {
                // SAFETY: rows of this task's own head.
                unsafe { gradients.slice(at, d) }.fill(0.0);
            }
        }
        for ((to, len), source) in packed.iter_mut().zip([k.t(), v.t(), k]) {
            pack_right(tile, source, &mut to.f32_mut()[j * *len..][..*len]);
        }
    }
    let part = |which: usize, j: usize, rows: usize| {
        let (words, len): &(Scratch, usize) = &packed[which];
        Right { words: &words.f32()[j * len..][..*len], rows }
    };
    let left = local::len(tile, tile.rows, d, rows);
    let right = local::len(tile, tile.columns, rows, d);
    let [mut q_left, mut dout_left, mut q_right, mut dout_right] =
        [left, left, right, right].map(Scratch::take);
    let (mut p, mut dp) = (Scratch::take(rows * KEYS), Scratch::take(rows * KEYS));
    let operand = local::len(tile, tile.rows, KEYS, rows).max(local::len(tile, tile.rows, rows, KEYS));
    let mut operand = Scratch::take(operand);
    let mut deltas = vec![0.0_f32; rows];
    let group = heads / kv_heads;
    for head in kv_head * group..(kv_head + 1) * group {
        for from in (0..seq).step_by(rows) {
            let count = rows.min(seq - from);
            let (query, at) = (shape.query(batch, from, head), ((batch * seq + from) * heads + head) * d);
            let q = MatRef::with_strides(&saved.qkv[query..], count, d, row, 1);
            let dout = MatRef::with_strides(&saved.dout[at..], count, d, heads * d, 1);
            pack_left(tile, q, q_left.f32_mut());
            pack_left(tile, dout, dout_left.f32_mut());
            pack_right(tile, q, q_right.f32_mut());
            pack_right(tile, dout, dout_right.f32_mut());
            for (i, delta) in deltas[..count].iter_mut().enumerate() {
                let at = at + i * heads * d;
                *delta = dot(tile.isa, &saved.dout[at..][..d], &saved.out[at..][..d]);
            }
            let lse = &saved.lse[(batch * heads + head) * seq + from..][..count];
            for j in 0..(from + count).div_ceil(KEYS) {
                let first = j * KEYS;
                let n = KEYS.min(from + count - first);
                let (p, dp) = (&mut p.f32_mut()[..count * n], &mut dp.f32_mut()[..count * n]);
                // SAFETY: p and dp are this task's.
                unsafe {
                    multiply(
                        tile,
                        [count, d, n],
                        shape.scale(),
                        q_left.f32(),
                        part(0, j, d),
                        0.0,
                        p.as_mut_ptr(),
                        n,
                    );
                    multiply(
                        tile,
                        [count, d, n],
                        1.0,
                        dout_left.f32(),
                        part(1, j, d),
                        0.0,
                        dp.as_mut_ptr(),
                        n,
                    );
                }
                for (i, (p, dp)) in p.chunks_exact_mut(n).zip(dp.chunks_exact_mut(n)).enumerate() {
                    let seen = (from + i + 1).saturating_sub(first).min(n);
                    p[seen..].fill(0.0);
                    dp[seen..].fill(0.0);
                    score_gradients(
                        tile.isa,
                        &mut p[..seen],
                        &mut dp[..seen],
                        lse[i],
                        deltas[i],
                        shape.scale(),
                    );
                }
                let right = |words| Right { words: Scratch::f32(words), rows: count };
                let operand = operand.f32_mut();
                // SAFETY: rows of this task's own heads.
                unsafe {
                    pack_left(tile, MatRef::new(p, count, n).t(), operand);
                    let to = gradients.get().add(shape.value(batch, first, kv_head));
                    multiply(tile, [n, count, d], 1.0, operand, right(&dout_right), 1.0, to, row);
                    pack_left(tile, MatRef::new(dp, count, n).t(), operand);
                    let to = gradients.get().add(shape.key(batch, first, kv_head));
                    multiply(tile, [n, count, d], 1.0, operand, right(&q_right), 1.0, to, row);
                    pack_left(tile, MatRef::new(dp, count, n), operand);
                    let k_along = part(2, j, KEYS.min(seq - first));
                    let beta = if j == 0 { 0.0 } else { 1.0 };
                    let to = gradients.get().add(query);
                    multiply(tile, [count, n, d], 1.0, operand, k_along, beta, to, row);
                }
            }
        }
    }
}

simd_fn! {
    /// p := e^(p − lse), dp := p (dp − delta) · scale.
    fn score_gradients<S>(s, p: &mut [f32], dp: &mut [f32], lse: f32, delta: f32, scale: f32) {
        let (lse, delta, scale) = (s.splat(lse), s.splat(delta), s.splat(scale));
        for (p, dp) in p.chunks_mut(S::LANES).zip(dp.chunks_mut(S::LANES)) {
            if p.len() == S::LANES {
                let e = exp_lanes(s, s.sub(s.load(p), lse));
                s.store(e, p);
                s.store(s.mul(s.mul(e, scale), s.sub(s.load(dp), delta)), dp);
            } else {
                let e = exp_lanes(s, s.sub(s.load_part(p, 0.0), lse));
                s.store_part(e, p);
                s.store_part(s.mul(s.mul(e, scale), s.sub(s.load_part(dp, 0.0), delta)), dp);
            }
        }
    }
}
