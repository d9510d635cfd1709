//! Rules that make the values of an axis: `linspace`, `logspace`, `range`.

use super::axis::MOST_POINTS;
use super::names::{DISTRIBUTIONS, RULES};
use crate::experiment::read::document::{Entry, Kind, Node};
use crate::experiment::read::problem::Draft;
use crate::experiment::schema::shape::Shape;
use crate::experiment::suggest;

/// The numbers that a rule makes.
pub(crate) fn make_values(
    rule: &[Entry],
    node: &Node,
    shape: &Shape,
    key: &str,
) -> Result<Vec<Kind>, Box<Draft>> {
    let whole = match shape {
        Shape::Whole(_) => true,
        Shape::Number(_) => false,
        _ => {
            let message = format!("`{key}` must be {shape}: no rule makes such values");
            return Err(Draft::new(node.at, message)
                .label("a rule makes numbers")
                .help("list the values")
                .into());
        }
    };
    let [entry] = rule else {
        let message = format!("the axis `{key}` needs exactly one of {}", RULES.join(", "));
        return Err(Draft::new(node.at, message)
            .label(format!("{} rules", rule.len()))
            .help(list_forms(key))
            .into());
    };
    if DISTRIBUTIONS.contains(&entry.name.as_str()) {
        let message =
            format!("`{}` draws values of `{key}` at random: it belongs under [search.space]", entry.name);
        return Err(Draft::new(entry.name_at, message).label("no rule").help(list_forms(key)).into());
    }
    let Some(form) = RULES.into_iter().find(|known| *known == entry.name) else {
        let near = suggest::find_nearest(&entry.name, RULES).map(|near| format!(", did you mean `{near}`?"));
        let message =
            format!("unknown rule `{}` for the axis `{key}`{}", entry.name, near.unwrap_or_default());
        return Err(Draft::new(entry.name_at, message).label("unknown rule").help(list_forms(key)).into());
    };
    let malformed = |found: String| -> Box<Draft> {
        let message =
            format!("`{form}` of the axis `{key}` must be {}, found {found}", spell_arguments(form));
        let label = format!("expected {}", spell_arguments(form));
        Draft::new(entry.node.at, message).label(label).help(list_forms(key)).into()
    };
    let Kind::List(items) = &entry.node.kind else { return Err(malformed(entry.node.in_words())) };
    let [first, second, third] = items.as_slice() else {
        return Err(malformed(format!("{} items", items.len())));
    };
    let mut numbers = [0.0; 3];
    for (number, item) in numbers.iter_mut().zip([first, second, third]) {
        *number = item.finite_number().ok_or_else(|| malformed(item.in_words()))?;
    }
    let [start, end, last] = numbers;
    let values = match form {
        "range" => match (&first.kind, &second.kind, &third.kind) {
            (Kind::Integer(start), Kind::Integer(stop), Kind::Integer(step)) => {
                return make_whole_range(*start, *stop, *step).map_err(|reason| refuse(third, key, &reason));
            }
            _ => make_range(start, end, last).map_err(|reason| refuse(third, key, &reason))?,
        },
        _ => {
            let count = read_count(third).map_err(|reason| refuse(third, key, &reason))?;
            if form == "logspace" && (start <= 0.0 || end <= 0.0) {
                let item = if start <= 0.0 { first } else { second };
                return Err(refuse(
                    item,
                    key,
                    "`logspace` goes by equal ratios, so both ends must be above 0",
                ));
            }
            make_steps(start, end, count, form == "logspace")
        }
    };
    if !whole {
        return Ok(values.into_iter().map(Kind::Float).collect());
    }
    values
        .into_iter()
        .map(|value| match value.fract() == 0.0 {
            true => Ok(Kind::Integer(value as i128)),
            false => {
                Err(refuse(&entry.node, key, &format!("`{key}` must be {shape}, and `{form}` makes {value}")))
            }
        })
        .collect()
}

fn spell_arguments(form: &str) -> &'static str {
    if form == "range" { "[start, stop, step]" } else { "[a, b, n]" }
}

fn list_forms(key: &str) -> String {
    format!(
        "write \"{key}\" = {{ linspace = [a, b, n] }} for n equal steps from a to b, \
         {{ logspace = [a, b, n] }} for n equal ratios, or {{ range = [start, stop, step] }}, which leaves \
         stop out"
    )
}

fn refuse(item: &Node, key: &str, reason: &str) -> Box<Draft> {
    Draft::new(item.at, format!("the axis `{key}` is not right: {reason}"))
        .label("here")
        .help(list_forms(key))
        .into()
}

