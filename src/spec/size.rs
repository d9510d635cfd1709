//! The sizes of a Llama model with every default filled in: the one place that derives them.

use miette::Diagnostic;
use thiserror::Error;

use super::config::SizeConfig;

/// Heads where none are given and the width allows it (MiniMind).
const DEFAULT_HEADS: usize = 8;
/// Query heads that share a key-value head by default (MiniMind).
const QUERIES_PER_KV_HEAD: usize = 4;
/// The feed-forward width is rounded up to a multiple of this.
const INTERMEDIATE_MULTIPLE: usize = 64;

/// The sizes of a Llama model, every default filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedSize {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of transformer blocks.
    pub layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub heads: usize,
    /// Key-value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head, `hidden_size / heads`; even, for the rotary embedding turns pairs.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Whether the output head is the embedding.
    pub tie_word_embeddings: bool,
    /// Base of the rotary embedding.
    pub rope_theta: f64,
    /// Epsilon of RMSNorm.
    pub rms_norm_eps: f64,
    /// Standard deviation of the random start.
    pub initializer_range: f64,
}

/// Sizes that no model can have. [`SizeError::key`] names the key to change.
#[derive(Debug, Clone, PartialEq, Eq, Error, Diagnostic)]
pub enum SizeError {
    /// A size that has no default.
    #[error("`{key}` is missing")]
    #[diagnostic(help("a model declared by size needs `hidden_size` and `layers`"))]
    Missing {
        /// The missing key, without its section.
        key: &'static str,
    },
    /// A size of zero.
    #[error("`{key}` is 0, a model needs at least 1")]
    Zero {
        /// The key, without its section.
        key: &'static str,
    },
    /// A width that cannot be split between the heads.
    #[error("`hidden_size = {hidden_size}` is not divisible by `heads = {heads}`")]
    #[diagnostic(help("{help}"))]
    HeadsDoNotDivide {
        /// Width of the residual stream.
        hidden_size: usize,
        /// Attention heads.
        heads: usize,
        /// Which numbers of heads would do.
        help: String,
    },
    /// Heads of odd width.
    #[error(
        "the heads are {head_dim} wide (`hidden_size = {hidden_size}` by {heads} heads): \
         the rotary embedding turns pairs, so the width must be even"
    )]
    #[diagnostic(help("{help}"))]
    OddHeadDim {
        /// Width of the residual stream.
        hidden_size: usize,
        /// Attention heads.
        heads: usize,
        /// Width of one head.
        head_dim: usize,
        /// Which numbers of heads would do.
        help: String,
    },
    /// Query heads that cannot be shared out between the key-value heads.
    #[error("`heads = {heads}` is not divisible by `kv_heads = {kv_heads}`")]
    #[diagnostic(help("`kv_heads` can be {}", listed(&divisors(*heads))))]
    KvHeadsDoNotDivide {
        /// Attention heads.
        heads: usize,
        /// Key-value heads.
        kv_heads: usize,
    },
}

impl SizeError {
    /// The key to change, without its section.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Missing { key } | Self::Zero { key } => key,
            Self::HeadsDoNotDivide { .. } => "heads",
            Self::OddHeadDim { .. } => "hidden_size",
            Self::KvHeadsDoNotDivide { .. } => "kv_heads",
        }
    }
}

impl SizeConfig {
    /// Fills in what is left out: MiniMind's proportions. `vocab_size` is the tokenizer's, and gives
    /// way to a declared one.
    ///
    /// # Errors
    /// Where `hidden_size` or `layers` is missing, or the heads do not divide as they must.
    pub fn resolve(&self, vocab_size: usize) -> Result<ResolvedSize, SizeError> {
        let hidden_size = self.hidden_size.ok_or(SizeError::Missing { key: "hidden_size" })?;
        let layers = self.layers.ok_or(SizeError::Missing { key: "layers" })?;
        let vocab_size = self.vocab_size.unwrap_or(vocab_size);
        for (key, value) in [
            ("hidden_size", hidden_size),
            ("layers", layers),
            ("heads", self.heads.unwrap_or(1)),
            ("kv_heads", self.kv_heads.unwrap_or(1)),
            ("intermediate_size", self.intermediate_size.unwrap_or(1)),
            ("vocab_size", vocab_size),
        ] {
            if value == 0 {
                return Err(SizeError::Zero { key });
            }
        }
        let heads = match self.heads {
            Some(heads) => heads,
            None => default_heads(hidden_size),
        };
        if hidden_size % heads != 0 {
            let help = head_help(hidden_size);
            return Err(SizeError::HeadsDoNotDivide { hidden_size, heads, help });
        }
        let head_dim = hidden_size / heads;
        if head_dim % 2 != 0 {
            let help = head_help(hidden_size);
            return Err(SizeError::OddHeadDim { hidden_size, heads, head_dim, help });
        }
        let kv_heads = self.kv_heads.unwrap_or_else(|| default_kv_heads(heads));
        if heads % kv_heads != 0 {
            return Err(SizeError::KvHeadsDoNotDivide { heads, kv_heads });
        }
        Ok(ResolvedSize {
            hidden_size,
            layers,
            heads,
            kv_heads,
            head_dim,
            intermediate_size: self.intermediate_size.unwrap_or_else(|| default_intermediate(hidden_size)),
            vocab_size,
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or(true),
            rope_theta: self.rope_theta.unwrap_or(1e6),
            rms_norm_eps: self.rms_norm_eps.unwrap_or(1e-5),
            initializer_range: self.initializer_range.unwrap_or(0.02),
        })
    }
}

