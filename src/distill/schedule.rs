//! The learning rate over the steps.

use std::f64::consts::PI;

use crate::spec::{ScheduleConfig, ScheduleKind};

/// The learning rate of `step` (from 1) of `total`, where `peak` is `optimizer.learning_rate`.
///
/// Warm-up rises in a line and reaches the peak at step `warmup_steps`; every decay reaches its lowest
/// value at the last step.
pub fn learning_rate(config: &ScheduleConfig, peak: f64, step: u64, total: u64) -> f64 {
    let (step, total) = (step as f64, total as f64);
    if config.kind == ScheduleKind::Minimind {
        return peak / 10.0 + 0.5 * peak * (1.0 + (PI * step / total).cos());
    }
    let warmup = config.warmup_steps as f64;
    if step < warmup {
        return peak * step / warmup;
    }
    // How much of the decay is done, and what is left of the peak then.
    let progress =
        |start: f64| if total > start { ((step - start) / (total - start)).clamp(0.0, 1.0) } else { 0.0 };
    let line = |progress: f64| 1.0 - (1.0 - config.min_ratio) * progress;
    peak * match config.kind {
        ScheduleKind::Minimind => unreachable!("has no warm-up"),
        ScheduleKind::Constant => 1.0,
        ScheduleKind::Linear => line(progress(warmup)),
        ScheduleKind::Cosine => line(0.5 * (1.0 - (PI * progress(warmup)).cos())),
        ScheduleKind::Wsd => line(progress((total * (1.0 - config.decay_ratio)).max(warmup))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(kind: ScheduleKind, warmup_steps: usize, total: u64) -> Vec<f64> {
        let config = ScheduleConfig { kind, warmup_steps, min_ratio: 0.1, decay_ratio: 0.2 };
        (1..=total).map(|step| learning_rate(&config, 2.0, step, total)).collect()
    }

    #[track_caller]
    fn assert_curve(found: &[f64], expected: &[(usize, f64)]) {
        for &(step, rate) in expected {
            assert!((found[step - 1] - rate).abs() < 1e-12, "step {step}: {} for {rate}", found[step - 1]);
        }
    }

    #[test]
    fn minimind_starts_above_the_peak_and_ends_at_a_tenth() {
        let curve = curve(ScheduleKind::Minimind, 5, 100);
        assert_curve(&curve, &[(50, 0.2 + 1.0), (100, 0.2)]);
        assert!(curve[0] > 2.19 && curve[0] < 2.2, "no warm-up: {}", curve[0]);
    }

    #[test]
    fn every_curve_warms_up_in_a_line_and_ends_where_it_says() {
        let cases = [
            (ScheduleKind::Cosine, 0.2, 0.2 + 0.9),
            (ScheduleKind::Linear, 0.2, 1.1),
            (ScheduleKind::Constant, 2.0, 2.0),
            (ScheduleKind::Wsd, 0.2, 2.0),
        ];
        for (kind, last, middle) in cases {
            let curve = curve(kind, 10, 110);
            assert_curve(&curve, &[(1, 0.2), (5, 1.0), (10, 2.0), (60, middle), (110, last)]);
        }
    }

    #[test]
    fn wsd_falls_in_its_last_part_only() {
        let curve = curve(ScheduleKind::Wsd, 0, 100);
        assert_curve(&curve, &[(1, 2.0), (80, 2.0), (90, 1.1), (100, 0.2)]);
    }

    #[test]
    fn a_warm_up_longer_than_the_run_only_rises() {
        for kind in [ScheduleKind::Cosine, ScheduleKind::Linear, ScheduleKind::Wsd] {
            let curve = curve(kind, 20, 10);
            assert_curve(&curve, &[(1, 0.1), (10, 1.0)]);
            let whole = self::curve(kind, 10, 10);
            assert_curve(&whole, &[(10, 2.0)]);
        }
    }
}
