//! How much of a GPU's memory a run takes, estimated from its shapes.

use super::parameters::count_head;
use crate::kernels::GPU_PIECE;
use crate::model::config::ModelConfig;
use crate::spec::Precision;

/// What a run trains, and in which shapes.
#[derive(Debug, Clone, Copy)]
pub struct GpuWork<'a> {
    /// The model that is trained.
    pub student: &'a ModelConfig,
    /// The model that teaches it.
    pub teacher: Option<&'a ModelConfig>,
    /// In which it is trained.
    pub precision: Precision,
    /// Sequences of a batch.
    pub batch: u64,
    /// Tokens of the longest sequence.
    pub seq: u64,
}

/// What a driver takes for a process before it has any tensor: CUDA's context, and loaded kernels.
const PROCESS: u64 = 512 << 20;

/// What pools hold beyond the tensors in them, as a share of these: pages that fit no other size.
const POOLS: f64 = 0.25;

/// Rows of a piece of the loss come in multiples of this.
const LOSS_ROWS: u64 = 128;

/// Bytes at the peak, the process's own share included.
pub fn estimate_gpu_memory(work: &GpuWork<'_>) -> u64 {
    let tensors = work.count_weights()
        + work.count_saved()
        + work.count_layer()
        + work.count_attention().max(work.count_loss());
    PROCESS + (tensors as f64 * (1.0 + POOLS)) as u64
}

impl GpuWork<'_> {
    fn count_tokens(&self) -> u64 {
        self.batch * self.seq
    }

    /// Bytes of an operand of a product.
    fn count_operand(&self) -> u64 {
        match self.precision {
            Precision::Fp32 => 4,
            Precision::Bf16 => 2,
        }
    }

    /// The student's weights, gradients and both moments in fp32, and the operands that the backward pass
    /// reads weights as; the teacher's weights, and the operands of a layer of it and of its head.
    fn count_weights(&self) -> u64 {
        let student = (4 * 4 + self.count_operand()) * self.student.parameters();
        let teacher = self.teacher.map_or(0, |teacher| {
            let layer = teacher.parameters() / teacher.layers.max(1) as u64;
            4 * teacher.parameters() + self.count_operand() * (layer + count_head(teacher))
        });
        student + teacher
    }

    /// What a forward pass keeps for the backward one, in every layer: the residual stream before both
    /// norms, the SwiGLU's two inputs, and queries and keys before their norm, with its scales, in fp32; as
    /// operands both norms' outputs, queries, keys, values, the attention's output and the SwiGLU's; and the
    /// attention's sums, a number a head.
    fn count_saved(&self) -> u64 {
        let m = self.student;
        let [hidden, heads, kv_heads, d, wide] =
            [m.hidden_size, m.heads, m.kv_heads, m.head_dim, m.intermediate_size].map(|n| n as u64);
        let normalized = if m.parts.qk_norm { (heads + kv_heads) * (d + 1) } else { 0 };
        let floats = 2 * hidden + 2 * wide + heads + normalized;
        let operands = 2 * hidden + 2 * (heads + kv_heads) * d + wide;
        m.layers as u64 * self.count_tokens() * (4 * floats + self.count_operand() * operands)
    }

    /// What a layer's backward pass has for itself: gradients of the residual stream, of the SwiGLU's inputs
    /// and output, and of queries, keys and values (once more where these are normalized), in fp32 and once
    /// more as operands.
    fn count_layer(&self) -> u64 {
        let widest = |m: &ModelConfig| {
            let copies = if m.parts.qk_norm { 4 } else { 2 };
            let attention = copies * (m.heads + 2 * m.kv_heads) * m.head_dim;
            (2 * m.hidden_size + (3 * m.intermediate_size).max(attention)) as u64
        };
        let widest = widest(self.student).max(self.teacher.map_or(0, widest));
        self.count_tokens() * (4 + self.count_operand()) * widest
    }

    /// Scores, weights and their derivatives of the heads that are computed at once.
    fn count_attention(&self) -> u64 {
        let m = self.student;
        let group = (m.heads / m.kv_heads.max(1)) as u64 * self.seq * self.seq;
        let all = (self.batch * m.kv_heads as u64) * group;
        all.min(group.max(GPU_PIECE as u64)) * (2 * 4 + 2 * self.count_operand())
    }

    /// Both models' logits of the rows that are computed at once, and the gradient in the student's; hidden
    /// states as operands, and their gradient; the head's gradient, as the sum so far and what is added.
    fn count_loss(&self) -> u64 {
        let vocab = self.student.vocab_size as u64;
        let rows =
            (GPU_PIECE as u64 / vocab.max(1) / LOSS_ROWS * LOSS_ROWS).max(LOSS_ROWS).min(self.count_tokens());
        let logits = 4 + self.count_operand() + if self.teacher.is_some() { 4 } else { 0 };
        let hidden = self.student.hidden_size as u64;
        let taught = self.teacher.map_or(0, |teacher| teacher.hidden_size as u64);
        rows * vocab * logits
            + self.count_tokens() * ((4 + self.count_operand()) * (hidden + taught))
            + 2 * 4 * count_head(self.student)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::SizeConfig;

    fn model(hidden: usize, layers: usize, vocab: usize) -> ModelConfig {
        let size = SizeConfig { hidden_size: Some(hidden), layers: Some(layers), ..SizeConfig::default() };
        ModelConfig::from_size(&size, vocab).unwrap()
    }

    fn work<'a>(student: &'a ModelConfig, teacher: Option<&'a ModelConfig>) -> GpuWork<'a> {
        GpuWork { student, teacher, precision: Precision::Bf16, batch: 8, seq: 512 }
    }

    #[test]
    fn a_run_takes_more_than_its_parts_and_less_than_with_all_logits() {
        let (student, teacher) = (model(512, 8, 150_000), model(768, 16, 150_000));
        let of = work(&student, Some(&teacher));
        let bytes = estimate_gpu_memory(&of);
        assert!(bytes > PROCESS + 16 * student.parameters() + 4 * teacher.parameters());
        // Student's and teacher's logits and the gradient, of all tokens.
        let logits = 3 * 4 * of.count_tokens() * 150_000;
        assert!(of.count_loss() < logits / 4, "{} of {logits}", of.count_loss());
        assert!(estimate_gpu_memory(&work(&student, None)) < bytes);
    }

    #[test]
    fn what_is_kept_grows_with_the_batch_and_pieces_do_not() {
        let student = model(512, 8, 6400);
        let small = GpuWork { batch: 32, ..work(&student, None) };
        let large = GpuWork { batch: 64, ..small };
        assert_eq!(large.count_saved(), 2 * small.count_saved());
        assert_eq!(large.count_weights(), small.count_weights());
        assert_eq!(large.count_attention(), small.count_attention(), "a piece is full already");
        let single = GpuWork { precision: Precision::Fp32, ..small };
        assert!(estimate_gpu_memory(&single) > estimate_gpu_memory(&small));
    }

    #[test]
    fn a_small_run_takes_little_more_than_its_process() {
        let student = model(64, 1, 300);
        let bytes = estimate_gpu_memory(&GpuWork { batch: 1, seq: 32, ..work(&student, None) });
        assert!((PROCESS..PROCESS + (16 << 20)).contains(&bytes), "{bytes}");
    }
}
