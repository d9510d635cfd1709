//! What a token adds to a divergence and to its gradient: a function for each kind.

use burn_cubecl::cubecl;
use cubecl::prelude::*;

use crate::kernels::loss_spec::Divergence;

/// A token's probabilities: `p` of the teacher, `q` of the student, both at the temperature.
#[derive(CubeType, Clone, Copy)]
pub struct Token {
    pub p: f32,
    pub log_p: f32,
    pub q: f32,
    pub log_q: f32,
}

#[cube]
impl Token {
    /// By their logarithms.
    pub fn new(log_p: f32, log_q: f32) -> Token {
        Token { p: log_p.exp(), log_p, q: log_q.exp(), log_q }
    }
}

/// A token's part in a divergence `D`.
#[derive(CubeType, Clone, Copy)]
pub struct Term {
    /// What it adds to `D`.
    pub value: f32,
    /// `q·∂D/∂q`, up to a number times `q` that is the same for all tokens. The gradient in the scaled logits
    /// is `pull - q·Σ pull`.
    pub pull: f32,
}

/// A token's part in a divergence that [`Divergence::reduce`] leaves as it is, with its number.
#[cube]
pub fn compare(token: Token, number: f32, #[comptime] divergence: Option<Divergence<()>>) -> Term {
    if comptime!(divergence == Some(Divergence::ForwardKl)) {
        forward_kl(token)
    } else if comptime!(divergence == Some(Divergence::ReverseKl)) {
        reverse_kl(token)
    } else if comptime!(divergence == Some(Divergence::MixedKl { forward_weight: () })) {
        mixed_kl(token, number)
    } else if comptime!(divergence == Some(Divergence::JensenShannon { beta: () })) {
        jensen_shannon(token, number)
    } else if comptime!(divergence == Some(Divergence::SkewForwardKl { skew: () })) {
        skew_forward_kl(token, number)
    } else if comptime!(divergence == Some(Divergence::SkewReverseKl { skew: () })) {
        skew_reverse_kl(token, number)
    } else {
        total_variation(token)
    }
}

#[cube]
fn forward_kl(token: Token) -> Term {
    Term { value: token.p * (token.log_p - token.log_q), pull: -token.p }
}

#[cube]
fn reverse_kl(token: Token) -> Term {
    let value = token.q * (token.log_q - token.log_p);
    Term { value, pull: value }
}

#[cube]
fn mixed_kl(token: Token, forward_weight: f32) -> Term {
    let (p, q) = (forward_weight * token.p, (f32::new(1.0) - forward_weight) * token.q);
    let ratio = token.log_q - token.log_p;
    Term { value: (q - p) * ratio, pull: q * ratio - p }
}

#[cube]
fn jensen_shannon(token: Token, beta: f32) -> Term {
    let log_m = mixture(beta, token.p, token.q).ln();
    let pull = (f32::new(1.0) - beta) * token.q * (token.log_q - log_m);
    Term { value: beta * token.p * (token.log_p - log_m) + pull, pull }
}

#[cube]
fn skew_forward_kl(token: Token, skew: f32) -> Term {
    let m = mixture(skew, token.p, token.q);
    let pull = token.q * (token.p / m * (skew - f32::new(1.0)));
    Term { value: token.p * (token.log_p - m.ln()), pull }
}

#[cube]
fn skew_reverse_kl(token: Token, skew: f32) -> Term {
    let m = mixture(skew, token.q, token.p);
    let ratio = token.log_q - m.ln();
    Term { value: token.q * ratio, pull: token.q * (ratio - token.q / m * skew) }
}

#[cube]
fn total_variation(token: Token) -> Term {
    let mut slope = f32::new(0.0);
    if token.q > token.p {
        slope = f32::new(0.5);
    } else if token.q < token.p {
        slope = f32::new(-0.5);
    }
    Term { value: f32::new(0.5) * (token.q - token.p).abs(), pull: token.q * slope }
}

/// `weight·a + (1-weight)·b`, kept above zero.
#[cube]
fn mixture(weight: f32, a: f32, b: f32) -> f32 {
    let mixed = weight * a + (f32::new(1.0) - weight) * b;
    mixed.max(f32::new(1.175_494_4e-38))
}
