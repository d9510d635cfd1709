//! `experiment.json` of a report: what the tables beside it are about, how to tell that they are
//! whole, and which files a later report may remove.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::spec::CompareConfig;
use crate::spec::metric::MetricInfo;
use crate::store::{FORMAT_VERSION, StoreError, file};

/// `experiment.json` of a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The experiment.
    pub name: String,
    /// The version of kdx that wrote the report.
    pub kdx: String,
    /// The last change of any run, RFC 3339 in UTC; none if no run was tried.
    pub updated: Option<String>,
    /// Dotted keys of the axes, in the file's order.
    pub axes: Vec<String>,
    /// The experiment's tolerances, so that a report can be compared without its store.
    pub compare: CompareConfig,
    /// What the experiment's runs say about metrics that are not registered, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, MetricInfo>,
    /// Files of the report, relative to its directory, with their BLAKE3 digests.
    pub files: BTreeMap<String, String>,
}

/// The name of the manifest in a report's directory.
pub const MANIFEST: &str = "experiment.json";

impl Manifest {
    /// The manifest of the report in `directory`; none if there is none.
    pub fn read(directory: &Path) -> Result<Option<Self>, StoreError> {
        file::read_json_if_there(&directory.join(MANIFEST))
    }

    /// Replaces the manifest of the report in `directory`.
    pub fn write(&self, directory: &Path) -> Result<(), StoreError> {
        file::write_json(&directory.join(MANIFEST), self)
    }

    /// Whether `bytes` are what the report wrote under this name. A file that it did not write
    /// cannot be told.
    pub fn is_whole(&self, name: &str, bytes: &[u8]) -> bool {
        self.files.get(name).is_none_or(|expected| *expected == digest(bytes))
    }

    /// A manifest of the present version.
    pub fn new(
        name: &str,
        updated: Option<&str>,
        axes: &[String],
        compare: &CompareConfig,
        files: BTreeMap<String, String>,
    ) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            name: name.to_owned(),
            kdx: env!("CARGO_PKG_VERSION").to_owned(),
            updated: updated.map(str::to_owned),
            axes: axes.to_vec(),
            compare: compare.clone(),
            metrics: BTreeMap::new(),
            files,
        }
    }
}

/// The digest of a file, as manifests write it.
pub fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}
