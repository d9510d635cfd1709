//! A decoder-only transformer, as a Burn module.
//!
//! Field names are those of Hugging Face, so the path to a parameter in the module is its name in most
//! checkpoints. Matrices are `[out, in]`, as on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::block::{Attention, Block, Linear, Mlp, Norm, PackedBlock, Pass};
use super::config::ModelConfig;
use super::init;
use super::rotary::RotaryCache;
use super::visit;
use super::weights::Weights;
use crate::kernels::{Heads, Packed, Precision, Products, Projection, embed, linear};

/// A decoder-only language model.
#[derive(Module, Debug)]
pub struct Transformer {
    model: Decoder,
    /// The output head; the embedding where there is none.
    lm_head: Option<Head>,
    #[module(skip)]
    shape: Shape,
}

/// Everything below the output head.
#[derive(Module, Debug)]
struct Decoder {
    embed_tokens: Head,
    layers: Vec<Block>,
    norm: Norm,
}

/// A matrix `[vocab, hidden]`, as embedding or as output head.
#[derive(Module, Debug)]
struct Head {
    weight: Param<Tensor<2>>,
}

/// What the forward pass needs besides parameters.
#[derive(Debug, Clone)]
struct Shape {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    epsilon: f64,
    rotary: RotaryCache,
    precision: Precision,
    /// Where the weights of a model that never changes are kept as products read them.
    packed: Option<Arc<PackedModel>>,
}

/// The packed weights of a model.
#[derive(Debug)]
struct PackedModel {
    blocks: Vec<PackedBlock>,
    head: Packed,
}

impl Transformer {
    /// A model with random weights; see [`init`](super::init) for how. On an autodiff device the
    /// parameters require gradients.
    pub fn random(config: &ModelConfig, seed: u64, device: &Device) -> Self {
        Self::from_weights(config, init::draw_weights(config, seed), device)
    }

    /// A model with these weights, one for each of [`ModelConfig::tensors`].
    ///
    /// # Panics
    /// Where a parameter is missing or has another number of elements; loading checks that first.
    pub(super) fn from_weights(config: &ModelConfig, weights: Weights, device: &Device) -> Self {
        let mut parts = Parts { weights, shapes: config.tensors().into_iter().collect(), device };
        let layers = (0..config.layers).map(|layer| parts.take_block(&format!("model.layers.{layer}")));
        let layers = layers.collect();
        Self {
            model: Decoder {
                embed_tokens: parts.take_head("model.embed_tokens"),
                layers,
                norm: parts.take_norm("model.norm"),
            },
            lm_head: (!config.tie_word_embeddings).then(|| parts.take_head("lm_head")),
            shape: Shape {
                heads: config.heads,
                kv_heads: config.kv_heads,
                head_dim: config.head_dim,
                epsilon: config.rms_norm_eps,
                rotary: RotaryCache::new(&config.rope, config.head_dim, &device.clone().without_autodiff()),
                precision: Precision::default(),
                packed: None,
            },
        }
    }

