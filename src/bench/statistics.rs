//! The middle and the spread of the steps.

use serde::Serialize;

/// The median of a figure, and the quantiles between which four fifths of its values lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The 10 % quantile.
    pub p10: f64,
    /// The median.
    pub median: f64,
    /// The 90 % quantile.
    pub p90: f64,
}

impl Spread {
    /// Of values that are there; zeros where there are none.
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let [p10, median, p90] = [0.1, 0.5, 0.9].map(|share| quantile(&values, share));
        Self { p10, median, p90 }
    }

    /// Whether a value lies between the 10 % and the 90 % quantile.
    pub(super) fn is_usual(&self, value: f64) -> bool {
        (self.p10..=self.p90).contains(&value)
    }
}

/// The mean of values; 0 where there are none.
pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0_u32, 0.0), |(count, sum), value| (count + 1, sum + value));
    sum / f64::from(count.max(1))
}

/// The quantile of ascending values, linear between neighbours.
fn quantile(ascending: &[f64], share: f64) -> f64 {
    let Some(last) = ascending.len().checked_sub(1) else { return 0.0 };
    let place = share * last as f64;
    let below = place.floor();
    let (low, high) = (ascending[below as usize], ascending[place.ceil() as usize]);
    low + (high - low) * (place - below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        let spread = Spread::of([40.0, 10.0, 20.0, 30.0].into_iter());
        assert_eq!(spread.median, 25.0);
        assert!((spread.p10 - 13.0).abs() < 1e-12 && (spread.p90 - 37.0).abs() < 1e-12, "{spread:?}");
        let one = Spread::of(std::iter::once(7.0));
        assert_eq!((one.p10, one.median, one.p90), (7.0, 7.0, 7.0));
    }
}
