//! Rules about the loss and the schedule.

use super::{Breach, Rules, Site};
use crate::spec::{LossConfig, LossKind, RunConfig, ScheduleConfig, ScheduleKind, TrainConfig};

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
        if loss.kind == LossKind::Js && (loss.beta == 0.0 || loss.beta == 1.0) {
            let breach = Breach {
                rule: Some("beta"),
                keys: &["loss.beta", "loss.kind"],
                message: format!(
                    "`loss.beta = {}` makes the `js` loss zero whatever the student does",
                    loss.beta
                ),
                label: "0 and 1 teach nothing".to_owned(),
                help: "choose `beta` between 0 and 1; near 0 the loss goes like `forward_kl`, near 1 like \
                       `reverse_kl`"
                    .to_owned(),
            };
            self.error(site, &breach);
        }
        if matches!(loss.kind, LossKind::SkewForwardKl | LossKind::SkewReverseKl) && loss.skew == 1.0 {
            let breach = Breach {
                rule: Some("skew"),
                keys: &["loss.skew", "loss.kind"],
                message: "`loss.skew = 1` compares a distribution with itself: the loss is always zero"
                    .to_owned(),
                label: "1 teaches nothing".to_owned(),
                help: "choose `skew` below 1; 0.1 is DistiLLM's choice".to_owned(),
            };
            self.error(site, &breach);
        }
        let has_temperature = !matches!(loss.kind, LossKind::None | LossKind::LogitMse);
        if has_temperature && loss.temperature > HIGHEST_TEMPERATURE {
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