    /// The same model with products in this precision.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.shape.precision = precision;
        self.shape.packed = None;
        self
    }

    /// The same model outside any graph, its weights packed for products once and for all: for one that
    /// does not change, as a teacher, or a student while it is measured.
    pub fn frozen(&self) -> Self {
        let mut frozen = self.valid();
        let blocks = self.model.layers.iter().map(|_| PackedBlock::default()).collect();
        frozen.shape.packed = Some(Arc::new(PackedModel { blocks, head: Packed::default() }));
        frozen
    }

    /// The last hidden states, after the final norm: `ids [batch, sequence]` →
    /// `[batch * sequence, hidden]`. Attention is causal, so padding goes to the right.
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        self.compute_hidden(ids, None)
    }

    /// The last hidden states of some positions only: `rows [n]` are places in the flattened batch →
    /// `[n, hidden]`. After its attention, the last block computes nothing for the others.
    pub fn forward_rows(&self, ids: Tensor<2, Int>, rows: Tensor<1, Int>) -> Tensor<2> {
        self.compute_hidden(ids, Some(rows))
    }

    fn compute_hidden(&self, ids: Tensor<2, Int>, mut rows: Option<Tensor<1, Int>>) -> Tensor<2> {
        let [batch, sequence] = ids.dims();
        let Shape { heads, kv_heads, head_dim, epsilon, precision, .. } = self.shape;
        let table = &self.shape.rotary.make_table(sequence);
        let heads = Heads { batch, sequence, heads, kv_heads, head_dim };
        let mut x = embed(ids.reshape([batch * sequence]), self.model.embed_tokens.weight.val());
        for (index, block) in self.model.layers.iter().enumerate() {
            let packed = self.shape.packed.as_ref().map(|packed| &packed.blocks[index]);
            let pass = Pass { heads, table, epsilon, precision, packed };
            x = block.attend(x, &pass);
            if index + 1 == self.model.layers.len()
                && let Some(rows) = rows.take()
            {
                x = embed(rows, x);
            }
            x = block.feed_forward(x, &pass);
        }
        self.model.norm.forward(x, epsilon)
    }

    /// The output head, `[vocab, hidden]`: the embedding where they are tied.
    pub fn head(&self) -> Tensor<2> {
        self.lm_head.as_ref().unwrap_or(&self.model.embed_tokens).weight.val()
    }

    /// Hidden states with the head that makes logits of them.
    pub fn project(&self, hidden: Tensor<2>) -> Projection {
        let packed = self.shape.packed.as_ref().map(|packed| packed.head.clone());
        let how = Products { precision: self.shape.precision, packed };
        Projection { hidden, head: self.head(), how }
    }

    /// Logits of every position: `ids [batch, sequence]` → `[batch, sequence, vocab]`. For looking at
    /// a model; training and evaluation never make this tensor.
    pub fn logits(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [batch, sequence] = ids.dims();
        let products = Products { precision: self.shape.precision, packed: None };
        let logits = linear(self.forward(ids), [self.head()], &products);
        let [_, vocab] = logits.dims();
        logits.reshape([batch, sequence, vocab])
    }

    /// Whether no parameter is infinite or not a number.
    pub fn is_finite(&self) -> bool {
        visit::is_finite(self)
    }

    /// Every parameter by name, as numbers.
    pub fn weights(&self) -> Weights {
        visit::collect_weights(self)
    }
}

/// The parts of a model, taken from named weights. A part that [`ModelConfig::tensors`] does not name is one
/// that the model does not have.
struct Parts<'a> {
    weights: Weights,
    shapes: BTreeMap<String, Vec<usize>>,
    device: &'a Device,
}

impl Parts<'_> {
    fn take_block(&mut self, path: &str) -> Block {
        let mut linear = |name: &str| self.take_linear(&format!("{path}.{name}"));
        let mlp = Mlp {
            gate_proj: linear("mlp.gate_proj"),
            up_proj: linear("mlp.up_proj"),
            down_proj: linear("mlp.down_proj"),
        };
        let [q_proj, k_proj, v_proj, o_proj] =
            ["q_proj", "k_proj", "v_proj", "o_proj"].map(|name| linear(&format!("self_attn.{name}")));
        let [q_norm, k_norm] =
            ["q_norm", "k_norm"].map(|name| self.take_optional_norm(&format!("{path}.self_attn.{name}")));
        Block {
            input_layernorm: self.take_norm(&format!("{path}.input_layernorm")),
            self_attn: Attention { q_proj, k_proj, v_proj, o_proj, q_norm, k_norm },
            post_attention_layernorm: self.take_norm(&format!("{path}.post_attention_layernorm")),
            mlp,
        }
    }

    fn take_linear(&mut self, path: &str) -> Linear {
        let bias = format!("{path}.bias");
        Linear { weight: self.take(&format!("{path}.weight")), bias: self.take_optional(&bias) }
    }

    fn take_head(&mut self, path: &str) -> Head {
        Head { weight: self.take(&format!("{path}.weight")) }
    }

    fn take_norm(&mut self, path: &str) -> Norm {
        Norm { weight: self.take(&format!("{path}.weight")) }
    }

    fn take_optional_norm(&mut self, path: &str) -> Option<Norm> {
        self.take_optional(&format!("{path}.weight")).map(|weight| Norm { weight })
    }

    fn take_optional<const D: usize>(&mut self, name: &str) -> Option<Param<Tensor<D>>> {
        self.shapes.contains_key(name).then(|| self.take(name))
    }

    fn take<const D: usize>(&mut self, name: &str) -> Param<Tensor<D>> {
        let values = self.weights.remove(name).expect("a value for every parameter");
        let data = TensorData::new(values, self.shapes[name].clone());
        Param::from_tensor(Tensor::from_data(data, self.device))
    }
}
