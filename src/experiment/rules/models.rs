//! Rules about teacher and student.

use miette::Diagnostic;

use super::breach::{Breach, Rules, Site};
use crate::model::ModelConfig;
use crate::spec::{DataFormat, LossKind, RunConfig, SignalKind, SizeConfig, TeacherConfig};

/// Stands for a vocabulary that is not known before the tokenizer is read (MiniMind's).
const ROUGH_VOCABULARY: usize = 6400;
/// "About 20 times" is the rule of thumb; this is far above.
const LARGEST_RATIO: f64 = 30.0;

impl Rules<'_> {
    pub(super) fn check_models(&mut self, config: &RunConfig, site: &Site<'_>) {
        self.check_student(config, site);
        self.check_teacher(config, site);
        self.check_pair(config, site);
    }

    fn check_student(&mut self, config: &RunConfig, site: &Site<'_>) {
        let student = &config.student;
        self.check_source("student", student.path.is_some(), student.run.is_some(), site);
        let is_random = student.path.is_none() && student.run.is_none();
        if is_random && !student.size.is_declared() {
            return self.error(
                site,
                &Breach {
                    rule: Some("no student"),
                    keys: &["student"],
                    message: "[student] has neither sizes nor a `path` nor a `run`".to_owned(),
                    label: "no student".to_owned(),
                    help: "write `hidden_size` and `layers` for one that starts at random, the `path` of a \
                           Hugging Face directory, or the `run` of the store that trained it"
                        .to_owned(),
                },
            );
        }
        // With a checkpoint, sizes that are left out are the checkpoint's.
        let is_whole = student.size.hidden_size.is_some() && student.size.layers.is_some();
        if is_random || is_whole {
            self.check_size("student", &student.size, site);
        }
        self.check_vocabulary("student", is_random, &student.size, config, site);
    }

    fn check_teacher(&mut self, config: &RunConfig, site: &Site<'_>) {
        let Some(teacher) = &config.teacher else {
            if config.loss.kind != LossKind::None {
                let breach = Breach {
                    rule: Some("no teacher"),
                    keys: &["loss.kind", "teacher"],
                    message: "a soft loss (`loss.kind`) needs a teacher, and there is no [teacher]"
                        .to_owned(),
                    label: "no [teacher]".to_owned(),
                    help:
                        "add [teacher] with sizes or a `path`, or write `loss.kind = \"none\"` to learn from \
                           labels alone"
                            .to_owned(),
                };
                self.error(site, &breach);
            }
            return;
        };
        self.check_signal(config, teacher, site);
        let sizes = declared_keys("teacher", &teacher.size);
        self.check_source("teacher", teacher.path.is_some(), teacher.run.is_some(), site);
        // Where the model is read from, if kdx does not train one for this experiment.
        let source = match (&teacher.path, &teacher.run) {
            (Some(_), _) => Some("path"),
            (None, Some(_)) => Some("run"),
            (None, None) => None,
        };
        let Some(source) = source else {
            if !teacher.size.is_declared() {
                return self.error(
                    site,
                    &Breach {
                        rule: Some("empty teacher"),
                        keys: &["teacher"],
                        message: "[teacher] has neither sizes nor a `path` nor a `run`".to_owned(),
                        label: "no teacher".to_owned(),
                        help: "write `hidden_size` and `layers` for one that kdx trains, the `path` of a \
                               Hugging Face directory, or the `run` of the store that trained it"
                            .to_owned(),
                    },
                );
            }
            self.check_size("teacher", &teacher.size, site);
            return self.check_vocabulary("teacher", true, &teacher.size, config, site);
        };
        let key = format!("teacher.{source}");
        if let Some(size) = sizes.first() {
            let breach = Breach {
                rule: Some("two teachers"),
                keys: &[&key, size],
                message: format!("[teacher] has both a `{source}` and sizes (`{size}`)"),
                label: "read from here, or trained by kdx?".to_owned(),
                help: format!(
                    "remove the sizes to read the teacher from `{source}`, or `{source}` to let kdx train one"
                ),
            };
            self.error(site, &breach);
        }
        for (section, is_given) in [
            ("teacher.train", teacher.train.is_some()),
            ("teacher.optimizer", teacher.optimizer.is_some()),
            ("teacher.schedule", teacher.schedule.is_some()),
        ] {
            if is_given {
                let breach = Breach {
                    rule: Some("trained teacher"),
                    keys: &[section, &key],
                    message: format!(
                        "[{section}] is for a teacher that kdx trains, this one has a `{source}`"
                    ),
                    label: "not used".to_owned(),
                    help: format!("remove [{section}], or declare the teacher by its sizes"),
                };
                self.error(site, &breach);
            }
        }
    }

    /// A model comes from one place.
    fn check_source(&mut self, model: &str, has_path: bool, has_run: bool, site: &Site<'_>) {
        if !has_path || !has_run {
            return;
        }
        let (path, run) = (format!("{model}.path"), format!("{model}.run"));
        let breach = Breach {
            rule: Some("two sources"),
            keys: &[&path, &run],
            message: format!("[{model}] has both a `path` and a `run`"),
            label: "which of the two?".to_owned(),
            help: "`path` is a Hugging Face directory, `run` a run of the store: remove one".to_owned(),
        };
        self.error(site, &breach);
    }

    /// More logits than the student has tokens cannot be kept. Where the vocabulary is the
    /// tokenizer's, only the run knows it.
    fn check_signal(&mut self, config: &RunConfig, teacher: &TeacherConfig, site: &Site<'_>) {
        let Some(vocabulary) = config.student.size.vocab_size else { return };
        if teacher.signal != SignalKind::Topk || teacher.top_k() <= vocabulary {
            return;
        }
        let breach = Breach {
            rule: Some("top k"),
            keys: &["teacher.top_k", "student.vocab_size", "teacher.signal"],
            message: format!(
                "`teacher.top_k = {}` is more than the tokens of the vocabulary (`student.vocab_size = \
                 {vocabulary}`)",
                teacher.top_k()
            ),
            label: "too many".to_owned(),
            help:
                "16 to 256 logits hold nearly all of a teacher's probability; `teacher.signal = \"hidden\"` \
                   keeps everything"
                    .to_owned(),
        };
        self.error(site, &breach);
    }

    fn check_size(&mut self, model: &'static str, size: &SizeConfig, site: &Site<'_>) {
        let Err(error) = size.resolve(ROUGH_VOCABULARY) else { return };
        let key = |name: &str| format!("{model}.{name}");
        let (first, width, heads) = (key(error.key()), key("hidden_size"), key("heads"));
        let help = error.help().map_or_else(String::new, |help| help.to_string());
        self.error(
            site,
            &Breach {
                rule: Some("sizes"),
                keys: &[&first, &width, &heads],
                message: format!("[{model}]: {error}"),
                label: format!("`{first}`"),
                help,
            },
        );
    }

    /// A random model over tokens that no tokenizer explains must say how many there are.
    fn check_vocabulary(
        &mut self,
        model: &'static str,
        is_random: bool,
        size: &SizeConfig,
        config: &RunConfig,
        site: &Site<'_>,
    ) {
        let has_tokenizer = config.data.tokenizer.is_some()
            || config.student.path.is_some()
            || config.student.run.is_some()
            || config.teacher.as_ref().is_some_and(|teacher| teacher.path.is_some() || teacher.run.is_some());
        let is_tokenized = config.data.format == DataFormat::Tokenized;
        if !is_random || !is_tokenized || has_tokenizer || size.vocab_size.is_some() {
            return;
        }
        let key = format!("{model}.vocab_size");
        self.error(
            site,
            &Breach {
                rule: Some("vocabulary"),
                keys: &[&key, "data.format", "data.tokenizer"],
                message: format!("`{key}` is missing: `tokenized` data without a tokenizer does not tell it"),
                label: "no vocabulary".to_owned(),
                help: format!("write `vocab_size` in [{model}], or name `data.tokenizer`"),
            },
        );
    }

    fn check_pair(&mut self, config: &RunConfig, site: &Site<'_>) {
        let Some(teacher) = &config.teacher else { return };
        let (large, small) = (&teacher.size, &config.student.size);
        if let (Some(teacher_rows), Some(student_rows)) = (large.vocab_size, small.vocab_size)
            && teacher_rows < student_rows
        {
            let breach = Breach {
                rule: Some("narrow teacher"),
                keys: &["teacher.vocab_size", "student.vocab_size"],
                message: format!(
                    "`teacher.vocab_size = {teacher_rows}` is smaller than \
                     `student.vocab_size = {student_rows}`"
                ),
                label: "too small".to_owned(),
                help: "the teacher must know every token of the student; a wider one is cut".to_owned(),
            };
            self.error(site, &breach);
        }
        let is_declared = |path: bool, run: bool| !path && !run;
        if !is_declared(teacher.path.is_some(), teacher.run.is_some())
            || !is_declared(config.student.path.is_some(), config.student.run.is_some())
        {
            return;
        }
        let [large, small] = [large, small].map(|size| ModelConfig::from_size(size, ROUGH_VOCABULARY));
        let (Ok(large), Ok(small)) = (large, small) else { return };
        let ratio = large.parameters() as f64 / small.parameters() as f64;
        if ratio > LARGEST_RATIO {
            let breach = Breach {
                rule: Some("ratio"),
                keys: &["teacher.hidden_size", "student.hidden_size", "teacher.layers", "student.layers"],
                message: format!(
                    "the teacher (`teacher.hidden_size`) has {ratio:.0} times the student's parameters"
                ),
                label: "a large teacher".to_owned(),
                help: "students learn little from teachers far above 20 times their size: take a smaller \
                       teacher or a larger student"
                    .to_owned(),
            };
            self.warn(site, &breach);
        }
    }
}

/// The dotted keys of the sizes that are given.
fn declared_keys(model: &str, size: &SizeConfig) -> Vec<String> {
    match serde_json::to_value(size) {
        Ok(serde_json::Value::Object(given)) => given.keys().map(|name| format!("{model}.{name}")).collect(),
        _ => Vec::new(),
    }
}
