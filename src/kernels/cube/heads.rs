//! Queries, keys and values from rows to heads and back, turned by their position on the way.

use burn_cubecl::cubecl;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::operand::{Operand, operand};
use super::tensor::{blank, blank_f32, units};
use crate::kernels::attention_spec::AttentionShape;

/// `qkv [batch · seq, (heads + 2 · kv heads) · d]` into queries, turned and divided by `√d`, keys, turned,
/// and values, as operands, `[batch · kv heads, ·, d]`. All tensors contiguous.
pub fn split_turned(
    qkv: &CubeTensor,
    cos: &CubeTensor,
    sin: &CubeTensor,
    shape: AttentionShape,
    operand: Operand,
) -> [CubeTensor; 3] {
    let AttentionShape { batch, seq, heads, kv_heads, d } = shape;
    let rows = [heads / kv_heads * seq, seq, seq];
    let parts = rows.map(|rows| blank(qkv, [batch * kv_heads, rows, d], operand.dtype));
    let n = batch * seq * shape.row() / 2;
    let (count, dim) = units(n);
    let [query, key, value] = parts.clone().map(CubeTensor::into_buffer_arg);
    split_and_turn::launch(
        &qkv.client,
        count,
        dim,
        qkv.clone().into_buffer_arg(),
        cos.clone().into_buffer_arg(),
        sin.clone().into_buffer_arg(),
        query,
        key,
        value,
        1.0 / (d as f32).sqrt(),
        seq,
        n,
        heads,
        kv_heads,
        d / 2,
        operand.rounds,
        operand.elem(),
    );
    parts
}

/// The derivative of [`split_turned`]: those in its results, in single precision, back into rows.
pub fn merge_turned(
    parts: [CubeTensor; 3],
    cos: &CubeTensor,
    sin: &CubeTensor,
    shape: AttentionShape,
) -> CubeTensor {
    let AttentionShape { batch, seq, heads, kv_heads, d } = shape;
    let [query, key, value] = parts;
    let qkv = blank_f32(cos, [batch * seq, shape.row()]);
    let n = batch * seq * shape.row() / 2;
    let (count, dim) = units(n);
    turn_back_and_merge::launch(
        &cos.client,
        count,
        dim,
        query.into_buffer_arg(),
        key.into_buffer_arg(),
        value.into_buffer_arg(),
        cos.clone().into_buffer_arg(),
        sin.clone().into_buffer_arg(),
        qkv.clone().into_buffer_arg(),
        1.0 / (d as f32).sqrt(),
        seq,
        n,
        heads,
        kv_heads,
        d / 2,
    );
    qkv
}

/// What attention gives, `[batch · kv heads, group · seq, d]`, as rows, `[batch · seq, heads · d]`.
pub fn merge(out: &CubeTensor, shape: AttentionShape) -> CubeTensor {
    let AttentionShape { batch, seq, heads, d, .. } = shape;
    let rows = blank_f32(out, [batch * seq, heads * d]);
    let n = batch * seq * heads * d;
    let (count, dim) = units(n);
    let (from, to) = (out.clone().into_buffer_arg(), rows.clone().into_buffer_arg());
    to_rows::launch(&out.client, count, dim, from, to, seq, n, heads, d);
    rows
}

/// The derivative of [`merge`], as an operand.
pub fn split(rows: &CubeTensor, shape: AttentionShape, operand: Operand) -> CubeTensor {
    let AttentionShape { batch, seq, heads, kv_heads, d } = shape;
    let out = blank(rows, [batch * kv_heads, heads / kv_heads * seq, d], operand.dtype);
    let n = batch * seq * heads * d;
    let (count, dim) = units(n);
    to_heads::launch(
        &rows.client,
        count,
        dim,
        rows.clone().into_buffer_arg(),
        out.clone().into_buffer_arg(),
        seq,
        n,
        heads,
        d,
        operand.rounds,
        operand.elem(),
    );
    out
}

/// Where the first number of a head's vector is, among heads.
#[cube]
fn place(row: usize, head: usize, seq: usize, #[comptime] heads: usize, #[comptime] d: usize) -> usize {
    ((row / seq * heads + head) * seq + row % seq) * d
}

