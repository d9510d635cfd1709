//! From values to positions, with ticks that people would choose.

use crate::report::format;

/// A range of values along one direction, with its ticks.
#[derive(Debug, Clone)]
pub struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
    /// Where the ticks are, as values, with their labels.
    pub ticks: Vec<(f64, String)>,
}

/// How tick labels are written.
pub type Label = fn(f64) -> String;

impl Scale {
    /// A linear scale over `values` with some room at both ends and about `count` ticks. None
    /// without values.
    pub fn linear(values: impl IntoIterator<Item = f64>, count: usize) -> Option<Self> {
        let (low, high) = range(values)?;
        let (low, high) = padded(low, high, low.abs().max(high.abs()) * 0.05);
        let step = nice_step((high - low) / count.max(1) as f64);
        let digits = (-step.log10().floor()).max(0.0) as usize;
        let first = (low / step).ceil() as i64;
        let last = (high / step).floor() as i64;
        let ticks =
            (first..=last).map(|i| i as f64 * step).map(|v| (v, format::decimals(v, digits))).collect();
        Some(Self { low, high, is_log: false, ticks })
    }

    /// A logarithmic scale over the positive ones of `values`. None without any.
    pub fn log(values: impl IntoIterator<Item = f64>, label: Label) -> Option<Self> {
        let (low, high) = range(values.into_iter().filter(|v| *v > 0.0))?;
        let (low, high) = padded(low.log10(), high.log10(), 0.3);
        let multiples = |factors: &[f64]| -> Vec<f64> {
            let decades = low.floor() as i32..=high.ceil() as i32;
            let all = decades.flat_map(|d| factors.iter().map(move |f| f * 10f64.powi(d)));
            all.filter(|v| (low..=high).contains(&v.log10())).collect()
        };
        let candidates = [&[1.0][..], &[1.0, 3.0], &[1.0, 2.0, 5.0], &[1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0]];
        let mut ticks = candidates.into_iter().map(multiples).find(|t| t.len() >= 4).unwrap_or_default();
        if ticks.is_empty() {
            // Less than a decade: steps as on a linear scale.
            let linear = Self::linear([10f64.powf(low), 10f64.powf(high)], 5);
            let inside = |v: &f64| *v > 0.0 && (low..=high).contains(&v.log10());
            ticks = linear
                .map(|s| s.ticks.into_iter().map(|(v, _)| v).filter(inside).collect())
                .unwrap_or_default();
        }
        let ticks = ticks.into_iter().map(|v| (v, label(v))).collect();
        Some(Self { low, high, is_log: true, ticks })
    }

    /// A scale with ticks at the values themselves. None without values.
    pub fn at(values: &[f64], is_log: bool, labels: &[String]) -> Option<Self> {
        let shown = |v: f64| if is_log { v.log10() } else { v };
        let (low, high) = range(values.iter().map(|v| shown(*v)))?;
        let (low, high) = padded(low, high, 0.5);
        let ticks = values.iter().copied().zip(labels.iter().cloned()).collect();
        Some(Self { low, high, is_log, ticks })
    }

    /// Positions 0, 1, 2, … from the start of the direction, each with its name.
    pub fn categories(names: &[String]) -> Self {
        let ticks = names.iter().enumerate().map(|(i, name)| (i as f64, name.clone())).collect();
        Self { low: -0.5, high: names.len() as f64 - 0.5, is_log: false, ticks }
    }

    /// The same in the other direction: what was first is last.
    pub fn reversed(self) -> Self {
        Self { low: self.high, high: self.low, ..self }
    }

    /// Where `value` is: 0 at the start, 1 at the end.
    pub fn fraction(&self, value: f64) -> f64 {
        let shown = if self.is_log { value.log10() } else { value };
        (shown - self.low) / (self.high - self.low)
    }
}

fn range(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let mut finite = values.into_iter().filter(|v| v.is_finite());
    let first = finite.next()?;
    Some(finite.fold((first, first), |(low, high), v| (low.min(v), high.max(v))))
}

/// Room at both ends; `alone` on each side of a single value.
fn padded(low: f64, high: f64, alone: f64) -> (f64, f64) {
    let room = if high > low { (high - low) * 0.06 } else { alone };
    let room = if room > 0.0 { room } else { 1.0 };
    (low - room, high + room)
}

/// 1, 2 or 5 times a power of ten, the nearest to `step` by ratio.
fn nice_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factor = step / power;
    // The limits are the geometric means of neighbours.
    let nice = match factor {
        f if f < 2f64.sqrt() => 1.0,
        f if f < 10f64.sqrt() => 2.0,
        f if f < 50f64.sqrt() => 5.0,
        _ => 10.0,
    };
    nice * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale) -> Vec<&str> {
        scale.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn linear_ticks_are_round() {
        assert_eq!(
            labels(&Scale::linear([1.21, 1.49], 5).unwrap()),
            ["1.20", "1.25", "1.30", "1.35", "1.40", "1.45", "1.50"]
        );
        assert_eq!(labels(&Scale::linear([0.0, 100.0], 5).unwrap()), ["0", "20", "40", "60", "80", "100"]);
        let one = Scale::linear([1.3], 5).unwrap();
        assert!((one.fraction(1.3) - 0.5).abs() < 1e-9 && one.ticks.len() >= 2);
        assert!(Scale::linear([], 5).is_none());
        assert!(!Scale::linear([0.0, 0.0], 5).unwrap().ticks.is_empty());
    }

    #[test]
    fn log_ticks_fit_the_range() {
        assert_eq!(
            labels(&Scale::log([1e3, 1e6], format::short_count).unwrap()),
            ["1 k", "10 k", "100 k", "1 M"]
        );
        assert_eq!(labels(&Scale::log([1.0, 7.0], format::value).unwrap()), ["1", "1.5", "2", "3", "4", "6"]);
        assert!(labels(&Scale::log([1.20, 1.25], format::value).unwrap()).len() >= 2);
        assert!(Scale::log([0.0, -1.0], format::value).is_none());
    }

    #[test]
    fn positions_run_from_start_to_end() {
        let log = Scale::at(&[1.0, 10.0, 100.0], true, &["1", "10", "100"].map(str::to_owned)).unwrap();
        assert!((log.fraction(10.0) - 0.5).abs() < 1e-12);
        let rows = Scale::categories(&["a", "b"].map(str::to_owned)).reversed();
        assert!((rows.fraction(0.0) - 0.75).abs() < 1e-12 && (rows.fraction(1.0) - 0.25).abs() < 1e-12);
    }
}
