//! What the schema cannot say: rules between keys, files that must exist, rules of thumb.

mod breach;
mod data;
mod files;
mod models;
mod search;
mod slurm;
mod training;

use crate::spec::RunConfig;

pub(super) use breach::{Rules, Site};
pub(super) use search::check_space;
pub(super) use slurm::check_slurm;

impl Rules<'_> {
    /// Checks one point, before anything is made canonical.
    pub fn check(&mut self, config: &RunConfig, site: &Site<'_>) {
        self.check_data(config, site);
        self.check_models(config, site);
        self.check_training(config, site);
        self.check_search(config, site);
    }
}
