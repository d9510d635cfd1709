//! The random start of a model.

use std::f64::consts::TAU;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::config::ModelConfig;
use super::weights::Weights;

/// Random weights as transformers starts a model: matrices normal with mean 0 and standard deviation
/// `initializer_range`, norms one, biases zero. Each parameter has its own stream, made of the seed and its
/// name: the values depend neither on the order of the parameters nor on the number of threads, and a deeper
/// model begins with the layers of a shallower one.
pub fn draw_weights(config: &ModelConfig, seed: u64) -> Weights {
    let tensors = config.tensors();
    tensors
        .into_par_iter()
        .map(|(name, shape)| {
            let values = draw_tensor(&name, &shape, config.initializer_range, seed);
            (name, values)
        })
        .collect()
}

/// The random start of one parameter.
pub fn draw_tensor(name: &str, shape: &[usize], standard_deviation: f64, seed: u64) -> Vec<f32> {
    let count = shape.iter().product();
    if shape.len() == 1 {
        return vec![if name.ends_with(".bias") { 0.0 } else { 1.0 }; count];
    }
    let mut key = blake3::Hasher::new();
    key.update(&seed.to_le_bytes());
    key.update(name.as_bytes());
    let mut rng = ChaCha8Rng::from_seed(*key.finalize().as_bytes());
    let pairs = std::iter::repeat_with(|| draw_normal_pair(&mut rng)).flatten();
    pairs.take(count).map(|value| (value * standard_deviation) as f32).collect()
}

/// Two independent standard normal values (Box and Muller, 1958).
fn draw_normal_pair(rng: &mut impl Rng) -> [f64; 2] {
    // In (0, 1]: the logarithm of zero is never taken.
    let mut uniform = || ((rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    let radius = (-2.0 * uniform().ln()).sqrt();
    let (sin, cos) = (TAU * uniform()).sin_cos();
    [radius * cos, radius * sin]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::BlockParts;
    use crate::spec::SizeConfig;

    fn config(layers: usize) -> ModelConfig {
        let size = SizeConfig { hidden_size: Some(64), layers: Some(layers), ..SizeConfig::default() };
        ModelConfig::from_size(&size, 320).unwrap()
    }

    #[test]
    fn the_start_depends_on_seed_and_name_alone() {
        let (shallow, deep) = (draw_weights(&config(1), 7), draw_weights(&config(3), 7));
        for (name, values) in &shallow {
            assert_eq!(values, &deep[name], "{name}");
        }
        let other = draw_weights(&config(1), 8);
        let name = "model.layers.0.self_attn.q_proj.weight";
        assert_ne!(shallow[name], other[name]);
        assert_ne!(deep[name], deep["model.layers.1.self_attn.q_proj.weight"]);
    }

    #[test]
    fn biases_are_zero_and_norms_of_heads_are_one() {
        let parts = BlockParts { qkv_bias: true, qk_norm: true, ..BlockParts::default() };
        let weights = draw_weights(&ModelConfig { parts, ..config(1) }, 0);
        assert!(weights["model.layers.0.self_attn.q_proj.bias"].iter().all(|&w| w == 0.0));
        assert!(weights["model.layers.0.self_attn.k_norm.weight"].iter().all(|&w| w == 1.0));
    }

    #[test]
    fn matrices_are_normal_and_norms_are_one() {
        let weights = draw_weights(&config(1), 0);
        assert!(weights["model.norm.weight"].iter().all(|&w| w == 1.0));
        let values = &weights["model.embed_tokens.weight"];
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let moment = |k: i32| values.iter().map(|&v| (f64::from(v) / 0.02).powi(k)).sum::<f64>() / n;
        // Within five standard errors of a normal distribution's moments 0, 1 and 3.
        assert!(mean.abs() < 5.0 * 0.02 / n.sqrt(), "{mean}");
        assert!((moment(2) - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "{}", moment(2));
        assert!((moment(4) - 3.0).abs() < 5.0 * (96.0 / n).sqrt(), "{}", moment(4));
    }
}
