//! What a distillation loss is: the divergence, its temperature, and how it is mixed with the loss on labels.
//!
//! What is said here is said for all backends. They compute, of each row, the cross-entropy and the
//! divergence, and their gradients; what those are multiplied by, and what comes of the means, is
//! [`Distillation`]'s.

/// A divergence of the student's distribution `q` from the teacher's `p` over the vocabulary, or a distance
/// of the raw logits. `N` is the type of its number; a `Divergence<()>` is one without it, which kernels are
/// compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Divergence<N = f64> {
    /// KL(p ‖ q), mass-covering.
    ForwardKl,
    /// KL(q ‖ p), mode-seeking (MiniLLM, 2306.08543).
    ReverseKl,
    /// `forward_weight·KL(p ‖ q) + (1-forward_weight)·KL(q ‖ p)`: at ½ the symmetric KL (Jeffreys).
    MixedKl {
        /// The weight of KL(p ‖ q), in `[0, 1]`.
        forward_weight: N,
    },
    /// Generalized Jensen–Shannon (GKD, 2306.13649): `beta·KL(p ‖ m) + (1-beta)·KL(q ‖ m)` with
    /// `m = beta·p + (1-beta)·q`.
    JensenShannon {
        /// The teacher's weight, in `[0, 1]`.
        beta: N,
    },
    /// KL(p ‖ skew·p + (1-skew)·q) (DistiLLM, 2402.03898).
    SkewForwardKl {
        /// The teacher's weight in the mixture, in `[0, 1]`.
        skew: N,
    },
    /// KL(q ‖ skew·q + (1-skew)·p).
    SkewReverseKl {
        /// The student's weight in the mixture, in `[0, 1]`.
        skew: N,
    },
    /// `½·Σ|p - q|`.
    TotalVariation,
    /// Mean squared difference of the raw logits over rows and vocabulary; no temperature.
    LogitMse,
}

impl<N> Divergence<N> {
    /// Whether both models' logits are divided by the temperature.
    pub fn has_temperature(&self) -> bool {
        !matches!(self, Self::LogitMse)
    }
}

impl Divergence {
    /// What it is at the ends of its number's range, where a mixture is one of its parts; none where it is
    /// zero whatever the student does.
    pub fn reduce(self) -> Option<Self> {
        match self {
            Self::JensenShannon { beta: 0.0 | 1.0 } => None,
            Self::SkewForwardKl { skew: 1.0 } | Self::SkewReverseKl { skew: 1.0 } => None,
            Self::MixedKl { forward_weight: 1.0 } | Self::SkewForwardKl { skew: 0.0 } => {
                Some(Self::ForwardKl)
            }
            Self::MixedKl { forward_weight: 0.0 } | Self::SkewReverseKl { skew: 0.0 } => {
                Some(Self::ReverseKl)
            }
            other => Some(other),
        }
    }

    /// The divergence without its number, and the number: zero where it has none.
    #[cfg(any(feature = "cuda", feature = "vulkan"))]
    pub(super) fn split(self) -> (Divergence<()>, f64) {
        match self {
            Self::ForwardKl => (Divergence::ForwardKl, 0.0),
            Self::ReverseKl => (Divergence::ReverseKl, 0.0),
            Self::MixedKl { forward_weight } => (Divergence::MixedKl { forward_weight: () }, forward_weight),
            Self::JensenShannon { beta } => (Divergence::JensenShannon { beta: () }, beta),
            Self::SkewForwardKl { skew } => (Divergence::SkewForwardKl { skew: () }, skew),
            Self::SkewReverseKl { skew } => (Divergence::SkewReverseKl { skew: () }, skew),
            Self::TotalVariation => (Divergence::TotalVariation, 0.0),
            Self::LogitMse => (Divergence::LogitMse, 0.0),
        }
    }
}

/// How hard and soft loss are made and mixed: `hard_weight·hard + (1-hard_weight)·soft`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distillation {
    /// The soft loss; none learns from labels alone.
    pub divergence: Option<Divergence>,
    /// Divides both models' logits; the divergence is multiplied by its square (Hinton et al.,
    /// 1503.02531). Not for [`Divergence::LogitMse`]. Kernels are exact from 0.001 to 20; below, it is the
    /// rounding of logits that decides.
    pub temperature: f64,
    /// Weight of the cross-entropy; without a divergence it is 1.
    pub hard_weight: f64,
}

impl Distillation {
    /// Cross-entropy with the labels: what a teacher is trained on.
    pub const CROSS_ENTROPY: Self = Self { divergence: None, temperature: 1.0, hard_weight: 1.0 };

    /// The divergence that rows are to be compared by; none where it is zero whatever the student does.
    pub(super) fn of_rows(&self) -> Option<Divergence> {
        self.divergence.and_then(Divergence::reduce)
    }

    /// What both models' logits are divided by before the divergence: 1 where that knows no temperature.
    pub(super) fn divisor(&self) -> f64 {
        if self.of_rows().is_some_and(|divergence| divergence.has_temperature()) {
            self.temperature
        } else {
            1.0
        }
    }

    /// What the mean divergence over rows is multiplied by.
    pub(super) fn soft_scale(&self) -> f64 {
        self.divisor() * self.divisor()
    }

    /// Weights of the mean hard loss and of the mean soft one, its scale included.
    pub(super) fn weights(&self) -> [f64; 2] {
        let hard = if self.divergence.is_some() { self.hard_weight } else { 1.0 };
        [hard, 1.0 - hard]
    }

    /// What the gradients of a row are multiplied by, but for the number of rows: that of the hard loss in
    /// the logits, and that of the divergence in the divided logits. (The division takes one temperature of
    /// the scale.)
    pub(super) fn slopes(&self) -> [f64; 2] {
        let [hard, soft] = self.weights();
        [hard, soft * self.divisor()]
    }

    /// The mixture of mean losses, the soft one's scale included.
    pub(super) fn mix(&self, hard: f64, soft: f64) -> f64 {
        // A part that has no weight must not spoil the total where it is infinite.
        let part = |weight: f64, loss: f64| if weight == 0.0 { 0.0 } else { weight * loss };
        let [of_hard, of_soft] = self.weights();
        part(of_hard, hard) + part(of_soft, soft)
    }
}

/// Sums over the rows of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Measured {
    /// Rows.
    pub rows: u64,
    /// Sum of the cross-entropies, nats.
    pub hard: f64,
    /// Rows whose most likely token is the target.
    pub correct: u64,
    /// What a teacher adds.
    pub teacher: Option<TeacherMeasured>,
}

/// The part of [`Measured`] that needs a teacher.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TeacherMeasured {
    /// Sum over rows of the soft loss, its scale included; none where there is no divergence.
    pub soft: Option<f64>,
    /// Rows where student and teacher have the same most likely token.
    pub agreed: u64,
    /// Sum of the teacher's cross-entropies, over the student's vocabulary.
    pub hard: f64,
    /// Rows whose most likely token, to the teacher, is the target.
    pub correct: u64,
}
