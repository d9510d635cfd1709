//! Named arrays out of safetensors files: one file, or shards with an index.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use super::error::ModelError;

/// Weights by name, row-major, in single precision.
pub type Weights = BTreeMap<String, Vec<f32>>;

/// A tensor as a checkpoint has it: shape and values.
pub(super) type Stored = (Vec<usize>, Vec<f32>);

/// Reads the tensors of a model directory that `wanted` accepts by name and shape; of the others only
/// the shape comes back.
///
/// # Errors
/// Where there are no weights, a file is damaged or missing, or an accepted tensor has a type that
/// kdx does not read or holds values that are not finite.
pub(super) fn read(
    directory: &Path,
    wanted: impl Fn(&str, &[usize]) -> bool,
) -> Result<(BTreeMap<String, Stored>, BTreeMap<String, Vec<usize>>), ModelError> {
    let mut reader = Reader { wanted, stored: BTreeMap::new(), others: BTreeMap::new() };
    let single = directory.join("model.safetensors");
    let index = directory.join("model.safetensors.index.json");
    if single.is_file() {
        reader.read_file(&single)?;
    } else if index.is_file() {
        reader.read_shards(directory, &index)?;
    } else {
        return Err(no_weights(directory));
    }
    Ok((reader.stored, reader.others))
}

struct Reader<F> {
    wanted: F,
    stored: BTreeMap<String, Stored>,
    others: BTreeMap<String, Vec<usize>>,
}

impl<F: Fn(&str, &[usize]) -> bool> Reader<F> {
    fn read_file(&mut self, path: &Path) -> Result<(), ModelError> {
        let bytes = fs::read(path).map_err(ModelError::io("read", path))?;
        let damaged = |reason: String| ModelError::DamagedWeights { path: path.to_owned(), reason };
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
        for (name, view) in tensors.iter() {
            let shape = view.shape().to_vec();
            if !(self.wanted)(name, &shape) {
                self.others.insert(name.to_owned(), shape);
                continue;
            }
            let values = to_f32(view.dtype(), view.data()).ok_or_else(|| ModelError::UnsupportedType {
                path: path.to_owned(),
                tensor: name.to_owned(),
                found: format!("{:?}", view.dtype()),
            })?;
            if values.iter().any(|value| !value.is_finite()) {
                return Err(ModelError::NotFinite { path: path.to_owned(), tensor: name.to_owned() });
            }
            self.stored.insert(name.to_owned(), (shape, values));
        }
        Ok(())
    }

    fn read_shards(&mut self, directory: &Path, index: &Path) -> Result<(), ModelError> {
        let damaged = |reason: String| ModelError::DamagedIndex { path: index.to_owned(), reason };
        #[derive(serde::Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let bytes = fs::read(index).map_err(ModelError::io("read", index))?;
        let Index { weight_map } = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        let mut shards: Vec<&String> = weight_map.values().collect();
        shards.sort();
        shards.dedup();
        for shard in shards {
            // A name, not a path: nothing outside the directory is read.
            if Path::new(shard).file_name().is_none_or(|name| name != shard.as_str()) {
                return Err(damaged(format!("`{shard}` is not the name of a file beside it")));
            }
            let path = directory.join(shard);
            if !path.is_file() {
                return Err(ModelError::MissingShard { index: index.to_owned(), shard: shard.clone() });
            }
            self.read_file(&path)?;
        }
        for (tensor, shard) in weight_map {
            if !self.stored.contains_key(&tensor) && !self.others.contains_key(&tensor) {
                return Err(ModelError::NotInShard { index: index.to_owned(), tensor, shard });
            }
        }
        Ok(())
    }
}

/// Little-endian bytes as single precision; none for a type that is not read.
fn to_f32(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    // Views into a file are aligned to nothing, so halves are first put in a vector of their own.
    let halves = || bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    match dtype {
        Dtype::F32 => {
            Some(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
        }
        Dtype::F16 => Some(halves().map(f16::from_bits).collect::<Vec<_>>().to_f32_vec()),
        Dtype::BF16 => Some(halves().map(bf16::from_bits).collect::<Vec<_>>().to_f32_vec()),
        _ => None,
    }
}

/// The error for a directory without weights: what is there instead decides the advice.
fn no_weights(directory: &Path) -> ModelError {
    let pickled = ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth"];
    let found = pickled.into_iter().map(|name| directory.join(name)).find(|path: &PathBuf| path.is_file());
    let help = match found {
        Some(path) => format!(
            "{} is a pickle, which can run code when read: load the model in transformers and call `save_pretrained`",
            path.display()
        ),
        None => "the download or copy of the model is incomplete".to_owned(),
    };
    ModelError::NoWeights { directory: directory.to_owned(), help }
}
