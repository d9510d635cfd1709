//! Means, intervals and tests from few seeds: Student's t throughout.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// A mean over seeds and how far it can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// Number of values.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation (n − 1 in the denominator); none for one value.
    pub std: Option<f64>,
}

impl Sample {
    /// Mean and standard deviation; none without values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let std =
            (n > 1).then(|| (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1) as f64).sqrt());
        Some(Self { n, mean, std })
    }

    /// Half the width of the confidence interval of the mean; none for one value.
    pub fn margin(&self, confidence: f64) -> Option<f64> {
        self.std.map(|std| t_quantile((self.n - 1) as f64, confidence) * std / (self.n as f64).sqrt())
    }
}

/// How a difference of means was tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// Student's t test of the differences between runs of the same seed. The same seed gives the
    /// same initial weights and data order, so much of the noise cancels.
    Paired,
    /// Welch's t test: different seeds, or different numbers of them.
    Welch,
}

impl Test {
    /// The word that tables use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paired => "paired by seed",
            Self::Welch => "Welch",
        }
    }
}

/// The difference between two means over seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Second mean minus first.
    pub mean: f64,
    /// Its interval and test; none where a side has one seed.
    pub tested: Option<Tested>,
}

/// The outcome of a test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tested {
    /// The test.
    pub test: Test,
    /// Half the width of the confidence interval of the difference.
    pub margin: f64,
    /// Two-sided probability of a difference this large between equals.
    pub p_value: f64,
}

impl Difference {
    /// Whether the confidence interval excludes zero; false where no test is possible.
    pub fn is_significant(&self) -> bool {
        self.tested.is_some_and(|t| self.mean.abs() > t.margin)
    }
}

/// A value of one seed.
pub type Seeded = (u64, f64);

/// The difference `second - first` at `confidence`: paired where both sides have the same seeds,
/// Welch otherwise. Several values of one seed are averaged first. None where a side is empty.
pub fn difference(first: &[Seeded], second: &[Seeded], confidence: f64) -> Option<Difference> {
    let (first, second) = (by_seed(first), by_seed(second));
    let values = |side: &[Seeded]| side.iter().map(|(_, v)| *v).collect::<Vec<_>>();
    let (a, b) = (Sample::of(&values(&first))?, Sample::of(&values(&second))?);
    if a.n < 2 || b.n < 2 {
        return Some(Difference { mean: b.mean - a.mean, tested: None });
    }
    let same_seeds = first.len() == second.len() && first.iter().zip(&second).all(|(x, y)| x.0 == y.0);
    if same_seeds {
        let differences: Vec<f64> = first.iter().zip(&second).map(|(x, y)| y.1 - x.1).collect();
        let d = Sample::of(&differences)?;
        let error = d.std.unwrap_or(0.0) / (d.n as f64).sqrt();
        return Some(tested(d.mean, error, (d.n - 1) as f64, Test::Paired, confidence));
    }
    let (va, vb) = (variance_of_mean(&a), variance_of_mean(&b));
    // Welch–Satterthwaite; equal values on both sides leave nothing to divide by.
    let freedom = if va + vb > 0.0 {
        (va + vb).powi(2) / (va * va / (a.n - 1) as f64 + vb * vb / (b.n - 1) as f64)
    } else {
        (a.n + b.n - 2) as f64
    };
    Some(tested(b.mean - a.mean, (va + vb).sqrt(), freedom, Test::Welch, confidence))
}

fn tested(mean: f64, error: f64, freedom: f64, test: Test, confidence: f64) -> Difference {
    let p_value = if error > 0.0 {
        t_p_value(mean / error, freedom)
    } else if mean == 0.0 {
        1.0
    } else {
        0.0
    };
    Difference {
        mean,
        tested: Some(Tested { test, margin: t_quantile(freedom, confidence) * error, p_value }),
    }
}

fn variance_of_mean(sample: &Sample) -> f64 {
    sample.std.map_or(0.0, |std| std * std / sample.n as f64)
}

/// One value a seed, in order of the seeds.
pub fn by_seed(values: &[Seeded]) -> Vec<Seeded> {
    let mut sums = std::collections::BTreeMap::<u64, (f64, usize)>::new();
    for &(seed, value) in values {
        let sum = sums.entry(seed).or_default();
        *sum = (sum.0 + value, sum.1 + 1);
    }
    sums.into_iter().map(|(seed, (sum, n))| (seed, sum / n as f64)).collect()
}

/// The factor `t` of a two-sided interval: `P(|T| ≤ t) = confidence` for `freedom` degrees of
/// freedom. Infinite where there are none.
pub fn t_quantile(freedom: f64, confidence: f64) -> f64 {
    match StudentsT::new(0.0, 1.0, freedom) {
        Ok(t) => t.inverse_cdf(0.5 + confidence / 2.0),
        Err(_) => f64::INFINITY,
    }
}

