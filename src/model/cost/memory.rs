//! How much of the processors' memory training takes, from its shapes.

use crate::model::config::ModelConfig;

/// What a process has besides its tensors.
const PROCESS: u64 = 64 << 20;

/// Rows of the loss whose logits are alive at once.
const LOSS_ROWS: u64 = 2048;

/// Bytes of weights, gradients and both moments of the student, and of the teacher's weights, all in fp32.
/// Saturates.
pub fn count_training_bytes(student: &ModelConfig, teacher: Option<&ModelConfig>) -> u64 {
    let floats = student.parameters().saturating_mul(4);
    let floats = floats.saturating_add(teacher.map_or(0, ModelConfig::parameters));
    floats.saturating_mul(4)
}

/// Bytes at the peak, roughly: what [`count_training_bytes`] counts, the activations that the backward pass
/// needs of `tokens` tokens, those of one block of the teacher, and logits.
pub fn estimate_memory(student: &ModelConfig, teacher: Option<&ModelConfig>, tokens: u64) -> u64 {
    let logits = 8 * student.vocab_size as u64 * tokens.min(LOSS_ROWS);
    let activations = count_activations(student) * student.layers as u64 * tokens;
    let taught = teacher.map_or(0, |teacher| count_activations(teacher) * tokens);
    count_training_bytes(student, teacher) + 4 * (activations + taught + logits) + PROCESS
}

/// Numbers that stay alive for one token in one block: the residual stream and its norms, queries, keys,
/// values and their output (queries and keys once more, where they are normalized), and three feed-forward
/// activations.
fn count_activations(model: &ModelConfig) -> u64 {
    let normalized = if model.parts.qk_norm { model.heads + model.kv_heads } else { 0 };
    let attention = (4 * model.heads + normalized) * model.head_dim;
    (8 * model.hidden_size + attention + 4 * model.intermediate_size) as u64
}
