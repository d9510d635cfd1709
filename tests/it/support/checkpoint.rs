//! Small model directories to be loaded, and to be damaged.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::Device;
use kdx::model::{self, ModelConfig, Transformer};
use kdx::spec::SizeConfig;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;

/// Tensors of a safetensors file: type, shape, bytes.
pub type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

pub fn size(hidden: usize, layers: usize) -> SizeConfig {
    SizeConfig { hidden_size: Some(hidden), layers: Some(layers), ..SizeConfig::default() }
}

/// Writes a random model of these sizes.
pub fn write(directory: &Path, size: &SizeConfig, vocab: usize) -> (Transformer, ModelConfig) {
    let config = ModelConfig::from_size(size, vocab).unwrap();
    let model = Transformer::random(&config, 3, &Device::flex());
    model::save(&model, &config, None, directory).unwrap();
    (model, config)
}

/// Changes `config.json`.
pub fn edit_config(directory: &Path, edit: impl FnOnce(&mut Value)) {
    let path = directory.join("config.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

pub fn tensors(file: &Path) -> Tensors {
    let bytes = fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let entry = |view: TensorView| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
    tensors.iter().map(|(name, view)| (name.to_owned(), entry(view))).collect()
}

pub fn write_tensors(file: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, file).unwrap();
}

/// Changes the tensors of `model.safetensors`.
pub fn edit_tensors(directory: &Path, edit: impl FnOnce(&mut Tensors)) {
    let file = directory.join("model.safetensors");
    let mut all = tensors(&file);
    edit(&mut all);
    write_tensors(&file, &all);
}

/// Splits `model.safetensors` in two, with an index.
pub fn shard(directory: &Path) {
    let file = directory.join("model.safetensors");
    let all = tensors(&file);
    fs::remove_file(&file).unwrap();
    let mut index = serde_json::Map::new();
    let mut shards = [Tensors::new(), Tensors::new()];
    for (number, (name, tensor)) in all.into_iter().enumerate() {
        index.insert(name.clone(), shard_name(number % 2).into());
        shards[number % 2].insert(name, tensor);
    }
    for (number, shard) in shards.iter().enumerate() {
        write_tensors(&directory.join(shard_name(number)), shard);
    }
    let index = serde_json::json!({ "metadata": { "total_size": 0 }, "weight_map": index });
    fs::write(directory.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

pub fn shard_name(number: usize) -> String {
    format!("model-{:05}-of-00002.safetensors", number + 1)
}
