//! The file that the signal of a split is in.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::super::error::DistillError;
use crate::cache::{self, Element, FORMAT_VERSION, Header, SignalForm};
use crate::data::Dataset;
use crate::model::{ModelConfig, ModelError};
use crate::spec::Precision;
use crate::store::digest::Digests;

/// A split whose signal is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Split<'a> {
    /// In words: "training data".
    pub(super) name: &'static str,
    pub(super) data: &'a Dataset,
    pub(super) files: &'a [PathBuf],
}

/// The file that the signal of a split is in, there or not.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) split: Split<'a>,
    pub(super) path: PathBuf,
    /// What it holds, or will.
    pub(super) header: Header,
    /// Rows of each sequence: the positions that count in the loss.
    pub(super) rows: Vec<u64>,
}

/// The teacher as far as it decides a signal.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) directory: &'a Path,
    pub(super) config: &'a ModelConfig,
    pub(super) digest: String,
    pub(super) precision: Precision,
}

impl<'a> Source<'a> {
    /// Reads the content of a teacher, or remembers it from the last time.
    pub(super) fn new(
        directory: &'a Path,
        config: &'a ModelConfig,
        precision: Precision,
        cache_dir: &Path,
    ) -> Result<Self, DistillError> {
        let failed = |path: &Path, error| DistillError::teacher(ModelError::io("read", path)(error));
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(|e| failed(directory, e))? {
            let name = entry.map_err(|e| failed(directory, e))?.file_name().to_string_lossy().into_owned();
            let is_weights = name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
            if is_weights || name == "config.json" {
                names.push(name);
            }
        }
        names.sort();
        let mut digests = Digests::open(cache_dir);
        let mut hasher = blake3::Hasher::new();
        for name in names {
            let path = directory.join(&name);
            let digest = digests.of_file(&path).map_err(|e| failed(&path, e))?;
            hasher.update(format!("{name} {digest}\n").as_bytes());
        }
        digests.save();
        Ok(Self { directory, config, digest: hasher.finalize().to_hex().to_string(), precision })
    }

    /// The file of a split's hidden states.
    pub(super) fn hidden(&self, split: Split<'a>, cache_dir: &Path) -> Plan<'a> {
        let element = match self.precision {
            Precision::Fp32 => Element::F32,
            // What products with the output head round them to.
            Precision::Bf16 => Element::Bf16,
        };
        let width = self.config.hidden_size;
        self.plan(SignalForm::Hidden, width, element, split, cache_dir, "")
    }

    /// The file of a split's `k` largest logits over a vocabulary that is cut to the student's.
    pub(super) fn topk(&self, k: usize, vocab: usize, split: Split<'a>, cache_dir: &Path) -> Plan<'a> {
        let cut = format!("{k} of {vocab}");
        self.plan(SignalForm::Topk, k, Element::F32, split, cache_dir, &cut)
    }

    /// The key is a hash of all that decides the content, so that a file is never out of date: the teacher's
    /// configuration and weights, the ids and labels of the data, the arithmetic. How batches are made of the
    /// data does not count: a row does not depend on that.
    fn plan(
        &self,
        form: SignalForm,
        width: usize,
        element: Element,
        split: Split<'a>,
        cache_dir: &Path,
        cut: &str,
    ) -> Plan<'a> {
        let order = if cfg!(target_endian = "little") { "little" } else { "big" };
        let content = [
            format!("kdx teacher signal, format {FORMAT_VERSION}, {order} endian"),
            form.as_str().to_owned(),
            cut.to_owned(),
            self.digest.clone(),
            split.data.digest().to_owned(),
            format!("{:?}", self.precision),
        ];
        let key = blake3::hash(content.join("\n").as_bytes()).to_hex()[..32].to_owned();
        let rows: Vec<u64> = split.data.sequences.iter().map(|sequence| sequence.targets() as u64).collect();
        let names = split.files.iter().filter_map(|path| path.file_name()).map(|name| name.to_string_lossy());
        let ModelConfig { hidden_size, layers, .. } = self.config;
        let header = Header {
            format_version: FORMAT_VERSION,
            form,
            sequences: rows.len() as u64,
            rows: rows.iter().sum(),
            width: width as u64,
            element,
            teacher: format!("{} ({hidden_size}×{layers})", self.directory.display()),
            data: names.collect::<Vec<_>>().join(", "),
            created: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            loss: None,
            key,
        };
        Plan { path: cache::path(cache_dir, &header.key), split, header, rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Sequence;
    use crate::model::{self, Transformer};
    use crate::spec::SizeConfig;
    use burn::tensor::Device;

    fn data(labels: [i32; 3]) -> Dataset {
        let sequence = Sequence { input_ids: vec![1, 2, 3], labels: labels.to_vec() };
        Dataset::from_sequences(vec![sequence.clone(), Sequence { labels: vec![1, -100, -100], ..sequence }])
    }

    #[test]
    fn a_key_changes_with_what_decides_the_content_and_with_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let size =
            |layers| SizeConfig { hidden_size: Some(16), layers: Some(layers), ..SizeConfig::default() };
        let teacher = |name: &str, layers, seed| {
            let config = ModelConfig::from_size(&size(layers), 10).unwrap();
            let model = Transformer::random(&config, seed, &Device::flex());
            let directory = root.path().join(name);
            model::save(&model, &config, None, &directory).unwrap();
            (directory, config)
        };
        let plan_in = |precision, (directory, config): &(PathBuf, ModelConfig), data: &Dataset, name| {
            let source = Source::new(directory, config, precision, root.path()).unwrap();
            let plan = source.hidden(Split { name, data, files: &[] }, root.path());
            (plan.header.key.clone(), plan.header.rows, plan.rows)
        };
        let plan = |teacher: &_, data: &_, name| plan_in(Precision::Fp32, teacher, data, name);
        let (first, labels) = (teacher("first", 1, 0), data([1, 2, 3]));
        let (key, rows, of_each) = plan(&first, &labels, "training data");
        assert_eq!((rows, of_each), (2, vec![2, 0]));
        // Neither the place of the teacher nor what the data are used for counts.
        let moved = teacher("moved", 1, 0);
        std::fs::write(moved.0.join("README.md"), "not read").unwrap();
        assert_eq!(plan(&moved, &data([1, 2, 3]), "validation data").0, key);

        let (mut weights, deeper) = (teacher("weights", 1, 1), teacher("deeper", 2, 0));
        let other_labels = data([1, -100, 3]);
        let mut seen = std::collections::HashSet::from([key]);
        assert!(seen.insert(plan_in(Precision::Bf16, &first, &labels, "").0), "the precision");
        for (k, vocab) in [(4, 10), (5, 10), (4, 9)] {
            let source = Source::new(&first.0, &first.1, Precision::Fp32, root.path()).unwrap();
            let plan = source.topk(k, vocab, Split { name: "", data: &labels, files: &[] }, root.path());
            assert!(seen.insert(plan.header.key), "{k} of {vocab}");
        }
        assert!(seen.insert(plan(&weights, &labels, "").0), "weights");
        assert!(seen.insert(plan(&deeper, &labels, "").0), "layers");
        assert!(seen.insert(plan(&first, &other_labels, "").0), "a label");
        weights.0 = first.0.clone();
        let config = std::fs::read_to_string(first.0.join("config.json")).unwrap();
        std::fs::write(
            first.0.join("config.json"),
            config.replace("rope_theta\": 1000000", "rope_theta\": 10000"),
        )
        .unwrap();
        assert!(seen.insert(plan(&weights, &labels, "").0), "the configuration");
    }
}