fn read_count(node: &Node) -> Result<usize, String> {
    match node.kind {
        Kind::Integer(count) if (2..=MOST_POINTS as i128).contains(&count) => Ok(count as usize),
        _ => Err(format!("n must be a whole number from 2 to {MOST_POINTS}, found {}", node.in_words())),
    }
}

/// `count` values from `start` to `end`, both included exactly.
fn make_steps(start: f64, end: f64, count: usize, by_ratio: bool) -> Vec<f64> {
    let last = count - 1;
    (0..count)
        .map(|index| {
            let part = index as f64 / last as f64;
            match index {
                0 => start,
                _ if index == last => end,
                _ if by_ratio => round(start * (end / start).powf(part)),
                _ => round(start + (end - start) * part),
            }
        })
        .collect()
}

/// Values from `start` by `step`, `stop` left out, also where rounding puts the last just below it.
fn make_range(start: f64, stop: f64, step: f64) -> Result<Vec<f64>, String> {
    let steps = (stop - start) / step;
    if step == 0.0 || steps < 0.0 {
        return Err(describe_wrong_step(start, stop, step));
    }
    let count = (steps - 1e-9 * steps.max(1.0)).ceil().max(0.0);
    if count > MOST_POINTS as f64 {
        return Err(format!("it has more than {MOST_POINTS} values"));
    }
    Ok((0..count as usize).map(|index| round(start + index as f64 * step)).collect())
}

fn make_whole_range(start: i128, stop: i128, step: i128) -> Result<Vec<Kind>, String> {
    let distance = stop.saturating_sub(start);
    if step == 0 || (distance != 0 && (distance > 0) != (step > 0)) {
        return Err(describe_wrong_step(start, stop, step));
    }
    let count = distance.unsigned_abs().div_ceil(step.unsigned_abs());
    if count > MOST_POINTS as u128 {
        return Err(format!("it has more than {MOST_POINTS} values"));
    }
    Ok((0..count as i128)
        .map(|index| Kind::Integer(start.saturating_add(index.saturating_mul(step))))
        .collect())
}

fn describe_wrong_step(
    start: impl std::fmt::Display,
    stop: impl std::fmt::Display,
    step: impl std::fmt::Display,
) -> String {
    format!("steps of {step} never lead from {start} to {stop}")
}

/// Twelve significant digits, so that steps of 0.1 read 0.3 and not 0.30000000000000004.
fn round(value: f64) -> f64 {
    format!("{value:.11e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linspace_has_both_ends_and_clean_steps() {
        assert_eq!(make_steps(0.1, 0.5, 5, false), [0.1, 0.2, 0.3, 0.4, 0.5]);
        assert_eq!(make_steps(0.0, 1.0, 4, false)[1], 0.333333333333);
        assert_eq!(make_steps(3.0, 1.0, 3, false), [3.0, 2.0, 1.0]);
    }

    #[test]
    fn logspace_goes_by_equal_ratios() {
        assert_eq!(make_steps(1e-4, 1e-2, 3, true), [1e-4, 1e-3, 1e-2]);
        assert_eq!(make_steps(1.0, 8.0, 4, true), [1.0, 2.0, 4.0, 8.0]);
    }

    #[test]
    fn range_leaves_its_stop_out_in_spite_of_rounding() {
        // 0.1 + 2 * 0.1 is above 0.3, and (0.7 - 0.1) / 0.2 is below 3.
        assert_eq!(make_range(0.1, 0.4, 0.1).unwrap(), [0.1, 0.2, 0.3]);
        assert_eq!(make_range(0.1, 0.7, 0.2).unwrap(), [0.1, 0.3, 0.5]);
        assert_eq!(make_range(1.0, 0.0, -0.5).unwrap(), [1.0, 0.5]);
        assert!(make_range(1.0, 1.0, 0.5).unwrap().is_empty());
        assert!(make_range(0.0, 1.0, 0.0).is_err());
        assert!(make_range(0.0, 1.0, -0.1).is_err());
        assert!(make_range(0.0, 1.0, 1e-9).is_err());
    }

    #[test]
    fn whole_ranges_are_exact() {
        let integers = |kinds: Vec<Kind>| -> Vec<i128> {
            kinds.into_iter().map(|kind| if let Kind::Integer(n) = kind { n } else { panic!() }).collect()
        };
        assert_eq!(integers(make_whole_range(0, 7, 3).unwrap()), [0, 3, 6]);
        assert_eq!(integers(make_whole_range(5, 0, -5).unwrap()), [5]);
        assert!(make_whole_range(0, 7, -1).is_err());
        assert!(make_whole_range(0, 7, 0).is_err());
        assert!(make_whole_range(i128::MIN, i128::MAX, 1).is_err());
    }
}
