//! A block of the transformer: attention and feed-forward layer, each with its norm, around the residual
//! stream. Parts that not every model has are there or not ([`BlockParts`](super::config::BlockParts)).

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::kernels::{
    Heads, Packed, Precision, Products, RotaryTable, causal_attention, linear, linear_add, norm_heads,
    rms_norm, swiglu,
};

#[derive(Module, Debug)]
pub(super) struct Block {
    pub(super) input_layernorm: Norm,
    pub(super) self_attn: Attention,
    pub(super) post_attention_layernorm: Norm,
    pub(super) mlp: Mlp,
}

#[derive(Module, Debug)]
pub(super) struct Attention {
    pub(super) q_proj: Linear,
    pub(super) k_proj: Linear,
    pub(super) v_proj: Linear,
    pub(super) o_proj: Linear,
    /// Norms of each head's queries and keys, both or neither.
    pub(super) q_norm: Option<Norm>,
    pub(super) k_norm: Option<Norm>,
}

#[derive(Module, Debug)]
pub(super) struct Mlp {
    pub(super) gate_proj: Linear,
    pub(super) up_proj: Linear,
    pub(super) down_proj: Linear,
}

/// A linear map: `[out, in]`, and a bias `[out]` where it has one.
#[derive(Module, Debug)]
pub(super) struct Linear {
    pub(super) weight: Param<Tensor<2>>,
    pub(super) bias: Option<Param<Tensor<1>>>,
}

#[derive(Module, Debug)]
pub(super) struct Norm {
    pub(super) weight: Param<Tensor<1>>,
}

/// The weights of a block as products read them, where they never change.
#[derive(Debug, Default)]
pub(super) struct PackedBlock {
    qkv: Packed,
    output: Packed,
    gate_up: Packed,
    down: Packed,
}

/// What a block computes with besides its parameters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) heads: Heads,
    pub(super) table: &'a RotaryTable,
    /// Of all norms.
    pub(super) epsilon: f64,
    pub(super) precision: Precision,
    pub(super) packed: Option<&'a PackedBlock>,
}

impl Pass<'_> {
    fn choose_products(&self, of: impl Fn(&PackedBlock) -> &Packed) -> Products {
        let packed = self.packed.map(|packed| of(packed).clone());
        Products { precision: self.precision, packed }
    }
}

impl Block {
    /// Adds what the attention finds to the residual stream: `[batch * sequence, hidden]` → the same shape.
    pub(super) fn attend(&self, residual: Tensor<2>, pass: &Pass<'_>) -> Tensor<2> {
        let Attention { q_proj, k_proj, v_proj, o_proj, q_norm, k_norm } = &self.self_attn;
        let normed = self.input_layernorm.forward(residual.clone(), pass.epsilon);
        let products = pass.choose_products(|packed| &packed.qkv);
        let mut qkv = join([q_proj, k_proj, v_proj], normed, &products);
        if let (Some(query), Some(key)) = (q_norm, k_norm) {
            qkv = norm_heads(qkv, [query, key].map(|norm| norm.weight.val()), pass.heads, pass.epsilon);
        }
        let seen = causal_attention(qkv, pass.table, pass.heads, pass.precision);
        o_proj.add_to(residual, seen, &pass.choose_products(|packed| &packed.output))
    }

    /// Adds what the feed-forward layer makes of it to the residual stream: `[n, hidden]` → the same shape.
    pub(super) fn feed_forward(&self, residual: Tensor<2>, pass: &Pass<'_>) -> Tensor<2> {
        let Mlp { gate_proj, up_proj, down_proj } = &self.mlp;
        let normed = self.post_attention_layernorm.forward(residual.clone(), pass.epsilon);
        let products = pass.choose_products(|packed| &packed.gate_up);
        let gate_up = join([gate_proj, up_proj], normed, &products);
        down_proj.add_to(residual, swiglu(gate_up), &pass.choose_products(|packed| &packed.down))
    }
}

/// Applies several maps to `x [n, in]`, in one product: `[n, Σ out]`, side by side. Either all have a bias or
/// none has.
fn join<const N: usize>(maps: [&Linear; N], x: Tensor<2>, products: &Products) -> Tensor<2> {
    let joined = linear(x, maps.map(|map| map.weight.val()), products);
    let biases: Vec<_> = maps.iter().filter_map(|map| map.bias.as_ref().map(Param::val)).collect();
    if biases.is_empty() { joined } else { joined + Tensor::cat(biases, 0).unsqueeze() }
}

impl Linear {
    /// Adds the map of `x [n, in]` to the residual stream: `[n, out]`.
    fn add_to(&self, residual: Tensor<2>, x: Tensor<2>, products: &Products) -> Tensor<2> {
        let sum = linear_add(x, self.weight.val(), residual, products);
        match &self.bias {
            Some(bias) => sum + bias.val().unsqueeze(),
            None => sum,
        }
    }
}

impl Norm {
    /// `[n, width]` → the same shape.
    pub(super) fn forward(&self, x: Tensor<2>, epsilon: f64) -> Tensor<2> {
        rms_norm(x, self.weight.val(), epsilon)
    }
}
