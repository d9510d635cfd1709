//! Model directories that can be used: written, read back, sharded, in half precision, in part.

use std::fs;

use burn::tensor::Device;
use half::{bf16, f16};
use kdx::model::{self, ModelConfig, Transformer, Weights};
use kdx::spec::SizeConfig;
use safetensors::Dtype;

use crate::support::checkpoint::{edit_config, edit_tensors, shard, size, write};

fn loaded(directory: &std::path::Path) -> (Weights, ModelConfig) {
    let (model, config, report) = model::load(directory, &Device::flex()).unwrap();
    assert!(report.is_complete());
    (model.weights(), config)
}

#[test]
fn what_is_written_reads_back_bit_for_bit() {
    for tied in [true, false] {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("deep/er/model");
        let size = SizeConfig { tie_word_embeddings: Some(tied), ..size(32, 2) };
        let (model, config) = write(&directory, &size, 40);
        let (weights, read) = loaded(&directory);
        assert_eq!(read, config);
        assert_eq!(weights, model.weights());
        assert_eq!(weights.contains_key("lm_head.weight"), !tied);
        let count: usize = weights.values().map(Vec::len).sum();
        assert_eq!(count as u64, config.parameters());
        // Writing again replaces, and leaves nothing beside it.
        model::save(&model, &config, None, &directory).unwrap();
        assert_eq!(fs::read_dir(directory.parent().unwrap()).unwrap().count(), 1);
    }
}

#[test]
fn shards_are_read_as_one_file_is() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("model");
    let (model, _) = write(&directory, &size(32, 2), 40);
    shard(&directory);
    assert_eq!(loaded(&directory).0, model.weights());
}

#[test]
fn a_head_is_read_alone() {
    for (tied, sharded) in [(true, false), (false, false), (true, true), (false, true)] {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("model");
        let size = SizeConfig { tie_word_embeddings: Some(tied), ..size(32, 2) };
        let (model, expected) = write(&directory, &size, 40);
        if sharded {
            shard(&directory);
        }
        let (head, config) = model::load_head(&directory, &Device::flex()).unwrap();
        assert_eq!(config, expected);
        assert_eq!(head.into_data(), model.head().into_data());
    }
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("model");
    write(&directory, &size(32, 1), 40);
    edit_config(&directory, |config| config["vocab_size"] = 41.into());
    let error = model::load_head(&directory, &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("embed_tokens"), "{error}");
    let file = directory.join("model.safetensors");
    let bytes = fs::read(&file).unwrap();
    for length in [0, 7, 8, 100, bytes.len() - 1] {
        fs::write(&file, &bytes[..length]).unwrap();
        assert!(model::load_head(&directory, &Device::flex()).is_err(), "cut at {length}");
    }
}

#[test]
fn half_precision_is_widened_exactly() {
    let widened = |dtype: Dtype, half: fn(f32) -> u16, wide: fn(u16) -> f32| {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("model");
        let (model, _) = write(&directory, &size(32, 1), 40);
        edit_tensors(&directory, |tensors| {
            for (kind, _, bytes) in tensors.values_mut() {
                let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
                *bytes = values.flat_map(|value| half(value).to_le_bytes()).collect();
                *kind = dtype;
            }
        });
        let expected: Weights = model
            .weights()
            .into_iter()
            .map(|(name, values)| (name, values.into_iter().map(|v| wide(half(v))).collect()))
            .collect();
        assert_eq!(loaded(&directory).0, expected, "{dtype:?}");
    };
    widened(Dtype::F16, |v| f16::from_f32(v).to_bits(), |b| f16::from_bits(b).to_f32());
    widened(Dtype::BF16, |v| bf16::from_f32(v).to_bits(), |b| bf16::from_bits(b).to_f32());
}

#[test]
fn tensors_that_follow_from_others_are_no_left_overs() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("model");
    let (model, _) = write(&directory, &size(32, 1), 40);
    edit_tensors(&directory, |tensors| {
        let embedding = tensors["model.embed_tokens.weight"].clone();
        tensors.insert("lm_head.weight".to_owned(), embedding);
        let norm = tensors["model.norm.weight"].clone();
        tensors.insert("model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(), norm);
    });
    assert_eq!(loaded(&directory).0, model.weights());
}

#[test]
fn what_fits_is_loaded_and_the_rest_is_the_random_start() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("model");
    let (model, _) = write(&directory, &size(32, 2), 40);
    let wider = SizeConfig { intermediate_size: Some(192), ..size(32, 1) };
    let config = ModelConfig::from_size(&wider, 40).unwrap();
    let (part, report) = model::load_partial(&config, &directory, 11, &Device::flex()).unwrap();
    let (stored, random, part) =
        (model.weights(), Transformer::random(&config, 11, &Device::flex()).weights(), part.weights());
    assert_eq!(report.loaded.len() + report.mismatched.len() + report.missing.len(), part.len());
    assert!(report.missing.is_empty());
    assert_eq!(report.left_over.len(), 9, "the second layer");
    for name in &report.loaded {
        assert_eq!(part[name], stored[name], "{name}");
    }
    assert_eq!(report.mismatched.len(), 3);
    for mismatch in &report.mismatched {
        assert!(mismatch.tensor.contains(".mlp."));
        assert_eq!(part[&mismatch.tensor], random[&mismatch.tensor], "{}", mismatch.tensor);
    }
}

#[test]
fn a_configuration_of_the_older_transformers_reads_the_same() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("model");
    let (_, config) = write(&directory, &size(32, 1), 40);
    edit_config(&directory, |value| {
        let map = value.as_object_mut().unwrap();
        map.remove("rope_parameters");
        map.remove("head_dim");
        map.remove("dtype");
    });
    assert_eq!(loaded(&directory).1, config);
}

#[test]
fn the_files_of_a_tokenizer_go_along() {
    let root = tempfile::tempdir().unwrap();
    let tokenizer = root.path().join("tokenizer");
    fs::create_dir(&tokenizer).unwrap();
    fs::write(tokenizer.join("bpe.json"), "{}").unwrap();
    fs::write(tokenizer.join("tokenizer_config.json"), "{\"a\": 1}").unwrap();
    let config = ModelConfig::from_size(&size(32, 1), 40).unwrap();
    let model = Transformer::random(&config, 0, &Device::flex());
    let directory = root.path().join("model");
    model::save(&model, &config, Some(&tokenizer.join("bpe.json")), &directory).unwrap();
    assert_eq!(fs::read_to_string(directory.join("tokenizer.json")).unwrap(), "{}");
    assert_eq!(fs::read_to_string(directory.join("tokenizer_config.json")).unwrap(), "{\"a\": 1}");
}
