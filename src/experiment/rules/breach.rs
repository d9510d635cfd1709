//! A broken rule, and where it is reported: at the first of its keys that the user gave.

use super::files::Files;
use crate::experiment::axes::axis::Assignment;
use crate::experiment::layers::merge::Merged;
use crate::experiment::read::problem::{Draft, Report};
use crate::experiment::read::source::At;
use crate::spec::SearchConfig;

/// Where the values of one point come from.
pub(crate) struct Site<'a> {
    pub merged: &'a Merged<'a>,
    /// The values that the axes, or an included point, give it.
    pub assignments: &'a [&'a Assignment],
}

impl Site<'_> {
    pub(super) fn assignment(&self, key: &str) -> Option<&Assignment> {
        self.assignments.iter().rev().find(|assignment| assignment.key == key).copied()
    }

    /// Whether the user gave the key a value.
    pub(super) fn declares(&self, key: &str) -> bool {
        self.assignment(key).is_some() || self.merged.declares(key)
    }

    /// Where the key has its value from, or the nearest section around it.
    pub(super) fn place(&self, key: &str) -> At {
        self.assignment(key).map_or_else(|| self.merged.place(key), |assignment| assignment.at)
    }
}

/// A broken rule: the keys it is about, the responsible one first.
pub(super) struct Breach<'k> {
    /// Names the rule where it is reported once at a place; none where every message counts.
    pub rule: Option<&'static str>,
    pub keys: &'k [&'k str],
    pub message: String,
    pub label: String,
    pub help: String,
}

/// Checks points, and collects what is wrong or questionable about them.
pub(crate) struct Rules<'a> {
    pub(super) search: &'a SearchConfig,
    pub errors: &'a mut Report,
    pub warnings: &'a mut Report,
    pub(super) files: Files,
}

impl<'a> Rules<'a> {
    /// Rules that report to the two.
    pub fn new(search: &'a SearchConfig, errors: &'a mut Report, warnings: &'a mut Report) -> Self {
        Self { search, errors, warnings, files: Files::default() }
    }

    pub(super) fn error(&mut self, site: &Site<'_>, breach: &Breach<'_>) {
        if let Some(draft) = self.draft(site, breach) {
            self.errors.push(draft);
        }
    }

    pub(super) fn warn(&mut self, site: &Site<'_>, breach: &Breach<'_>) {
        if let Some(draft) = self.draft(site, breach) {
            self.warnings.push(draft);
        }
    }

    /// The breach at the first of its keys that the user gave, or nothing where a key has another
    /// value than the user wrote because that was wrong.
    fn draft(&self, site: &Site<'_>, breach: &Breach<'_>) -> Option<Draft> {
        if breach.keys.iter().any(|key| self.errors.is_tainted(key)) {
            return None;
        }
        let mut given = breach.keys.iter().filter(|key| site.declares(key)).map(|key| site.place(key));
        let at = given.next().unwrap_or_else(|| site.place(breach.keys[0]));
        let mut draft = Draft::new(at, &breach.message).label(&breach.label).help(&breach.help);
        if let Some(rule) = breach.rule {
            draft = draft.rule(rule);
        }
        Some(match given.find(|other| *other != at) {
            Some(other) => draft.also(other, "with this"),
            None => draft,
        })
    }
}
