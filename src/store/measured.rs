//! What runs measure: the rows of `metrics.jsonl`, and the evaluations of `summary.json`. Both have a few
//! keys of their own, and beside them values by name; [`crate::spec::metric`] says what the names mean.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::spec::metric::{self, MetricInfo};

/// The part of the data that a metric was taken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// The training batches of a step.
    Train,
    /// The held-out data.
    Validation,
}

/// Values by the names of their metrics, finite ones alone: JSON has no others. In files they stand among the
/// keys of the row or evaluation that they belong to, so none is called as one of those.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(transparent)]
pub struct Values(BTreeMap<String, f64>);

impl Values {
    /// The value of a metric; none where it was not measured.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// The values in the order in which tables and pages show metrics.
    pub fn ordered(&self) -> Vec<(&str, f64)> {
        let mut values: Vec<(&str, f64)> =
            self.0.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        values.sort_by_key(|(name, _)| metric::rank(name));
        values
    }

    /// The same, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

/// Values that were not measured are left out.
impl<N: Into<String>> FromIterator<(N, Option<f64>)> for Values {
    fn from_iter<I: IntoIterator<Item = (N, Option<f64>)>>(values: I) -> Self {
        let measured = values.into_iter().filter_map(|(name, value)| Some((name.into(), value?)));
        Self(measured.collect())
    }
}

/// Earlier versions wrote `null` for what was not measured.
impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::<String, Option<f64>>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// A line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricRow {
    /// Optimizer steps taken, from 1; 0 for an evaluation before the first.
    pub step: u64,
    /// Passes over the training data, fractional.
    pub epoch: f64,
    /// Training or validation.
    pub split: Split,
    /// The learning rate of the step; none for validation.
    pub learning_rate: Option<f64>,
    /// `alpha * hard + (1 - alpha) * soft`.
    pub loss: f64,
    /// Global norm of the gradient before clipping; none for validation.
    pub grad_norm: Option<f64>,
    /// Training: tokens that went through the student since the start, padding left out.
    /// Validation: tokens that count in the loss.
    pub tokens: u64,
    /// What else was measured. Training: hard and soft loss. Validation: all that the evaluation holds.
    #[serde(flatten)]
    pub values: Values,
}

impl MetricRow {
    /// The value of a metric by its name; none where it was not measured.
    pub fn value(&self, name: &str) -> Option<f64> {
        if name == metric::LOSS { Some(self.loss) } else { self.values.get(name) }
    }
}

/// Held-out figures of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Positions that count.
    pub tokens: u64,
    /// What metrics it holds that are not registered, by name: a run says once what they are, here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub declared: BTreeMap<String, MetricInfo>,
    /// What was measured: means over the positions.
    #[serde(flatten)]
    pub values: Values,
}

impl Evaluation {
    /// The value of a metric by its name; none where it was not measured.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.values.get(name)
    }

    /// What is known of a metric that it holds: what the registry says, else what it says itself.
    pub fn info(&self, name: &str) -> MetricInfo {
        metric::find(name)
            .map(metric::Metric::info)
            .or_else(|| self.declared.get(name).cloned())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::metric::{ACCURACY, AGREEMENT, Better, HARD_LOSS, METRICS, PERPLEXITY, SOFT_LOSS};

    /// As version 0.1 wrote them while the metrics were fields.
    #[test]
    fn rows_and_evaluations_of_earlier_versions_are_read() {
        let train = concat!(
            r#"{"step":3,"epoch":0.5,"split":"train","learning_rate":0.0005,"loss":1.25,"#,
            r#""hard_loss":1.5,"soft_loss":null,"grad_norm":0.75,"tokens":512}"#
        );
        let row: MetricRow = serde_json::from_str(train).unwrap();
        assert_eq!((row.step, row.loss, row.grad_norm, row.tokens), (3, 1.25, Some(0.75), 512));
        assert_eq!(row.values, Values::from_iter([(HARD_LOSS, Some(1.5))]));
        let held_out = concat!(
            r#"{"step":3,"epoch":0.5,"split":"validation","learning_rate":null,"loss":1.25,"#,
            r#""hard_loss":1.5,"soft_loss":0.125,"grad_norm":null,"tokens":64,"agreement":0.625}"#
        );
        let row: MetricRow = serde_json::from_str(held_out).unwrap();
        assert_eq!(row.values.ordered(), [(HARD_LOSS, 1.5), (SOFT_LOSS, 0.125), (AGREEMENT, 0.625)]);
        let evaluation = concat!(
            r#"{"hard_loss":1.5,"perplexity":4.5,"soft_loss":null,"agreement":null,"#,
            r#""accuracy":0.25,"tokens":64}"#
        );
        let evaluation: Evaluation = serde_json::from_str(evaluation).unwrap();
        assert_eq!((evaluation.tokens, evaluation.declared.len()), (64, 0));
        assert_eq!(evaluation.values.ordered(), [(HARD_LOSS, 1.5), (ACCURACY, 0.25), (PERPLEXITY, 4.5)]);
    }

    #[test]
    fn rows_survive_their_file_bit_for_bit() {
        let row = MetricRow {
            step: 7,
            epoch: 0.1 + 0.2,
            split: Split::Validation,
            learning_rate: None,
            loss: 1.0 / 3.0,
            grad_norm: None,
            tokens: u64::MAX,
            values: Values::from_iter([
                ("reward", Some(-1e-300)),
                (PERPLEXITY, Some(f64::MAX)),
                (SOFT_LOSS, None),
            ]),
        };
        let line = serde_json::to_string(&row).unwrap();
        assert!(line.contains(r#""tokens":18446744073709551615,"perplexity":1.7976931348623157e"#), "{line}");
        assert_eq!(serde_json::from_str::<MetricRow>(&line).unwrap(), row);
        assert_eq!(
            (row.value("loss"), row.value("reward"), row.value(SOFT_LOSS)),
            (Some(row.loss), Some(-1e-300), None)
        );
    }

    #[test]
    fn an_evaluation_says_what_its_own_metrics_are() {
        let reward =
            MetricInfo { unit: "points".into(), better: Some(Better::Higher), ..MetricInfo::default() };
        let evaluation = Evaluation {
            tokens: 8,
            declared: BTreeMap::from([("reward".to_owned(), reward.clone())]),
            values: Values::from_iter([
                ("reward", Some(2.5)),
                ("math/hard_loss", Some(1.0)),
                ("odd", Some(0.0)),
            ]),
        };
        let text = serde_json::to_string(&evaluation).unwrap();
        let read: Evaluation = serde_json::from_str(&text).unwrap();
        assert_eq!(read, evaluation);
        assert_eq!((read.info("reward"), read.info("math/hard_loss").better), (reward, Some(Better::Lower)));
        assert_eq!(read.info("odd"), MetricInfo::default());
    }

    #[test]
    fn what_is_no_number_is_refused_and_no_metric_is_called_as_a_key_of_its_row() {
        let text = r#"{"tokens":1,"hard_loss":"low"}"#;
        assert!(serde_json::from_str::<Evaluation>(text).is_err());
        let row = MetricRow {
            step: 1,
            epoch: 1.0,
            split: Split::Train,
            learning_rate: None,
            loss: 1.0,
            grad_norm: None,
            tokens: 1,
            values: Values::default(),
        };
        let keys = serde_json::to_value(&row).unwrap();
        for metric in METRICS.iter().filter(|metric| metric.is_in_evaluations()) {
            assert!(keys.get(metric.name).is_none() && !["tokens", "declared"].contains(&metric.name));
        }
    }
}
