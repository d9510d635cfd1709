//! Rules about `[search]`.

use super::breach::{Breach, Rules, Site};
use crate::experiment::layers::merge::Merged;
use crate::experiment::read::problem::{Draft, Report};
use crate::spec::relevance::is_measured;
use crate::spec::{Pruner, RunConfig, SearchConfig, SearchMetric};

/// Checks what is sampled, and whether runs can be held against each other.
pub(crate) fn check_space(
    merged: &Merged<'_>,
    search: &SearchConfig,
    errors: &mut Report,
    warnings: &mut Report,
) {
    match (merged.space_at, search.samples) {
        (Some(at), None) if !errors.is_tainted("search.samples") => {
            let draft = Draft::new(at, "[search.space] needs `search.samples`: how many points are drawn");
            errors.push(draft.label("no `samples`").help("write samples = 20 under [search]"));
        }
        (None, Some(_)) => {
            let draft = Draft::new(merged.place("search.samples"), "`search.samples` changes nothing")
                .label("nothing to draw");
            warnings.push(
                draft.help(
                    "say under [search.space] what is drawn: \"loss.temperature\" = { uniform = [1, 4] }",
                ),
            );
        }
        _ => {}
    }
    if search.pruner == Pruner::None || !search.metric.metric().is_scaled_by_loss {
        return;
    }
    let mut keys = merged.axes.iter().flat_map(|axis| axis.keys().into_iter().map(move |key| (key, axis.at)));
    if let Some((key, at)) = keys.find(|(key, _)| changes_losses(key)) {
        let metric = search.metric.as_str();
        let message = format!("`{key}` changes what `{metric}` means, and runs are stopped by it");
        let draft =
            Draft::new(merged.place("search.metric"), message).label("not comparable").also(at, "with this");
        let comparable = SearchMetric::choices().filter(|choice| !choice.metric().is_scaled_by_loss);
        let comparable: Vec<&str> = comparable.map(SearchMetric::as_str).collect();
        let help = format!("judge by what means the same in every run: {}", comparable.join(", "));
        warnings.push(draft.help(help));
    }
}

/// Whether a key changes what the losses mean that depend on the teacher.
fn changes_losses(key: &str) -> bool {
    key == "loss" || key.starts_with("loss.")
}

impl Rules<'_> {
    pub(super) fn check_search(&mut self, config: &RunConfig, site: &Site<'_>) {
        let SearchConfig { pruner, metric, .. } = self.search;
        if *pruner == Pruner::None {
            return;
        }
        let pruner = pruner.as_str();
        if config.data.validation.as_slice().is_empty() {
            let breach = Breach {
                rule: Some("pruner data"),
                keys: &["search.pruner", "data.validation"],
                message: format!("`search.pruner = \"{pruner}\"` needs held-out data to judge runs by"),
                label: "no `data.validation`".to_owned(),
                help: "set `data.validation`, or pruner = \"none\"".to_owned(),
            };
            return self.error(site, &breach);
        }
        if config.evaluate.every == 0 {
            let breach = Breach {
                rule: Some("pruner evaluations"),
                keys: &["search.pruner", "evaluate.every"],
                message: format!(
                    "`search.pruner = \"{pruner}\"` judges runs while they train, and `evaluate.every = 0` \
                     measures only at the end"
                ),
                label: "nothing to judge by".to_owned(),
                help: "set `evaluate.every` to the steps between two evaluations, as a tenth of all steps"
                    .to_owned(),
            };
            self.error(site, &breach);
        }
        if !is_measured(metric.metric(), config) {
            let metric = metric.as_str();
            let breach = Breach {
                rule: Some("search metric"),
                keys: &["search.metric", "loss.kind", "teacher"],
                message: format!("`search.metric = \"{metric}\"` is not measured in every run"),
                label: "not measured without a teacher's part".to_owned(),
                help: "judge by metric = \"hard_loss\", which every run has".to_owned(),
            };
            self.error(site, &breach);
        }
    }
}
