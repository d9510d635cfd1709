//! The transformer of the Llama layout, as a Burn module.
//!
//! Field names are those of Hugging Face, so the path to a parameter in the module is its name in a
//! checkpoint. Matrices are `[out, in]`, as on disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::config::{Llama3Scaling, ModelConfig, RopeConfig};
use super::init;
use super::weights::Weights;
use crate::kernels::{
    Heads, Packed, Precision, Products, Projection, RotaryTable, causal_attention, embed, linear, linear_add,
    rms_norm, swiglu,
};

/// Positions of the first table of a rotary embedding; it doubles as longer sequences come.
const FIRST_POSITIONS: usize = 128;

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

#[derive(Module, Debug)]
struct Block {
    input_layernorm: Norm,
    self_attn: Attention,
    post_attention_layernorm: Norm,
    mlp: Mlp,
}

#[derive(Module, Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
}

#[derive(Module, Debug)]
struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

/// A linear map without bias, `[out, in]`.
#[derive(Module, Debug)]
struct Linear {
    weight: Param<Tensor<2>>,
}

#[derive(Module, Debug)]
struct Norm {
    weight: Param<Tensor<1>>,
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

#[derive(Debug, Default)]
struct PackedBlock {
    qkv: Packed,
    output: Packed,
    gate_up: Packed,
    down: Packed,
}

impl Shape {
    fn products(&self, block: usize, of: impl Fn(&PackedBlock) -> &Packed) -> Products {
        let packed = self.packed.as_ref().map(|packed| of(&packed.blocks[block]).clone());
        Products { precision: self.precision, packed }
    }
}

impl Transformer {
    /// A model with random weights; see [`init`](super::init) for how. On an autodiff device the
    /// parameters require gradients.
    pub fn random(config: &ModelConfig, seed: u64, device: &Device) -> Self {
        Self::from_weights(config, init::random(config, seed), device)
    }

    /// A model with these weights, one for each of [`ModelConfig::tensors`].
    ///
    /// # Panics
    /// Where a parameter is missing or has another number of elements; loading checks that first.
    pub(super) fn from_weights(config: &ModelConfig, mut weights: Weights, device: &Device) -> Self {
        let shapes: BTreeMap<String, Vec<usize>> = config.tensors().into_iter().collect();
        let mut data = |name: &str| {
            let values = weights.remove(name).expect("a value for every parameter");
            TensorData::new(values, shapes[name].clone())
        };
        let matrix = |data: TensorData| Param::from_tensor(Tensor::<2>::from_data(data, device));
        let mut layers = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            let mut weight = |name: &str| data(&format!("model.layers.{layer}.{name}.weight"));
            let mut norm =
                |name: &str| Norm { weight: Param::from_tensor(Tensor::from_data(weight(name), device)) };
            let input_layernorm = norm("input_layernorm");
            let post_attention_layernorm = norm("post_attention_layernorm");
            let mut linear = |name: &str| Linear { weight: matrix(weight(name)) };
            layers.push(Block {
                input_layernorm,
                self_attn: Attention {
                    q_proj: linear("self_attn.q_proj"),
                    k_proj: linear("self_attn.k_proj"),
                    v_proj: linear("self_attn.v_proj"),
                    o_proj: linear("self_attn.o_proj"),
                },
                post_attention_layernorm,
                mlp: Mlp {
                    gate_proj: linear("mlp.gate_proj"),
                    up_proj: linear("mlp.up_proj"),
                    down_proj: linear("mlp.down_proj"),
                },
            });
        }
        let norm = Tensor::from_data(data("model.norm.weight"), device);
        Self {
            model: Decoder {
                embed_tokens: Head { weight: matrix(data("model.embed_tokens.weight")) },
                layers,
                norm: Norm { weight: Param::from_tensor(norm) },
            },
            lm_head: (!config.tie_word_embeddings).then(|| Head { weight: matrix(data("lm_head.weight")) }),
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
        self.hidden(ids, None)
    }

    /// The last hidden states of some positions only: `rows [n]` are places in the flattened batch →
    /// `[n, hidden]`. After its attention, the last block computes nothing for the others.
    pub fn forward_rows(&self, ids: Tensor<2, Int>, rows: Tensor<1, Int>) -> Tensor<2> {
        self.hidden(ids, Some(rows))
    }

    fn hidden(&self, ids: Tensor<2, Int>, mut rows: Option<Tensor<1, Int>>) -> Tensor<2> {
        let [batch, sequence] = ids.dims();
        let table = self.shape.rotary.table(sequence);
        let mut x = embed(ids.reshape([batch * sequence]), self.model.embed_tokens.weight.val());
        for (index, block) in self.model.layers.iter().enumerate() {
            let normed = rms_norm(x.clone(), block.input_layernorm.weight.val(), self.shape.epsilon);
            x = self.attention(index, normed, x, [batch, sequence], &table);
            if index + 1 == self.model.layers.len()
                && let Some(rows) = rows.take()
            {
                x = embed(rows, x);
            }
            let normed = rms_norm(x.clone(), block.post_attention_layernorm.weight.val(), self.shape.epsilon);
            x = self.feed_forward(index, normed, x);
        }
        rms_norm(x, self.model.norm.weight.val(), self.shape.epsilon)
    }

