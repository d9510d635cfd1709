//! The families of models that kdx computes, and how the one of a directory is found.
//!
//! ```text
//! keys    the keys of a `config.json`, typed
//! read    what all families read from it
//! write   what all families write into it
//! llama   Llama, SmolLM2
//! qwen2   Qwen 2 and 2.5
//! qwen3   Qwen 3
//! ```

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use super::config::{Family, ModelConfig};
use super::error::ModelError;
use super::sizes::check_size;
use keys::Keys;

pub(super) mod keys;
pub(super) mod llama;
pub(super) mod qwen2;
pub(super) mod qwen3;
mod read;
#[cfg(test)]
mod tests;
mod write;

/// All families: a new one has a row here.
static FAMILIES: [&dyn Family; 3] = [&llama::Llama, &qwen2::Qwen2, &qwen3::Qwen3];

impl ModelConfig {
    /// Reads `config.json` of a model directory.
    ///
    /// # Errors
    /// Where the file is missing or no JSON, describes another architecture, leaves out a size, or
    /// holds one that no model can have.
    pub fn read(directory: &Path) -> Result<Self, ModelError> {
        if !directory.is_dir() {
            return Err(ModelError::NoDirectory { path: directory.to_owned() });
        }
        let path = directory.join("config.json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ModelError::NoConfig { directory: directory.to_owned() });
            }
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Err(ModelError::ConfigNotJson { path, reason: "it is not UTF-8".to_owned() });
            }
            Err(error) => return Err(ModelError::io("read", &path)(error)),
        };
        parse_config(&text, &path)
    }
}

/// Reads the text of a `config.json`; `path` is for messages.
fn parse_config(text: &str, path: &Path) -> Result<ModelConfig, ModelError> {
    let map: Map<String, Value> = serde_json::from_str(text)
        .map_err(|e| ModelError::ConfigNotJson { path: path.to_owned(), reason: e.to_string() })?;
    let keys = Keys { path, map: &map };
    check_size(find_family(&keys)?.read(&keys)?)
}

/// Finds the family by `architectures`, or by `model_type` where that is left out.
fn find_family(keys: &Keys<'_>) -> Result<&'static dyn Family, ModelError> {
    let list = |of: fn(&dyn Family) -> &'static str| FAMILIES.map(of).join(", ");
    if let Some(found) = keys.get("architectures") {
        let names = found.as_array().map(Vec::as_slice).unwrap_or_default();
        let is_named = |family: &&dyn Family| names.iter().any(|name| name == family.architecture());
        let family = FAMILIES.into_iter().find(is_named);
        return family
            .ok_or_else(|| keys.refuse_unsupported("architectures", found, list(|f| f.architecture())));
    }
    let Some(found) = keys.get("model_type") else {
        return Err(keys.miss("architectures", "the kind of model, as [\"LlamaForCausalLM\"]"));
    };
    let family = FAMILIES.into_iter().find(|family| found == family.model_type());
    family.ok_or_else(|| keys.refuse_unsupported("model_type", found, list(|f| f.model_type())))
}
