//! Configurations of all families, read, refused and written.

use std::path::Path;

use burn::tensor::Device;
use serde_json::{Value, json};

use super::keys::Keys;
use super::llama::Llama;
use super::qwen2::Qwen2;
use super::qwen3::Qwen3;
use super::{FAMILIES, parse_config};
use crate::model::checkpoint::{load_partial, save};
use crate::model::config::{BlockParts, Family, Llama3Scaling, ModelConfig};
use crate::model::error::ModelError;
use crate::model::transformer::Transformer;
use crate::spec::SizeConfig;

fn llama() -> ModelConfig {
    let size = SizeConfig { hidden_size: Some(64), layers: Some(2), ..SizeConfig::default() };
    ModelConfig::from_size(&size, 320).unwrap()
}

fn parse(json: &Value) -> Result<ModelConfig, ModelError> {
    parse_config(&json.to_string(), Path::new("config.json"))
}

/// Reads a Llama whose `config.json` was edited.
fn parse_edited(edit: impl FnOnce(&mut Value)) -> Result<ModelConfig, ModelError> {
    let mut value = llama().to_json();
    edit(&mut value);
    parse(&value)
}

/// What each family makes of the same sizes.
fn read_by(family: &'static dyn Family, edit: impl FnOnce(&mut Value)) -> ModelConfig {
    let mut json = ModelConfig { family, ..llama() }.to_json();
    edit(&mut json);
    parse(&json).unwrap()
}

#[test]
fn what_is_written_reads_back_in_every_family() {
    for family in FAMILIES {
        for attention_bias in [false, true] {
            let mut config = read_by(family, |json| json["attention_bias"] = json!(attention_bias));
            config.eos_token_ids = vec![2, 7];
            config.bos_token_id = Some(1);
            config.tie_word_embeddings = false;
            config.head_dim = 20;
            config.rope.scaling = Some(Llama3Scaling {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position_embeddings: 256.0,
            });
            assert_eq!(parse(&config.to_json()).unwrap(), config);
            let mut by_type = config.to_json();
            by_type["architectures"] = Value::Null;
            assert_eq!(parse(&by_type).unwrap(), config, "found by its model_type");
        }
    }
}

#[test]
fn families_differ_in_their_parts_and_in_what_they_fill_in() {
    let plain = |family| read_by(family, |json| json["head_dim"] = Value::Null);
    let (llama, qwen2, qwen3) = (plain(&Llama), plain(&Qwen2), plain(&Qwen3));
    assert_eq!(llama.parts, BlockParts::default());
    assert_eq!(qwen2.parts, BlockParts { qkv_bias: true, ..BlockParts::default() });
    assert_eq!(qwen3.parts, BlockParts { qk_norm: true, ..BlockParts::default() });
    assert_eq!([llama.head_dim, qwen2.head_dim, qwen3.head_dim], [8, 8, 128]);
    let biases = read_by(&Llama, |json| {
        json["attention_bias"] = json!(true);
        json["mlp_bias"] = json!(true);
    });
    assert_eq!(
        biases.parts,
        BlockParts { qkv_bias: true, output_bias: true, mlp_bias: true, qk_norm: false }
    );
}

#[test]
fn the_base_of_the_rotary_embedding_is_read_from_both_names() {
    let old = parse_edited(|v| {
        v["rope_theta"] = json!(5e5);
        v.as_object_mut().unwrap().remove("rope_parameters");
    });
    assert_eq!(old.unwrap().rope.theta, 5e5);
    let new = parse_edited(|v| {
        v["rope_parameters"] = json!({ "rope_type": "default", "rope_theta": 7e5 });
        v.as_object_mut().unwrap().remove("rope_theta");
    });
    assert_eq!(new.unwrap().rope.theta, 7e5);
}