/// A unit turns one pair.
#[cube(launch)]
fn split_and_turn<G: Float>(
    qkv: &[f32],
    cos: &[f32],
    sin: &[f32],
    query: &mut [G],
    key: &mut [G],
    value: &mut [G],
    scale: f32,
    seq: usize,
    n: usize,
    #[comptime] heads: usize,
    #[comptime] kv_heads: usize,
    #[comptime] half: usize,
    #[comptime] rounds: bool,
    #[define(G)] _dtype: ElemType,
) {
    let i = ABSOLUTE_POS;
    if i < n {
        let all = comptime!(heads + 2 * kv_heads);
        let turned = comptime!(heads + kv_heads);
        let d = comptime!(2 * half);
        let (pair, head, row) = (i % half, i / half % all, i / half / all);
        let from = (row * all + head) * d + pair;
        let a = qkv[from];
        let b = qkv[from + half];
        if head < turned {
            let angle = row % seq * half + pair;
            let (cos, sin) = (cos[angle], sin[angle]);
            let (first, second) = (a * cos - b * sin, b * cos + a * sin);
            if head < heads {
                let to = place(row, head, seq, heads, d) + pair;
                query[to] = operand::<G>(first * scale, rounds);
                query[to + half] = operand::<G>(second * scale, rounds);
            } else {
                let to = place(row, head - heads, seq, kv_heads, d) + pair;
                key[to] = operand::<G>(first, rounds);
                key[to + half] = operand::<G>(second, rounds);
            }
        } else {
            let to = place(row, head - turned, seq, kv_heads, d) + pair;
            value[to] = operand::<G>(a, rounds);
            value[to + half] = operand::<G>(b, rounds);
        }
    }
}

#[cube(launch)]
fn turn_back_and_merge(
    query: &[f32],
    key: &[f32],
    value: &[f32],
    cos: &[f32],
    sin: &[f32],
    qkv: &mut [f32],
    scale: f32,
    seq: usize,
    n: usize,
    #[comptime] heads: usize,
    #[comptime] kv_heads: usize,
    #[comptime] half: usize,
) {
    let i = ABSOLUTE_POS;
    if i < n {
        let all = comptime!(heads + 2 * kv_heads);
        let turned = comptime!(heads + kv_heads);
        let d = comptime!(2 * half);
        let (pair, head, row) = (i % half, i / half % all, i / half / all);
        let to = (row * all + head) * d + pair;
        if head < turned {
            let angle = row % seq * half + pair;
            let (cos, sin) = (cos[angle], sin[angle]);
            if head < heads {
                let from = place(row, head, seq, heads, d) + pair;
                let (a, b) = (query[from] * scale, query[from + half] * scale);
                qkv[to] = a * cos + b * sin;
                qkv[to + half] = b * cos - a * sin;
            } else {
                let from = place(row, head - heads, seq, kv_heads, d) + pair;
                let (a, b) = (key[from], key[from + half]);
                qkv[to] = a * cos + b * sin;
                qkv[to + half] = b * cos - a * sin;
            }
        } else {
            let from = place(row, head - turned, seq, kv_heads, d) + pair;
            qkv[to] = value[from];
            qkv[to + half] = value[from + half];
        }
    }
}

#[cube(launch)]
fn to_rows(
    out: &[f32],
    rows: &mut [f32],
    seq: usize,
    n: usize,
    #[comptime] heads: usize,
    #[comptime] d: usize,
) {
    let i = ABSOLUTE_POS;
    if i < n {
        rows[i] = out[place(i / d / heads, i / d % heads, seq, heads, d) + i % d];
    }
}

#[cube(launch)]
fn to_heads<G: Float>(
    rows: &[f32],
    out: &mut [G],
    seq: usize,
    n: usize,
    #[comptime] heads: usize,
    #[comptime] d: usize,
    #[comptime] rounds: bool,
    #[define(G)] _dtype: ElemType,
) {
    let i = ABSOLUTE_POS;
    if i < n {
        let to = place(i / d / heads, i / d % heads, seq, heads, d) + i % d;
        out[to] = operand::<G>(rows[i], rounds);
    }
}