/// The two-sided probability of a |T| this large or larger.
pub fn t_p_value(t: f64, freedom: f64) -> f64 {
    match StudentsT::new(0.0, 1.0, freedom) {
        Ok(distribution) => (2.0 * distribution.sf(t.abs())).min(1.0),
        Err(_) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(found: f64, expected: f64, relative: f64) {
        assert!((found - expected).abs() <= relative * expected.abs(), "{found} is not {expected}");
    }

    /// `scipy.stats.t.ppf(0.5 + confidence / 2, freedom)`, scipy 1.17.
    #[test]
    fn quantiles_agree_with_scipy() {
        for (confidence, freedom, expected) in [
            (0.90, 1.0, 6.313751514675037),
            (0.90, 2.5, 2.5582186141359355),
            (0.90, 30.0, 1.697260886593957),
            (0.95, 1.0, 12.706204736174694),
            (0.95, 2.0, 4.302652729749462),
            (0.95, 3.0, 3.1824463052837078),
            (0.95, 4.0, 2.7764451051977934),
            (0.95, 7.3, 2.345066736547703),
            (0.95, 100.0, 1.9839715185235518),
            (0.95, 1000.0, 1.9623390808264083),
            (0.99, 1.0, 63.656741162871526),
            (0.99, 2.0, 9.924843200918287),
            (0.99, 10.0, 3.16927267261695),
        ] {
            close(t_quantile(freedom, confidence), expected, 1e-8);
        }
    }

    /// `2 * scipy.stats.t.sf(t, freedom)`.
    #[test]
    fn p_values_agree_with_scipy() {
        for (t, freedom, expected) in [
            (0.0, 3.7, 1.0),
            (0.5, 2.0, 0.6666666666666667),
            (1.0, 3.7, 0.37814139976045247),
            (-2.0, 10.0, 0.07338803477074037),
            (4.30265, 2.0, 0.05000005876450579),
            (12.7, 1.0, 0.050024327689344165),
            (12.7, 10.0, 1.711128178502112e-07),
            (100.0, 2.0, 9.998500249956258e-05),
        ] {
            close(t_p_value(t, freedom), expected, 1e-8);
        }
    }

    /// `scipy.stats.ttest_rel(b, a).confidence_interval(0.95)`.
    #[test]
    fn the_paired_interval_agrees_with_scipy() {
        let first = [(0, 1.30), (1, 1.34), (2, 1.25)];
        let second = [(2, 1.15), (0, 1.17), (1, 1.26)];
        let d = difference(&first, &second, 0.95).unwrap();
        let tested = d.tested.unwrap();
        assert_eq!(tested.test, Test::Paired);
        close(d.mean, -0.1033333333333335, 1e-10);
        close(d.mean - tested.margin, -0.16584942812709125, 1e-8);
        close(d.mean + tested.margin, -0.040817238539575626, 1e-8);
        close(tested.p_value, 0.019203404389084373, 1e-8);
    }

    /// `scipy.stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.9)`.
    #[test]
    fn the_welch_interval_agrees_with_scipy() {
        let first = [(0, 1.30), (1, 1.34), (2, 1.25), (3, 1.31)];
        let second = [(7, 1.15), (8, 1.17), (9, 1.26)];
        let d = difference(&first, &second, 0.90).unwrap();
        let tested = d.tested.unwrap();
        assert_eq!(tested.test, Test::Welch);
        close(d.mean, -0.10666666666666669, 1e-10);
        close(d.mean - tested.margin, -0.1952652364026954, 1e-8);
        close(d.mean + tested.margin, -0.018068096930638017, 1e-8);
        close(tested.p_value, 0.0650601927844361, 1e-8);
    }

    #[test]
    fn one_seed_gives_a_difference_without_a_test() {
        let d = difference(&[(0, 1.0)], &[(0, 1.5), (1, 1.7)], 0.95).unwrap();
        close(d.mean, 0.6, 1e-12);
        assert_eq!(d.tested, None);
        assert!(!d.is_significant());
        assert_eq!(difference(&[], &[(0, 1.0)], 0.95), None);
    }

    #[test]
    fn identical_runs_differ_by_nothing_and_never_significantly() {
        let runs = [(0, 1.25), (1, 1.25), (2, 1.25)];
        let same = difference(&runs, &runs, 0.95).unwrap();
        assert_eq!((same.mean, same.tested.unwrap().margin, same.tested.unwrap().p_value), (0.0, 0.0, 1.0));
        assert!(!same.is_significant());
        let other_seeds = [(5, 1.25), (6, 1.25)];
        assert!(!difference(&runs, &other_seeds, 0.95).unwrap().is_significant());
    }

    #[test]
    fn several_values_of_one_seed_count_once() {
        let first = [(0, 1.0), (0, 3.0), (1, 5.0)];
        assert_eq!(by_seed(&first), [(0, 2.0), (1, 5.0)]);
        let d = difference(&first, &[(0, 2.5), (1, 5.25)], 0.95).unwrap();
        assert_eq!(d.tested.unwrap().test, Test::Paired);
        close(d.mean, 0.375, 1e-12);
    }
}