#[test]
fn what_kdx_does_not_compute_names_file_and_key() {
    let cases: [(&str, Value); 6] = [
        ("architectures", json!(["Qwen3MoeForCausalLM"])),
        ("hidden_act", json!("gelu")),
        ("rope_parameters", json!({ "rope_type": "yarn", "factor": 2.0 })),
        ("quantization_config", json!({ "bits": 4 })),
        ("rope_parameters", json!("linear")),
        ("num_attention_heads", json!(7)),
    ];
    for (key, value) in cases {
        let error = parse_edited(|v| {
            v[key] = value.clone();
            v["head_dim"] = Value::Null;
            v["num_key_value_heads"] = Value::Null;
        });
        let message = error.unwrap_err().to_string();
        assert!(message.contains(key) && message.starts_with("config.json"), "{key}: {message}");
    }
}

#[test]
fn another_architecture_is_refused_by_its_name_with_the_supported_ones() {
    let by_name = parse_edited(|v| v["architectures"] = json!(["GemmaForCausalLM"])).unwrap_err();
    let by_type = parse_edited(|v| {
        v["architectures"] = Value::Null;
        v["model_type"] = json!("gemma");
    });
    let (by_name, by_type) = (by_name.to_string(), by_type.unwrap_err().to_string());
    assert!(by_name.contains("GemmaForCausalLM") && by_type.contains("gemma"), "{by_name}\n{by_type}");
    for family in FAMILIES {
        assert!(by_name.contains(family.architecture()), "{by_name}");
        assert!(by_type.contains(family.model_type()), "{by_type}");
    }
}

#[test]
fn layers_that_see_a_window_only_are_refused() {
    for family in [&Qwen2 as &'static dyn Family, &Qwen3] {
        let read = |layer_types: Value, from: u64| {
            let mut json = ModelConfig { family, ..llama() }.to_json();
            json["layer_types"] = layer_types;
            json["use_sliding_window"] = json!(true);
            json["max_window_layers"] = json!(from);
            // One is filled in where none is given.
            assert!(json.get("sliding_window").is_none());
            parse(&json)
        };
        let message = read(json!(["full_attention", "sliding_attention"]), 2).unwrap_err().to_string();
        assert!(message.contains("layer_types") && message.contains("sliding_attention"), "{message}");
        let message = read(Value::Null, 1).unwrap_err().to_string();
        assert!(message.contains("use_sliding_window"), "{message}");
        assert!(read(json!("full_attention"), 2).is_err(), "no list");
        read(Value::Null, 2).expect("no layer of two has a window");
        read(json!(["full_attention", "full_attention"]), 0).expect("no layer has a window");
    }
}

#[test]
fn sizes_that_no_machine_holds_are_refused() {
    let error = parse_edited(|v| v["num_hidden_layers"] = json!(u64::MAX)).unwrap_err();
    assert!(matches!(error, ModelError::TooLarge { .. }), "{error}");
}

/// Names its tensors as no Hugging Face model does.
#[derive(Debug)]
struct Renamed;

impl Family for Renamed {
    fn architecture(&self) -> &'static str {
        "RenamedForCausalLM"
    }

    fn model_type(&self) -> &'static str {
        "renamed"
    }

    fn read(&self, keys: &Keys<'_>) -> Result<ModelConfig, ModelError> {
        Llama.read(keys)
    }

    fn write(&self, config: &ModelConfig) -> Value {
        Llama.write(config)
    }

    fn name_tensor(&self, parameter: &str) -> String {
        parameter.replace("self_attn.q_proj", "attention.wq")
    }
}

#[test]
fn a_checkpoint_has_the_names_of_its_family() {
    let root = tempfile::tempdir().unwrap();
    let config = ModelConfig { family: &Renamed, ..llama() };
    let model = Transformer::random(&config, 5, &Device::flex());
    let directory = root.path().join("model");
    save(&model, &config, None, &directory).unwrap();
    let (again, report) = load_partial(&config, &directory, 0, &Device::flex()).unwrap();
    assert!(report.is_complete(), "{}", report.in_words());
    assert!(report.loaded.contains(&"model.layers.1.attention.wq.weight".to_owned()));
    assert_eq!(again.weights(), model.weights());
    let (_, report) = load_partial(&llama(), &directory, 0, &Device::flex()).unwrap();
    assert_eq!((report.missing.len(), report.left_over.len()), (2, 2), "two layers' queries");
}
