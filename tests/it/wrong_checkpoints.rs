//! Model directories that cannot be used: each says what is wrong, where, and what to do.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use kdx::model::{self, ModelError};
use kdx::spec::TeacherConfig;
use miette::Diagnostic;
use safetensors::Dtype;
use serde_json::json;

use crate::runs::{Bench, golden_config};
use crate::support::checkpoint::{edit_config, edit_tensors, shard, shard_name, size, write, write_tensors};

const NORM: &str = "model.norm.weight";
const QUERY: &str = "model.layers.0.self_attn.q_proj.weight";

/// A kind of damage, and what the message must say.
type Damage = (&'static str, fn(&Path), &'static [&'static str]);

fn rewrite(directory: &Path, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = directory.join(file);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn set(directory: &Path, key: &str, value: serde_json::Value) {
    edit_config(directory, |config| config[key] = value);
}

fn index(directory: &Path, text: &str) {
    shard(directory);
    fs::write(directory.join("model.safetensors.index.json"), text).unwrap();
}

const DAMAGES: &[Damage] = &[
    ("missing directory", |d| fs::remove_dir_all(d).unwrap(), &["no model directory"]),
    ("missing config", |d| fs::remove_file(d.join("config.json")).unwrap(), &["config.json"]),
    (
        "config is not JSON",
        |d| rewrite(d, "config.json", |b| b.truncate(20)),
        &["config.json", "not a JSON object"],
    ),
    ("config is not UTF-8", |d| rewrite(d, "config.json", |b| b[3] = 0xff), &["config.json", "not UTF-8"]),
    ("config is a list", |d| fs::write(d.join("config.json"), "[1, 2]").unwrap(), &["not a JSON object"]),
    (
        "another architecture",
        |d| set(d, "architectures", json!(["GPT2LMHeadModel"])),
        &["architectures", "GPT2", "LlamaForCausalLM"],
    ),
    (
        "experts",
        |d| set(d, "architectures", json!(["Qwen3MoeForCausalLM"])),
        &["Qwen3MoeForCausalLM", "LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM"],
    ),
    (
        "no architecture",
        |d| {
            edit_config(d, |c| {
                c.as_object_mut().unwrap().retain(|key, _| key != "architectures" && key != "model_type");
            })
        },
        &["architectures", "missing"],
    ),
    (
        "missing key",
        |d| {
            edit_config(d, |c| {
                c.as_object_mut().unwrap().remove("hidden_size");
            })
        },
        &["hidden_size", "missing"],
    ),
    (
        "size of the wrong type",
        |d| set(d, "num_hidden_layers", json!("two")),
        &["num_hidden_layers", "\"two\""],
    ),
    ("size zero", |d| set(d, "vocab_size", json!(0)), &["vocab_size", "above 0"]),
    (
        "heads do not divide",
        |d| {
            edit_config(d, |c| {
                c["num_attention_heads"] = json!(7);
                c["num_key_value_heads"] = json!(7);
                c["head_dim"] = json!(null);
            })
        },
        &["num_attention_heads", "divisor"],
    ),
    (
        "key-value heads do not divide",
        |d| set(d, "num_key_value_heads", json!(3)),
        &["num_key_value_heads", "divisor"],
    ),
    ("heads of odd width", |d| set(d, "head_dim", json!(5)), &["head_dim", "even"]),
    (
        "biases that the weights do not have",
        |d| set(d, "attention_bias", json!(true)),
        &["q_proj.bias", "missing"],
    ),
    ("another activation", |d| set(d, "hidden_act", json!("relu")), &["hidden_act", "silu"]),
    (
        "another rotary embedding",
        |d| set(d, "rope_parameters", json!({ "rope_type": "yarn" })),
        &["rope_parameters", "yarn"],
    ),
    (
        "stretching without its numbers",
        |d| set(d, "rope_parameters", json!({ "rope_type": "llama3" })),
        &["rope_parameters", "factor"],
    ),
    ("more than any machine holds", |d| set(d, "intermediate_size", json!(1u64 << 60)), &["parameters"]),
    ("no weights", |d| fs::remove_file(d.join("model.safetensors")).unwrap(), &["model.safetensors"]),
    (
        "a pickle in place of weights",
        |d| {
            fs::rename(d.join("model.safetensors"), d.join("pytorch_model.bin")).unwrap();
        },
        &["model.safetensors"],
    ),
    (
        "cut short",
        |d| rewrite(d, "model.safetensors", |b| b.truncate(b.len() - 7)),
        &["model.safetensors", "damaged"],
    ),
    ("cut in the header", |d| rewrite(d, "model.safetensors", |b| b.truncate(40)), &["damaged"]),
    ("empty file", |d| rewrite(d, "model.safetensors", Vec::clear), &["damaged"]),
    ("header of absurd length", |d| rewrite(d, "model.safetensors", |b| b[..8].fill(0xff)), &["damaged"]),
    ("header that is no JSON", |d| rewrite(d, "model.safetensors", |b| b[9] = b'!'), &["damaged"]),
    (
        "missing tensor",
        |d| {
            edit_tensors(d, |t| {
                t.remove(QUERY);
            })
        },
        &[QUERY, "missing"],
    ),
    (
        "extra tensor",
        |d| {
            edit_tensors(d, |t| {
                let norm = t[NORM].clone();
                t.insert("model.layers.9.bias".to_owned(), norm);
            })
        },
        &["model.layers.9.bias", "left over"],
    ),
    (
        "wrong shape",
        |d| edit_tensors(d, |t| t.get_mut(QUERY).unwrap().1 = vec![32, 2, 16]),
        &[QUERY, "shape", "[32, 2, 16]"],
    ),
    (
        "transposed",
        |d| edit_tensors(d, |t| t.get_mut("model.embed_tokens.weight").unwrap().1 = vec![32, 40]),
        &["embed_tokens", "[40, 32]"],
    ),
    (
        "another type",
        |d| {
            edit_tensors(d, |t| {
                let norm = t.get_mut(NORM).unwrap();
                *norm = (Dtype::I64, norm.1.clone(), vec![0; 32 * 8]);
            })
        },
        &[NORM, "I64", "BF16"],
    ),
    (
        "not a number",
        |d| edit_tensors(d, |t| t.get_mut(NORM).unwrap().2[..4].copy_from_slice(&f32::NAN.to_le_bytes())),
        &[NORM, "not finite"],
    ),
    (
        "missing shard",
        |d| {
            shard(d);
            fs::remove_file(d.join(shard_name(1))).unwrap();
        },
        &["index.json", "00002-of-00002", "not there"],
    ),
    ("index that is no index", |d| index(d, "{\"weights\": 3}"), &["index.json", "not an index"]),
    (
        "index naming an absent file",
        |d| index(d, "{\"weight_map\": {\"a\": \"other.safetensors\"}}"),
        &["other.safetensors", "not there"],
    ),
    (
        "index leaving the directory",
        |d| index(d, "{\"weight_map\": {\"a\": \"../model.safetensors\"}}"),
        &["../model.safetensors"],
    ),
    (
        "shard without its tensor",
        |d| {
            shard(d);
            write_tensors(&d.join(shard_name(0)), &Default::default());
        },
        &["does not hold"],
    ),
    (
        "damaged shard",
        |d| {
            shard(d);
            rewrite(d, &shard_name(1), |b| b.truncate(50));
        },
        &["00002-of-00002", "damaged"],
    ),
];

#[test]
fn every_damaged_checkpoint_gets_a_good_error() {
    for (what, damage, says) in DAMAGES {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("model");
        write(&directory, &size(32, 1), 40);
        damage(&directory);
        let error = match model::load(&directory, &Device::flex()) {
            Ok(_) => panic!("{what}: loaded"),
            Err(error) => error,
        };
        let message = error.to_string();
        for part in *says {
            assert!(message.contains(part), "{what}: `{message}` does not say `{part}`");
        }
        assert!(error.help().is_some(), "{what}: no help");
        let names_place =
            message.contains(root.path().to_str().unwrap()) || matches!(error, ModelError::TooLarge { .. });
        assert!(names_place, "{what}: `{message}` does not name the file");
    }
}

#[test]
fn a_pickle_gets_advice_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    write(root.path().join("m").as_path(), &size(32, 1), 40);
    let directory = root.path().join("m");
    fs::rename(directory.join("model.safetensors"), directory.join("pytorch_model.bin")).unwrap();
    let error = model::load(&directory, &Device::flex()).err().unwrap();
    assert!(error.help().unwrap().to_string().contains("save_pretrained"));
}

/// Every cause of an error, joined.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[test]
fn models_that_do_not_go_together_are_refused_before_training() {
    let root = tempfile::tempdir().unwrap();
    let narrow = root.path().join("narrow");
    write(&narrow, &size(32, 1), 300);
    let mut wide_student = golden_config();
    wide_student.teacher = Some(TeacherConfig { path: Some(narrow.clone()), ..TeacherConfig::default() });

    let mut narrow_student = golden_config();
    narrow_student.student.path = Some(narrow);

    let mut no_teacher = golden_config();
    no_teacher.teacher = None;

    let mut no_vocabulary = golden_config();
    no_vocabulary.student.path = None;
    no_vocabulary.student.size = size(32, 1);

    let mut does_not_fit = golden_config();
    does_not_fit.student.size.intermediate_size = Some(64);

    let mut absent_teacher = golden_config();
    absent_teacher.teacher =
        Some(TeacherConfig { path: Some(root.path().join("absent")), ..TeacherConfig::default() });

    let cases = [
        ("teacher narrower than the student", wide_student, ["300", "320", "narrower"]),
        ("ids beyond the student's vocabulary", narrow_student, ["tokenized.jsonl", "300", "id"]),
        ("soft loss without a teacher", no_teacher, ["forward_kl", "loss.kind", "teacher"]),
        ("unknown vocabulary", no_vocabulary, ["vocabulary", "student", "size"]),
        (
            "declared sizes that the checkpoint does not have",
            does_not_fit,
            ["do not fit", "gate_proj", "[64, 64]"],
        ),
        ("teacher that is not there", absent_teacher, ["teacher", "no model directory", "absent"]),
    ];
    for (what, config, says) in cases {
        let bench = Bench::new();
        let error = bench.run(config).0.unwrap_err();
        let message = chain(&error);
        for part in says {
            assert!(message.contains(part), "{what}: `{message}` does not say `{part}`");
        }
        assert!(!bench.dir.model_dir().exists());
    }
}

#[test]
fn a_student_narrower_than_its_tokenizer_is_refused() {
    let bench = Bench::new();
    let mut config = crate::runs::text_config(&bench);
    config.student.size.vocab_size = Some(4);
    let message = chain(&bench.run(config).0.unwrap_err());
    assert!(message.contains("tokenizer has") && message.contains("only 4"), "{message}");
}
