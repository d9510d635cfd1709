//! `[search.space]`: distributions over the values of keys, and what is drawn from them.
//!
//! What is drawn for a key in a point depends on the seed, the key and the number of the point alone: so
//! more samples only add points, and neither the order of the keys nor another key changes anything.

use serde_json::Value;

use super::axis::{Assignment, Axis, list_keys};
use super::grid::GridReader;
use super::names::{DISTRIBUTIONS, is_rule};
use crate::experiment::read::check;
use crate::experiment::read::document::{Entry, Kind, Node};
use crate::experiment::read::problem::Draft;
use crate::experiment::read::source::At;
use crate::experiment::schema::shape::{Shape, Shapes};
use crate::experiment::suggest;
use crate::spec::Random;

/// Names the stream of random numbers; another name draws other points.
const PURPOSE: &str = "kdx search.space 1";

/// Significant digits of a draw from a wide interval: enough to tell points apart, few enough to read.
const DIGITS: i32 = 4;

/// A key, or a section whose keys move together, and its distribution.
#[derive(Debug, Clone)]
pub(crate) struct Sampled {
    /// The key as declared, which may be a whole section.
    pub name: String,
    pub at: At,
    distribution: Distribution,
    /// Where the distribution stands.
    value_at: At,
    /// Whether the key holds whole numbers.
    whole: bool,
}

#[derive(Debug, Clone)]
enum Distribution {
    Uniform(f64, f64),
    LogUniform(f64, f64),
    Int(i64, i64),
    Choice(Vec<Vec<Assignment>>),
}

impl Sampled {
    /// The dotted keys that it moves.
    pub fn keys(&self) -> Vec<&str> {
        match &self.distribution {
            Distribution::Choice(options) => list_keys(options),
            _ => vec![&self.name],
        }
    }

    /// An axis with as many values as there are samples.
    pub fn draw(&self, samples: usize, seed: u64) -> Axis {
        let digest = *blake3::hash(self.name.as_bytes()).as_bytes();
        let (words, _) = digest.as_chunks::<8>();
        let key: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let option = |index: usize| {
            let parts: Vec<u64> =
                [seed].into_iter().chain(key.iter().copied()).chain([index as u64]).collect();
            self.draw_option(&mut Random::new(PURPOSE, &parts))
        };
        Axis { name: self.name.clone(), at: self.at, options: (0..samples).map(option).collect() }
    }

    fn draw_option(&self, random: &mut Random) -> Vec<Assignment> {
        let value = match &self.distribution {
            Distribution::Choice(options) => return random.pick(options).clone(),
            Distribution::Uniform(a, b) => Value::from(draw_uniform(*a, *b, random.unit())),
            Distribution::LogUniform(a, b) => Value::from(draw_log_uniform(*a, *b, random.unit())),
            Distribution::Int(a, b) => {
                let number = random.between(*a, *b);
                match (self.whole, u64::try_from(number)) {
                    (false, _) => Value::from(number as f64),
                    (true, Ok(number)) => Value::from(number),
                    (true, Err(_)) => Value::from(number),
                }
            }
        };
        let declared = value.clone();
        vec![Assignment { key: self.name.clone(), value, declared, at: self.value_at }]
    }
}

/// A number between `a` and `b`, `part` of the way, rounded to a thousandth of the interval or finer.
fn draw_uniform(a: f64, b: f64, part: f64) -> f64 {
    let decimals = (DIGITS - 1 - (b - a).log10().floor() as i32).clamp(0, 17) as usize;
    let value = a + (b - a) * part;
    parse_shown(&format!("{value:.decimals$}"), value).clamp(a, b)
}

/// A number between `a` and `b`, both above 0, `part` of the ratio, rounded to [`DIGITS`] significant digits,
/// and more where the two are close together.
fn draw_log_uniform(a: f64, b: f64, part: f64) -> f64 {
    let narrow = -(((b - a) / b).log10().floor() as i32) - 1;
    let digits = (DIGITS - 1 + narrow).clamp(DIGITS - 1, 15) as usize;
    let value = (a.ln() + (b.ln() - a.ln()) * part).exp();
    parse_shown(&format!("{value:.digits$e}"), value).clamp(a, b)
}

/// The number that a text shows; there is one zero.
fn parse_shown(text: &str, value: f64) -> f64 {
    text.parse().unwrap_or(value) + 0.0
}

