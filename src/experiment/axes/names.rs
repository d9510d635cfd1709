//! The names of rules and distributions, which stand where keys of a section could stand.

use crate::experiment::read::document::Node;

/// Rules that make the values of an axis.
pub(crate) const RULES: [&str; 3] = ["linspace", "logspace", "range"];

/// Distributions that values are drawn from.
pub(crate) const DISTRIBUTIONS: [&str; 4] = ["uniform", "log_uniform", "int", "choice"];

/// Whether a value is meant as a rule, and not as keys of a section.
pub(crate) fn is_rule(node: &Node) -> bool {
    has_key_of(node, &RULES)
}

/// Whether a value is meant as a distribution, and not as keys of a section.
pub(crate) fn is_distribution(node: &Node) -> bool {
    has_key_of(node, &DISTRIBUTIONS)
}

fn has_key_of(node: &Node, names: &[&str]) -> bool {
    node.entries().is_some_and(|entries| entries.iter().any(|entry| names.contains(&entry.name.as_str())))
}