    fn attention(
        &self,
        block: usize,
        x: Tensor<2>,
        residual: Tensor<2>,
        [batch, sequence]: [usize; 2],
        table: &RotaryTable,
    ) -> Tensor<2> {
        let weights = &self.model.layers[block].self_attn;
        let Shape { heads, kv_heads, head_dim, precision, .. } = self.shape;
        let inputs = [&weights.q_proj, &weights.k_proj, &weights.v_proj].map(|linear| linear.weight.val());
        let qkv = linear(x, inputs, &self.shape.products(block, |packed| &packed.qkv));
        let sizes = Heads { batch, sequence, heads, kv_heads, head_dim };
        let seen = causal_attention(qkv, table, sizes, precision);
        let products = self.shape.products(block, |packed| &packed.output);
        linear_add(seen, weights.o_proj.weight.val(), residual, &products)
    }

    fn feed_forward(&self, block: usize, x: Tensor<2>, residual: Tensor<2>) -> Tensor<2> {
        let weights = &self.model.layers[block].mlp;
        let inputs = [weights.gate_proj.weight.val(), weights.up_proj.weight.val()];
        let gate_up = linear(x, inputs, &self.shape.products(block, |packed| &packed.gate_up));
        let products = self.shape.products(block, |packed| &packed.down);
        linear_add(swiglu(gate_up), weights.down_proj.weight.val(), residual, &products)
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
        let mut finite = Finite(true);
        self.visit(&mut finite);
        finite.0
    }

    /// Every parameter by name, as numbers.
    pub fn weights(&self) -> Weights {
        let mut collect = Collect { path: NamePath::default(), weights: Weights::new() };
        self.visit(&mut collect);
        collect.weights
    }
}

/// The name of the parameter that a visitor or mapper is at: the fields on the way, with dots.
#[derive(Debug, Default)]
pub struct NamePath(Vec<String>);

impl NamePath {
    /// To be called by `enter_module`.
    pub fn enter(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    /// To be called by `exit_module`.
    pub fn exit(&mut self) {
        self.0.pop();
    }

    /// The name, as Hugging Face writes it.
    pub fn name(&self) -> String {
        self.0.join(".")
    }
}

struct Finite(bool);

impl ModuleVisitor for Finite {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0 = self.0 && param.val().without_autodiff().into_data().iter::<f32>().all(f32::is_finite);
    }
}

struct Collect {
    path: NamePath,
    weights: Weights,
}

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let values = param.val().without_autodiff().into_data().iter::<f32>().collect();
        self.weights.insert(self.path.name(), values);
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}

/// The rotary table of a model, made for the longest sequence so far and shared by its clones.
#[derive(Debug, Clone)]
struct RotaryCache {
    frequencies: Arc<[f64]>,
    device: Device,
    table: Arc<Mutex<RotaryTable>>,
}

impl RotaryCache {
    fn new(rope: &RopeConfig, head_dim: usize, device: &Device) -> Self {
        let frequencies: Arc<[f64]> = frequencies(rope, head_dim).into();
        let table = RotaryTable::new(&frequencies, FIRST_POSITIONS, device);
        Self { frequencies, device: device.clone(), table: Arc::new(Mutex::new(table)) }
    }

    fn table(&self, positions: usize) -> RotaryTable {
        // A table is replaced whole, so one that a panicking thread left behind is still good.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.positions() < positions {
            *table = RotaryTable::new(&self.frequencies, positions.next_power_of_two(), &self.device);
        }
        table.clone()
    }
}

/// Radians a position for each pair of a head, `[head_dim / 2]`.
fn frequencies(rope: &RopeConfig, head_dim: usize) -> Vec<f64> {
    let plain = (0..head_dim / 2).map(|pair| rope.theta.powf(-2.0 * pair as f64 / head_dim as f64));
    match &rope.scaling {
        None => plain.collect(),
        Some(scaling) => plain.map(|frequency| stretched(frequency, scaling)).collect(),
    }
}

/// A frequency of Llama 3.1.
fn stretched(frequency: f64, scaling: &Llama3Scaling) -> f64 {
    let turns = scaling.original_max_position_embeddings * frequency / std::f64::consts::TAU;
    let Llama3Scaling { factor, low_freq_factor, high_freq_factor, .. } = *scaling;
    // The share of the unchanged frequency: 0 for long waves, 1 for short ones.
    let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
    frequency * (kept + (1.0 - kept) / factor)
}
