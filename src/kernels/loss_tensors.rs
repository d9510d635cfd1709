//! The tensors that a distillation loss takes, and those that it gives.

use burn::tensor::{Int, Tensor};

use super::products::{Packed, Products};

/// Hidden states and the output head that makes logits of them.
#[derive(Debug, Clone)]
pub struct Projection {
    /// Last hidden states, after the final norm: `[rows, hidden]`.
    pub hidden: Tensor<2>,
    /// Output head, `[vocab, hidden]`.
    pub head: Tensor<2>,
    /// How the products with the head are made.
    pub how: Products,
}

impl Projection {
    /// In single precision.
    pub fn new(hidden: Tensor<2>, head: Tensor<2>) -> Self {
        Self { hidden, head, how: Products::default() }
    }

    /// Outside any graph.
    pub fn without_autodiff(&self) -> Self {
        Self {
            hidden: self.hidden.clone().without_autodiff(),
            head: self.head.clone().without_autodiff(),
            how: self.how.clone(),
        }
    }
}

/// The largest logits of each row, and one that stands for all the others.
#[derive(Debug, Clone)]
pub struct TopK {
    /// The tokens, `[rows, k]`, each below the student's vocabulary.
    pub ids: Tensor<2, Int>,
    /// Their logits, `[rows, k]`.
    pub logits: Tensor<2>,
    /// The logit that every other token of a row is taken to have, `[rows]`.
    pub rest: Tensor<1>,
}

/// What the teacher says of a batch's rows. Outside any graph.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "a batch has one")]
pub enum Taught {
    /// Hidden states and the head, cut to the student's vocabulary before the softmax.
    Hidden(Projection),
    /// Hidden states, `[rows, hidden]`, and a head that is nowhere but packed.
    Packed(Tensor<2>, Packed),
    /// The largest logits.
    TopK(TopK),
}

impl From<Projection> for Taught {
    fn from(projection: Projection) -> Self {
        Self::Hidden(projection)
    }
}

impl From<TopK> for Taught {
    fn from(top: TopK) -> Self {
        Self::TopK(top)
    }
}

/// Losses of a batch, means over its rows, each `[1]`.
#[derive(Debug, Clone)]
pub struct Losses {
    /// The mixture; carries the gradient.
    pub total: Tensor<1>,
    /// Cross-entropy on the targets, nats a row.
    pub hard: Tensor<1>,
    /// The divergence with its scale; none without a teacher.
    pub soft: Option<Tensor<1>>,
}