/// The largest number of heads up to 8 that leaves heads of even width; 1 where none does, which
/// [`SizeConfig::resolve`] then refuses.
fn default_heads(hidden_size: usize) -> usize {
    (1..=DEFAULT_HEADS).rev().find(|&heads| fits(hidden_size, heads)).unwrap_or(1)
}

/// A quarter of the heads, or fewer where that does not divide them.
fn default_kv_heads(heads: usize) -> usize {
    let most = (heads / QUERIES_PER_KV_HEAD).max(1);
    (1..=most).rev().find(|&kv_heads| heads.is_multiple_of(kv_heads)).unwrap_or(1)
}

/// `8/3 · hidden_size`, rounded up.
fn default_intermediate(hidden_size: usize) -> usize {
    hidden_size.saturating_mul(8).div_ceil(3 * INTERMEDIATE_MULTIPLE).saturating_mul(INTERMEDIATE_MULTIPLE)
}

fn fits(hidden_size: usize, heads: usize) -> bool {
    hidden_size.is_multiple_of(heads) && (hidden_size / heads).is_multiple_of(2)
}

/// The numbers of heads that a width allows, as advice.
fn head_help(hidden_size: usize) -> String {
    let possible: Vec<usize> = (1..=hidden_size.min(64)).filter(|&heads| fits(hidden_size, heads)).collect();
    if possible.is_empty() {
        format!("choose an even `hidden_size`, as {}", hidden_size.saturating_add(1))
    } else {
        format!("with this `hidden_size`, `heads` can be {}", listed(&possible))
    }
}

fn divisors(number: usize) -> Vec<usize> {
    (1..=number.min(64)).filter(|&divisor| number.is_multiple_of(divisor)).collect()
}

fn listed(numbers: &[usize]) -> String {
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(hidden_size: usize, layers: usize) -> SizeConfig {
        SizeConfig { hidden_size: Some(hidden_size), layers: Some(layers), ..SizeConfig::default() }
    }

    #[test]
    fn defaults_follow_the_width() {
        let resolved = size(512, 1).resolve(6400).unwrap();
        assert_eq!((resolved.heads, resolved.kv_heads, resolved.head_dim), (8, 2, 64));
        assert_eq!(resolved.intermediate_size, 1408);
        // 100 has no divisor 8, and by 5 its heads are 20 wide.
        let resolved = size(100, 1).resolve(10).unwrap();
        assert_eq!((resolved.heads, resolved.kv_heads, resolved.head_dim), (5, 1, 20));
        // 8 heads of 3 are odd, so 4 of 6.
        assert_eq!(size(24, 1).resolve(10).unwrap().head_dim, 4);
        assert_eq!(size(24, 1).resolve(10).unwrap().heads, 6);
    }

    #[test]
    fn default_key_value_heads_always_divide() {
        for heads in 1..=64 {
            assert_eq!(heads % default_kv_heads(heads), 0, "{heads}");
        }
        assert_eq!(default_kv_heads(14), 2);
    }

    #[test]
    fn a_declared_vocabulary_wins() {
        let declared = SizeConfig { vocab_size: Some(320), ..size(64, 2) };
        assert_eq!(declared.resolve(6400).unwrap().vocab_size, 320);
    }

    #[test]
    fn sizes_that_no_model_can_have_are_refused() {
        let heads = |heads| SizeConfig { heads: Some(heads), ..size(64, 1) };
        let error = heads(7).resolve(10).unwrap_err();
        assert_eq!(error.to_string(), "`hidden_size = 64` is not divisible by `heads = 7`");
        assert_eq!(error.key(), "heads");
        assert!(matches!(heads(64).resolve(10), Err(SizeError::OddHeadDim { head_dim: 1, .. })));
        assert!(matches!(size(63, 1).resolve(10), Err(SizeError::OddHeadDim { .. })));
        assert!(matches!(heads(0).resolve(10), Err(SizeError::Zero { key: "heads" })));
        let kv = SizeConfig { kv_heads: Some(3), ..size(64, 1) };
        assert!(matches!(kv.resolve(10), Err(SizeError::KvHeadsDoNotDivide { heads: 8, kv_heads: 3 })));
        let nothing = SizeConfig::default();
        assert!(matches!(nothing.resolve(10), Err(SizeError::Missing { key: "hidden_size" })));
    }

    #[test]
    fn absurd_sizes_do_not_overflow() {
        let most = size(usize::MAX - 1, usize::MAX).resolve(1).unwrap();
        assert!(most.intermediate_size >= usize::MAX / 64);
    }
}
