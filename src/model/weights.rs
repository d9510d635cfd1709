//! Named arrays out of safetensors files: one file, or shards with an index.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensors};

use super::error::ModelError;

/// Weights by name, row-major, in single precision.
pub type Weights = BTreeMap<String, Vec<f32>>;

/// The tensors of a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Checkpoint {
    /// Those that were asked for.
    pub(super) weights: Weights,
    /// The shapes of the others.
    pub(super) others: BTreeMap<String, Vec<usize>>,
}

/// Reads the tensors of a model directory that `wanted` accepts by name and shape; of the others only
/// the shape comes back.
///
/// # Errors
/// Where there are no weights, a file is damaged or missing, or an accepted tensor has a type that
/// kdx does not read or holds values that are not finite.
pub(super) fn read(
    directory: &Path,
    wanted: impl Fn(&str, &[usize]) -> bool,
) -> Result<Checkpoint, ModelError> {
    let mut reader = Reader { wanted, found: Checkpoint::default() };
    match Files::find(directory)? {
        Files::Single(path) => reader.read_file(&path)?,
        Files::Shards(index) => reader.read_shards(directory, &index)?,
    }
    Ok(reader.found)
}

/// The numbers of a tensor, and its shape.
pub(super) type Numbers = (Vec<f32>, Vec<usize>);

/// Reads one tensor of a model directory and nothing else of its files but their headers; its shape
/// comes with it. None where there is no such tensor.
///
/// # Errors
/// As [`read`].
pub(super) fn read_one(directory: &Path, name: &str) -> Result<Option<Numbers>, ModelError> {
    let path = match Files::find(directory)? {
        Files::Single(path) => path,
        Files::Shards(index) => match read_index(&index)?.get(name) {
            Some(shard) => find_shard(directory, &index, shard)?,
            None => return Ok(None),
        },
    };
    let damaged = |reason: String| ModelError::DamagedWeights { path: path.clone(), reason };
    let mut file = File::open(&path).map_err(ModelError::io("read", &path))?;
    let length = file.metadata().map_err(ModelError::io("read", &path))?.len();
    let mut start = [0; 8];
    file.read_exact(&mut start).map_err(|error| damaged(error.to_string()))?;
    let header_bytes = u64::from_le_bytes(start);
    if header_bytes > length.saturating_sub(8) {
        return Err(damaged("it is shorter than its header".to_owned()));
    }
    let mut header = Vec::new();
    (&file).take(header_bytes).read_to_end(&mut header).map_err(ModelError::io("read", &path))?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| damaged(error.to_string()))?;
    let data_start = 8 + header_bytes;
    let data_bytes = metadata.tensors().values().map(|tensor| tensor.data_offsets.1).max().unwrap_or(0);
    if length - data_start != data_bytes as u64 {
        return Err(damaged(format!("it has {length} bytes, expected {}", data_start + data_bytes as u64)));
    }
    let Some(tensor) = metadata.info(name) else { return Ok(None) };
    let (begin, end) = tensor.data_offsets;
    let mut bytes = vec![0; end - begin];
    file.seek(SeekFrom::Start(data_start + begin as u64))
        .and_then(|_| file.read_exact(&mut bytes))
        .map_err(ModelError::io("read", &path))?;
    Ok(Some((decode(&path, name, tensor.dtype, &bytes)?, tensor.shape.clone())))
}

/// The files that hold the weights.
enum Files {
    Single(PathBuf),
    /// The index of several.
    Shards(PathBuf),
}

impl Files {
    fn find(directory: &Path) -> Result<Self, ModelError> {
        let single = directory.join("model.safetensors");
        let index = directory.join("model.safetensors.index.json");
        if single.is_file() {
            Ok(Self::Single(single))
        } else if index.is_file() {
            Ok(Self::Shards(index))
        } else {
            Err(explain_missing_weights(directory))
        }
    }
}

/// Reads which shard holds which tensor.
fn read_index(index: &Path) -> Result<BTreeMap<String, String>, ModelError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let bytes = fs::read(index).map_err(ModelError::io("read", index))?;
    let index_of: Index = serde_json::from_slice(&bytes)
        .map_err(|e| ModelError::DamagedIndex { path: index.to_owned(), reason: e.to_string() })?;
    Ok(index_of.weight_map)
}

/// Finds the shard that the index names.
fn find_shard(directory: &Path, index: &Path, shard: &str) -> Result<PathBuf, ModelError> {
    // A name, not a path: nothing outside the directory is read.
    if Path::new(shard).file_name().is_none_or(|name| name != shard) {
        return Err(ModelError::DamagedIndex {
            path: index.to_owned(),
            reason: format!("`{shard}` is not the name of a file beside it"),
        });
    }
    let path = directory.join(shard);
    if !path.is_file() {
        return Err(ModelError::MissingShard { index: index.to_owned(), shard: shard.to_owned() });
    }
    Ok(path)
}

/// Decodes the numbers of a tensor, which must be finite.
fn decode(path: &Path, name: &str, dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>, ModelError> {
    let values = widen(dtype, bytes).ok_or_else(|| ModelError::UnsupportedType {
        path: path.to_owned(),
        tensor: name.to_owned(),
        found: format!("{dtype:?}"),
    })?;
    if values.iter().any(|value| !value.is_finite()) {
        return Err(ModelError::NotFinite { path: path.to_owned(), tensor: name.to_owned() });
    }
    Ok(values)
}

struct Reader<F> {
    wanted: F,
    found: Checkpoint,
}

impl<F: Fn(&str, &[usize]) -> bool> Reader<F> {
    fn read_file(&mut self, path: &Path) -> Result<(), ModelError> {
        let bytes = fs::read(path).map_err(ModelError::io("read", path))?;
        let damaged = |reason: String| ModelError::DamagedWeights { path: path.to_owned(), reason };
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
        for (name, view) in tensors.iter() {
            let shape = view.shape().to_vec();
            if !(self.wanted)(name, &shape) {
                self.found.others.insert(name.to_owned(), shape);
                continue;
            }
            let values = decode(path, name, view.dtype(), view.data())?;
            self.found.weights.insert(name.to_owned(), values);
        }
        Ok(())
    }

    fn read_shards(&mut self, directory: &Path, index: &Path) -> Result<(), ModelError> {
        let weight_map = read_index(index)?;
        let mut shards: Vec<&String> = weight_map.values().collect();
        shards.sort();
        shards.dedup();
        for shard in shards {
            self.read_file(&find_shard(directory, index, shard)?)?;
        }
        for (tensor, shard) in weight_map {
            if !self.found.weights.contains_key(&tensor) && !self.found.others.contains_key(&tensor) {
                return Err(ModelError::NotInShard { index: index.to_owned(), tensor, shard });
            }
        }
        Ok(())
    }
}

/// Widens little-endian bytes to single precision; none for a type that is not read.
fn widen(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
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

/// Makes the error for a directory without weights: what is there instead decides the advice.
fn explain_missing_weights(directory: &Path) -> ModelError {
    let pickled = ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth"];
    let found = pickled.into_iter().map(|name| directory.join(name)).find(|path: &PathBuf| path.is_file());
    let help = match found {
        Some(path) => format!(
            "{} is a pickle, which can run code when read: load the model in transformers and call \
             `save_pretrained`",
            path.display()
        ),
        None => "the download or copy of the model is incomplete".to_owned(),
    };
    ModelError::NoWeights { directory: directory.to_owned(), help }
}
