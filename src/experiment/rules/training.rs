//! Rules about the loss and the schedule.

use super::breach::{Breach, Rules, Site};
use crate::spec::config::LossRow;
use crate::spec::{LossConfig, RunConfig, ScheduleConfig, ScheduleKind, TrainConfig};

/// Below it, single precision decides what both distributions are: logits of 30 are rounded by some 3e-6, of
/// which this makes parts in a thousand of every probability. The kernels are exact from here on.
const LOWEST_TEMPERATURE: f64 = 0.001;

/// Above it, both distributions are nearly flat and hardly anything is left to learn.
const HIGHEST_TEMPERATURE: f64 = 10.0;

impl Rules<'_> {
    pub(super) fn check_training(&mut self, config: &RunConfig, site: &Site<'_>) {
        self.check_loss(&config.loss, site);
        self.check_schedule("", &config.schedule, &config.train, site);
        if let Some(teacher) = &config.teacher {
            let (schedule, train) = (teacher.schedule.clone(), teacher.train.clone());
            self.check_schedule("teacher.", &schedule.unwrap_or_default(), &train.unwrap_or_default(), site);
        }
    }

    fn check_loss(&mut self, loss: &LossConfig, site: &Site<'_>) {
        let LossRow { divergence, number } = loss.row();
        if let Some(number) = number.filter(|_| divergence.is_some_and(|found| found.reduce().is_none())) {
            let (key, value, kind) = (number.key, (number.get)(loss), loss.kind.name());
            let breach = Breach {
                rule: Some(key),
                keys: &[key, "loss.kind"],
                message: format!("`{key} = {value}` makes the `{kind}` loss zero whatever the student does"),
                label: "teaches nothing".to_owned(),
                help: number.advice.to_owned(),
            };
            self.error(site, &breach);
        }
        if loss.has_temperature() && loss.temperature < LOWEST_TEMPERATURE {
            let breach = Breach {
                rule: Some("low temperature"),
                keys: &["loss.temperature"],
                message: format!("`loss.temperature = {}` is below {LOWEST_TEMPERATURE}", loss.temperature),
                label: "too cold".to_owned(),
                help: "below it the rounding of logits decides what is learned; 1 to 4 are common".to_owned(),
            };
            self.error(site, &breach);
        }
        if loss.has_temperature() && loss.temperature > HIGHEST_TEMPERATURE {
            let breach = Breach {
                rule: Some("temperature"),
                keys: &["loss.temperature"],
                message: format!("`loss.temperature = {}` is above {HIGHEST_TEMPERATURE}", loss.temperature),
                label: "hot".to_owned(),
                help: "both distributions are nearly flat at such temperatures; 1 to 4 are common".to_owned(),
            };
            self.warn(site, &breach);
        }
    }

    /// `owner` is empty for the student's training and `teacher.` for the teacher's.
    fn check_schedule(
        &mut self,
        owner: &str,
        schedule: &ScheduleConfig,
        train: &TrainConfig,
        site: &Site<'_>,
    ) {
        let Some(steps) = train.steps.filter(|_| schedule.kind != ScheduleKind::Minimind) else { return };
        let (warmup_key, steps_key) =
            (format!("{owner}schedule.warmup_steps"), format!("{owner}train.steps"));
        let warmup = schedule.warmup_steps;
        if warmup > 0 && warmup >= steps {
            return self.error(
                site,
                &Breach {
                    rule: Some("warm-up"),
                    keys: &[&warmup_key, &steps_key],
                    message: format!(
                        "`{warmup_key} = {warmup}` is the whole training: `{steps_key}` is {steps}"
                    ),
                    label: "the peak is never reached".to_owned(),
                    help: "a warm-up of 1 to 10 % of the steps is common".to_owned(),
                },
            );
        }
        let decay = schedule.decay_ratio * steps as f64;
        if schedule.kind == ScheduleKind::Wsd && warmup as f64 + decay > steps as f64 {
            let decay_key = format!("{owner}schedule.decay_ratio");
            self.error(
                site,
                &Breach {
                    rule: Some("decay"),
                    keys: &[&decay_key, &warmup_key, &steps_key],
                    message: format!(
                        "`{decay_key} = {}` is {decay:.0} of {steps} steps: with {warmup} steps of warm-up \
                         (`{warmup_key}`) that is more than there are",
                        schedule.decay_ratio
                    ),
                    label: "begins before the warm-up ends".to_owned(),
                    help: "lower `decay_ratio` or `warmup_steps`".to_owned(),
                },
            );
        }
    }
}
