//! What is wrong with an experiment: every problem with its place, an excerpt and advice.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};

use crate::experiment::key::is_within;
use crate::experiment::read::source::{At, Sources};

/// More problems than this are counted, not shown.
const SHOWN: usize = 50;

/// A problem under construction.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    message: String,
    at: Option<At>,
    label: String,
    also: Option<(At, String)>,
    help: Option<String>,
    rule: Option<&'static str>,
}

impl Draft {
    /// A problem with what stands at a place.
    pub fn new(at: At, message: impl Into<String>) -> Self {
        Self { at: Some(at), label: "here".to_owned(), ..Self::nowhere(message) }
    }

    /// A problem that no place in a source stands for.
    pub fn nowhere(message: impl Into<String>) -> Self {
        Self { message: message.into(), at: None, label: String::new(), also: None, help: None, rule: None }
    }

    /// The words under the excerpt.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// What to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The rule that is broken: at one place it is reported once, whatever the message says.
    pub fn rule(mut self, rule: &'static str) -> Self {
        self.rule = Some(rule);
        self
    }

    /// A second place that matters; it is shown in the excerpt, or told in the advice where it
    /// stands in another source.
    pub fn also(mut self, at: At, label: impl Into<String>) -> Self {
        self.also = Some((at, label.into()));
        self
    }

    fn finish(self, sources: &Sources, severity: Severity) -> Problem {
        let mut help = self.help;
        let mut labels = Vec::new();
        if let Some(at) = self.at {
            labels.push(LabeledSpan::new_primary_with_span(Some(self.label), at.span()));
        }
        if let Some((other, label)) = self.also {
            if self.at.is_some_and(|at| at.source == other.source) {
                labels.push(LabeledSpan::new_with_span(Some(label), other.span()));
            } else {
                let told = format!("{label}: {}", sources.place(other));
                help = Some(help.map_or(told.clone(), |help| format!("{help}\n{told}")));
            }
        }
        Problem {
            message: self.message,
            place: self.at.map(|at| sources.place(at)),
            source: self.at.map(|at| sources.excerpt(at)),
            labels,
            help,
            severity,
        }
    }
}

/// Collects the problems of all layers, and remembers which keys they leave unknown.
#[derive(Debug, Default)]
pub(crate) struct Report {
    drafts: Vec<Draft>,
    seen: HashSet<(Option<At>, Option<At>, String)>,
    tainted: BTreeSet<String>,
}

impl Report {
    /// Adds a problem, once.
    pub fn push(&mut self, draft: Draft) {
        let also = draft.also.as_ref().map(|(at, _)| *at);
        let what = draft.rule.unwrap_or(&draft.message).to_owned();
        if self.seen.insert((draft.at, also, what)) {
            self.drafts.push(draft);
        }
    }

    /// Marks a key, or a section with all its keys, as declared wrongly, so that nothing is said
    /// about the value that it has instead. The empty key stands for the whole experiment.
    pub fn taint(&mut self, key: impl Into<String>) {
        self.tainted.insert(key.into());
    }

    /// Whether the value of a key, or of a key in or around it, is not what the user declared.
    pub fn is_tainted(&self, key: &str) -> bool {
        self.tainted
            .iter()
            .any(|tainted| tainted.is_empty() || is_within(key, tainted) || is_within(tainted, key))
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }

    /// All problems, in the order of their places.
    pub fn finish(self, path: &Path, sources: &Sources) -> Problems {
        let mut drafts = self.drafts;
        drafts.sort_by_key(|draft| draft.at);
        let problems = drafts.into_iter().map(|d| d.finish(sources, Severity::Error)).collect();
        Problems { path: path.to_owned(), problems }
    }

    /// All problems as warnings.
    pub fn into_warnings(self, sources: &Sources) -> Vec<Warning> {
        let mut drafts = self.drafts;
        drafts.sort_by_key(|draft| draft.at);
        drafts.into_iter().map(|d| Warning(d.finish(sources, Severity::Warning))).collect()
    }
}

/// One thing that is wrong. Renders with an excerpt of its source.
#[derive(Clone)]
pub struct Problem {
    message: String,
    place: Option<String>,
    source: Option<NamedSource<Arc<str>>>,
    labels: Vec<LabeledSpan>,
    help: Option<String>,
    severity: Severity,
}

impl Problem {
    /// Where it is: `file:line:column`, or the name of the variable or flag.
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// What to do about it.
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

/// What is wrong; the alternate form, `{:#}`, has the place before it and the advice after it.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return f.write_str(&self.message);
        }
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({})", help.replace('\n', "; ")),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:#}")
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty())
            .then(|| Box::new(self.labels.iter().cloned()) as Box<dyn Iterator<Item = _>>)
    }
}

/// Everything that is wrong with an experiment: one diagnostic that holds them all.
#[derive(Clone)]
pub struct Problems {
    path: PathBuf,
    problems: Vec<Problem>,
}

impl Problems {
    /// The problems, in the order of the layers and of the lines in them.
    pub fn as_slice(&self) -> &[Problem] {
        &self.problems
    }
}

/// How many there are; the alternate form, `{:#}`, has a line for each.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.problems.len() == 1 { "problem" } else { "problems" };
        write!(f, "{} {plural} in {}", self.problems.len(), self.path.display())?;
        if f.alternate() {
            for problem in &self.problems {
                write!(f, "\n{problem:#}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:#}")
    }
}

impl std::error::Error for Problems {}

impl Diagnostic for Problems {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let hidden = self.problems.len().checked_sub(SHOWN).filter(|&hidden| hidden > 0)?;
        Some(Box::new(format!("the first {SHOWN} are shown, {hidden} more are not")))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().take(SHOWN).map(|problem| problem as &dyn Diagnostic)))
    }
}

/// Something that is allowed, but against the field's rules of thumb or without effect.
#[derive(Debug, Clone)]
pub struct Warning(Problem);

impl Warning {
    /// The warning as a diagnostic with an excerpt.
    pub fn as_problem(&self) -> &Problem {
        &self.0
    }
}

/// One line: the place, what is questionable, and advice.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}
