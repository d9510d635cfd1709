//! The keys of one `config.json`, read as what they should hold, with errors that name file and key.

use std::path::Path;

use serde_json::{Map, Value};

use crate::model::error::ModelError;

/// The keys of a JSON object in a `config.json`.
#[derive(Debug)]
pub struct Keys<'a> {
    /// The file, for messages.
    pub(super) path: &'a Path,
    pub(super) map: &'a Map<String, Value>,
}

impl Keys<'_> {
    /// Finds a value; `null` is read as left out.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Makes the error for a key that holds what no model can have.
    pub(super) fn refuse(&self, key: &'static str, expected: String) -> ModelError {
        let found = self.get(key).map_or_else(|| "left out".to_owned(), show);
        ModelError::WrongValue { path: self.path.to_owned(), key, found, expected }
    }

    /// Makes the error for a key that holds what kdx does not compute.
    pub(super) fn refuse_unsupported(
        &self,
        key: &'static str,
        found: &Value,
        supported: impl Into<String>,
    ) -> ModelError {
        let (path, found) = (self.path.to_owned(), show(found));
        ModelError::Unsupported { path, key, found, supported: supported.into() }
    }

    /// Makes the error for a key that must be there.
    pub(super) fn miss(&self, key: &'static str, expected: &'static str) -> ModelError {
        ModelError::MissingKey { path: self.path.to_owned(), key, expected }
    }

    /// Reads a whole number above 0 that must be there.
    pub(super) fn read_size(&self, key: &'static str, expected: &'static str) -> Result<usize, ModelError> {
        self.get(key).ok_or_else(|| self.miss(key, expected))?;
        self.read_size_or(key, 0)
    }

    /// Reads a whole number above 0.
    pub(super) fn read_size_or(&self, key: &'static str, default: usize) -> Result<usize, ModelError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let size = value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
        size.ok_or_else(|| self.refuse(key, "a whole number above 0".to_owned()))
    }

    /// Reads a number above 0.
    pub(super) fn read_positive_or(&self, key: &'static str, default: f64) -> Result<f64, ModelError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let number = value.as_f64().filter(|n| n.is_finite() && *n > 0.0);
        number.ok_or_else(|| self.refuse(key, "a number above 0".to_owned()))
    }

    /// Reads true or false; false where it is left out.
    pub(super) fn read_flag(&self, key: &'static str) -> Result<bool, ModelError> {
        let Some(value) = self.get(key) else { return Ok(false) };
        value.as_bool().ok_or_else(|| self.refuse(key, "true or false".to_owned()))
    }

    /// Reads a token id, the first where there are several.
    pub(super) fn read_token(&self, key: &'static str) -> Result<Option<u32>, ModelError> {
        Ok(self.read_tokens(key)?.first().copied())
    }

    /// Reads one id, or a list of them; negative ones are how some models say that they have none.
    pub(super) fn read_tokens(&self, key: &'static str) -> Result<Vec<u32>, ModelError> {
        let values = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
        };
        if values.iter().any(|value| value.as_i64().is_some_and(|id| id < 0)) {
            return Ok(Vec::new());
        }
        let ids = values.iter().map(|value| value.as_u64().and_then(|id| u32::try_from(id).ok()));
        ids.collect::<Option<_>>().ok_or_else(|| self.refuse(key, "a token id or a list of them".to_owned()))
    }
}

/// Shows a value in a message, cut where it is long.
fn show(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
