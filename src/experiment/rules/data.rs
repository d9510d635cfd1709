//! Rules about the data and the files that are read.

use std::path::Path;

use super::breach::{Breach, Rules, Site};
use super::files::Expected;
use crate::spec::{DataFormat, RunConfig};

impl Rules<'_> {
    pub(super) fn check_data(&mut self, config: &RunConfig, site: &Site<'_>) {
        let data = &config.data;
        if data.train.as_slice().is_empty() {
            let breach = Breach {
                rule: Some("no data"),
                keys: &["data.train"],
                message: "`data.train` is missing: there is nothing to train on".to_owned(),
                label: "no `train`".to_owned(),
                help: "write `train = \"FILE.jsonl\"` in [data]".to_owned(),
            };
            self.error(site, &breach);
        }
        for path in data.train.as_slice() {
            self.check_path("data.train", path, Expected::File, site);
        }
        for path in data.validation.as_slice() {
            self.check_path("data.validation", path, Expected::File, site);
            if data.train.as_slice().contains(path) {
                let breach = Breach {
                    rule: None,
                    keys: &["data.validation", "data.train"],
                    message: format!("`data.validation` names a file of `data.train`: {}", path.display()),
                    label: "trained on".to_owned(),
                    help: "figures on data that the student has seen say nothing about new data".to_owned(),
                };
                self.warn(site, &breach);
            }
        }
        for (key, path, expected) in [
            ("data.tokenizer", data.tokenizer.as_ref(), Expected::Tokenizer),
            ("data.chat_template", data.chat_template.as_ref(), Expected::File),
            ("student.path", config.student.path.as_ref(), Expected::Model),
            (
                "teacher.path",
                config.teacher.as_ref().and_then(|teacher| teacher.path.as_ref()),
                Expected::Model,
            ),
        ] {
            if let Some(path) = path {
                self.check_path(key, path, expected, site);
            }
        }
        self.check_fields(config, site);
        self.check_tokenizer(config, site);
    }

    fn check_path(&mut self, key: &'static str, path: &Path, expected: Expected, site: &Site<'_>) {
        let Some((fault, help)) = self.files.find_fault(path, expected) else { return };
        let message = format!("`{key}`: {fault}");
        self.error(site, &Breach { rule: None, keys: &[key], message, label: "not there".to_owned(), help });
    }

    fn check_fields(&mut self, config: &RunConfig, site: &Site<'_>) {
        let data = &config.data;
        let needs_both = match data.format {
            DataFormat::PromptResponse => true,
            DataFormat::Auto => data.prompt.is_some() || data.response.is_some(),
            _ => false,
        };
        for (key, is_missing, example) in [
            ("data.prompt", data.prompt.is_none(), "prompt = \"question\""),
            ("data.response", data.response.is_none(), "response = \"answer\""),
        ] {
            if needs_both && is_missing {
                let breach = Breach {
                    rule: Some(key),
                    keys: &[key, "data.format"],
                    message: format!("`{key}` is missing: `prompt_response` records need both field names"),
                    label: format!("needs `{key}`"),
                    help: format!("write the name of the field in [data], as {example}"),
                };
                self.error(site, &breach);
            }
        }
    }

    /// Text needs a tokenizer. With `auto` the records are not known yet: they may be tokenized.
    fn check_tokenizer(&mut self, config: &RunConfig, site: &Site<'_>) {
        let data = &config.data;
        let is_text = !matches!(data.format, DataFormat::Auto | DataFormat::Tokenized);
        let has_model = config.student.path.is_some()
            || config.teacher.as_ref().is_some_and(|teacher| teacher.path.is_some());
        if is_text && data.tokenizer.is_none() && !has_model {
            let breach = Breach {
                rule: Some("no tokenizer"),
                keys: &["data.tokenizer", "data.format"],
                message: "`data.tokenizer` is missing: no model directory has one for this text".to_owned(),
                label: "no tokenizer".to_owned(),
                help: "write `tokenizer = \"DIR\"` in [data]; `kdx tokenizer train` makes one".to_owned(),
            };
            self.error(site, &breach);
        }
    }
}
