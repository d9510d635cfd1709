//! Where values are declared: files, environment variables, flags, and places in them.

use std::path::PathBuf;
use std::sync::Arc;

use miette::{NamedSource, SourceSpan};

/// A text that declares values.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    kind: SourceKind,
    /// What the user wrote, with the key: diagnostics show lines of it.
    pub text: Arc<str>,
    /// What relative paths in it are relative to; absolute.
    pub directory: PathBuf,
}

#[derive(Debug, Clone)]
enum SourceKind {
    File(PathBuf),
    /// The variable's name.
    Variable(String),
    Flag,
}

impl Source {
    /// An experiment file, under the name by which the user knows it.
    pub fn file(path: PathBuf, text: &str, directory: PathBuf) -> Self {
        Self { kind: SourceKind::File(path), text: text.into(), directory }
    }

    /// An environment variable; the text is `NAME=value`.
    pub fn variable(name: String, text: &str, directory: PathBuf) -> Self {
        Self { kind: SourceKind::Variable(name), text: text.into(), directory }
    }

    /// The argument of a `--set`.
    pub fn flag(text: &str, directory: PathBuf) -> Self {
        Self { kind: SourceKind::Flag, text: text.into(), directory }
    }

    /// Whether it is a file, which alone may extend another.
    pub fn is_file(&self) -> bool {
        matches!(self.kind, SourceKind::File(_))
    }

    /// The name over an excerpt.
    fn name(&self) -> String {
        match &self.kind {
            SourceKind::File(path) => path.display().to_string(),
            SourceKind::Variable(name) => format!("environment variable {name}"),
            SourceKind::Flag => "--set".to_owned(),
        }
    }

    /// A place in words: `file:line:column`, the variable, or the flag.
    fn place(&self, at: At) -> String {
        match &self.kind {
            SourceKind::File(path) => {
                let before = self.text.get(..at.start).unwrap_or(&self.text);
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                format!("{}:{line}:{column}", path.display())
            }
            SourceKind::Variable(name) => format!("environment variable {name}"),
            SourceKind::Flag => format!("--set {}", self.text),
        }
    }
}

/// A stretch of a source, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct At {
    pub source: usize,
    pub start: usize,
    pub end: usize,
}

impl At {
    /// The stretch as miette wants it.
    pub fn span(self) -> SourceSpan {
        (self.start, self.end - self.start).into()
    }
}

/// All sources of one experiment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources(Vec<Source>);

impl Sources {
    /// Adds a source and returns its index.
    pub fn add(&mut self, source: Source) -> usize {
        self.0.push(source);
        self.0.len() - 1
    }

    /// The source that an index names.
    pub fn get(&self, index: usize) -> &Source {
        &self.0[index]
    }

    /// A place in words.
    pub fn place(&self, at: At) -> String {
        self.get(at.source).place(at)
    }

    /// The source of a place, for an excerpt.
    pub fn excerpt(&self, at: At) -> NamedSource<Arc<str>> {
        let source = self.get(at.source);
        NamedSource::new(source.name(), Arc::clone(&source.text))
    }
}