impl GridReader<'_> {
    /// `[search.space]`: a distribution for each key.
    pub fn read_space(&mut self, node: &Node) -> Vec<Sampled> {
        let Some(entries) = node.entries() else {
            self.report_not_a_table(
                node,
                "search.space",
                "[search.space] holds distributions: \"loss.temperature\" = { uniform = [1, 4] }",
            );
            return Vec::new();
        };
        let keys = self.flatten(entries, "", "[search.space]");
        keys.into_iter().filter_map(|(key, entry)| self.read_sampled(&key, entry)).collect()
    }

    fn read_sampled(&mut self, key: &str, entry: &Entry) -> Option<Sampled> {
        let read = self.read_distribution(key, &entry.node);
        let distribution = match read {
            Ok(distribution) => distribution,
            Err(draft) => {
                self.report.taint(key);
                if let Some(draft) = draft {
                    self.report.push(*draft);
                }
                return None;
            }
        };
        let whole = matches!(Shapes::get().field(key)?.shape, Shape::Whole(_));
        Some(Sampled {
            name: key.to_owned(),
            at: entry.name_at,
            distribution,
            value_at: entry.node.at,
            whole,
        })
    }

    /// The distribution that stands at a key. An error without a draft is reported already.
    fn read_distribution(&mut self, key: &str, node: &Node) -> Result<Distribution, Option<Box<Draft>>> {
        let refused = |at: At, message: String, label: &str| {
            Some(Box::new(Draft::new(at, message).label(label).help(list_forms(key))))
        };
        let Some(entries) = node.entries() else {
            let message =
                format!("`{key}` in [search.space] must be a distribution, found {}", node.in_words());
            return Err(refused(node.at, message, "expected a distribution"));
        };
        let [entry] = entries else {
            let message =
                format!("`{key}` in [search.space] needs exactly one of {}", DISTRIBUTIONS.join(", "));
            return Err(refused(node.at, message, &format!("{} entries", entries.len())));
        };
        let name = entry.name.as_str();
        if !DISTRIBUTIONS.contains(&name) {
            if is_rule(node) {
                let message = format!("`{name}` lists all values of `{key}`: it belongs under [grid]");
                return Err(refused(entry.name_at, message, "no distribution"));
            }
            let near =
                suggest::find_nearest(name, DISTRIBUTIONS).map(|near| format!(", did you mean `{near}`?"));
            let message = format!("unknown distribution `{name}` for `{key}`{}", near.unwrap_or_default());
            return Err(refused(entry.name_at, message, "unknown distribution"));
        }
        let expected = if name == "choice" { "a list of values" } else { "[a, b]" };
        let malformed = |found: String| {
            let message = format!("`{name}` of `{key}` must be {expected}, found {found}");
            refused(entry.node.at, message, &format!("expected {expected}"))
        };
        let Kind::List(items) = &entry.node.kind else { return Err(malformed(entry.node.in_words())) };
        let Some(field) = Shapes::get().field(key) else { return Err(None) };
        if name == "choice" {
            if items.is_empty() {
                return Err(malformed("an empty list".to_owned()));
            }
            let options: Vec<_> =
                items.iter().filter_map(|item| self.read_option(item, field, key)).collect();
            return if options.len() == items.len() { Ok(Distribution::Choice(options)) } else { Err(None) };
        }
        match (&field.shape, name) {
            (Shape::Number(_), _) | (Shape::Whole(_), "int") => {}
            (Shape::Whole(_), _) => {
                let message = format!("`{key}` must be {}, and `{name}` draws fractions", field.shape);
                return Err(refused(entry.name_at, message, "use `int`"));
            }
            _ => {
                let message = format!("`{key}` must be {}: `{name}` draws numbers", field.shape);
                return Err(refused(entry.name_at, message, "use `choice`"));
            }
        }
        let [first, second] = items.as_slice() else {
            return Err(malformed(format!("{} items", items.len())));
        };
        // What lies between two allowed values is allowed: bounds are intervals.
        for item in [first, second] {
            if check::read_value(item, field, key, self.report).is_none() {
                return Err(None);
            }
        }
        let reversed =
            |what: &str| refused(entry.node.at, format!("`{name}` of `{key}` needs {what}"), "here");
        if name == "int" {
            let (Kind::Integer(a), Kind::Integer(b)) = (&first.kind, &second.kind) else {
                return Err(malformed("a fraction".to_owned()));
            };
            let (Ok(a), Ok(b)) = (i64::try_from(*a), i64::try_from(*b)) else {
                return Err(reversed("numbers of 64 bits"));
            };
            let fits = b.checked_sub(a).and_then(|width| width.checked_add(1)).is_some();
            if a > b || !fits {
                return Err(reversed("a ≤ b"));
            }
            return Ok(Distribution::Int(a, b));
        }
        let (Some(a), Some(b)) = (first.finite_number(), second.finite_number()) else {
            return Err(malformed("something else".to_owned()));
        };
        if a >= b {
            return Err(reversed("a < b"));
        }
        match name {
            "log_uniform" if a <= 0.0 => Err(reversed("both ends above 0: it draws ratios")),
            "log_uniform" => Ok(Distribution::LogUniform(a, b)),
            _ => Ok(Distribution::Uniform(a, b)),
        }
    }
}

fn list_forms(key: &str) -> String {
    format!(
        "write \"{key}\" = {{ uniform = [a, b] }}, {{ log_uniform = [a, b] }}, {{ int = [a, b] }} with both \
         ends included, or {{ choice = [ … ] }}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_few_digits_and_stay_inside() {
        assert_eq!(draw_uniform(1.0, 4.0, 0.123_456_789), 1.37);
        assert_eq!(draw_uniform(0.0, 0.01, 0.123_456_789), 0.00123);
        assert_eq!(draw_uniform(-1.0, 1.0, 0.499_999_999), 0.0);
        assert!(draw_uniform(-1.0, 1.0, 0.499_999_999).is_sign_positive());
        assert_eq!(draw_uniform(0.0, 1e6, 0.123_456_789), 123_457.0);
        assert_eq!(draw_uniform(0.00004, 1.0, 0.0), 0.00004, "rounding down would leave the interval");
        assert_eq!(draw_log_uniform(1e-4, 1e-2, 0.5), 1e-3);
        assert_eq!(draw_log_uniform(1e-4, 1e-2, 0.123), 1.762e-4);
        assert_eq!(draw_log_uniform(1.0, 1.001, 0.5), 1.0005);
    }

    #[test]
    fn digits_survive_text() {
        for index in 0..1000 {
            let part = f64::from(index) / 1000.0;
            for value in [draw_uniform(0.1, 0.7, part), draw_log_uniform(1e-5, 3.0, part)] {
                assert_eq!(
                    serde_json::from_str::<f64>(&serde_json::to_string(&value).unwrap()).unwrap(),
                    value
                );
            }
        }
    }
}
