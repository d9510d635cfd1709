//! What a user declares: the TOML types, layering, grid expansion, run identity, diagnostics.
//!
//! ```text
//! bases, file, KDX_…, --set     layers     every layer checked against the schema, with its places
//!   → merge                                one declaration that knows where each value comes from
//!   → expand                               points, each checked by the rules, duplicates collapsed
//!   → identity                             run ids from configurations and the content of files
//! ```

mod check;
mod document;
mod expand;
mod grid;
mod identity;
mod layers;
mod merge;
mod paths;
mod problem;
mod rules;
mod sample;
mod schema;
mod series;
mod shape;
mod source;
mod suggest;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use merge::Merged;
use problem::{Draft, Report};
use source::Sources;

use crate::spec::{CompareConfig, ResourcesConfig, RunConfig, SearchConfig, SlurmConfig};

pub use identity::{ResolveError, Resolved, Surrounding, resolve};
pub use layers::Surroundings;
pub use problem::{Problem, Problems, Warning};
pub use schema::json_schema;

/// One experiment file, layered and expanded.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// Its name: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// The file; absolute.
    pub source: PathBuf,
    /// Dotted keys of what varies between the points: axes in the file's order, keys that are sampled, then
    /// keys that only included points set, then `loss.kind` where baselines are added.
    pub axes: Vec<String>,
    /// The points, in the plan's order; no two have the same configuration.
    pub points: Vec<Point>,
    /// On what the runs are placed.
    pub resources: ResourcesConfig,
    /// What is sampled, and what stops bad runs early.
    pub search: SearchConfig,
    /// What Slurm is asked for, where it runs them.
    pub slurm: SlurmConfig,
    /// When a configuration counts as worse.
    pub compare: CompareConfig,
    /// What is allowed, and questionable.
    pub warnings: Vec<Warning>,
}

/// One run of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The values of the axes, by dotted key; paths as they were declared. An axis that does not
    /// count at this point, as the temperature of a `logit_mse`, is left out.
    pub values: BTreeMap<String, Value>,
    /// The resolved configuration: paths are absolute, derived defaults are filled in, and keys that
    /// do not count have fixed values.
    pub config: RunConfig,
    /// Whether it is there for `baseline = true`: what others are held against, so nothing stops it early.
    pub is_baseline: bool,
}

/// Loads an experiment: its bases, the file, `KDX_SECTION__KEY` variables of this process, and
/// `overrides` of the form `key=value`, each stronger than the ones before.
///
/// # Errors
/// Everything that is wrong in any layer, at once.
pub fn load(path: &Path, overrides: &[String]) -> Result<Experiment, Problems> {
    load_in(path, overrides, &Surroundings::of_process())
}

/// [`load`], with the surroundings of the command given.
///
/// # Errors
/// Everything that is wrong in any layer, at once.
pub fn load_in(
    path: &Path,
    overrides: &[String],
    surroundings: &Surroundings,
) -> Result<Experiment, Problems> {
    let mut sources = Sources::default();
    let mut errors = Report::default();
    let mut warnings = Report::default();
    let layers = layers::read(path, overrides, surroundings, &mut sources, &mut errors);
    if errors.is_tainted("") {
        // Too much is unknown to say anything about points.
        return Err(errors.finish(path, &sources));
    }
    let name = merge::name(&layers, path, &sources, &mut errors);
    let merged = match merge::merge(&layers, &sources) {
        Ok(merged) => merged,
        Err(error) => {
            errors.push(Draft::nowhere(format!("the layers do not fit together: {error}")));
            return Err(errors.finish(path, &sources));
        }
    };
    let search = section(&merged, "search", &mut errors);
    let expansion = expand::expand(&merged, &search, &mut errors, &mut warnings);
    let resources = section(&merged, "resources", &mut errors);
    let slurm = section(&merged, "slurm", &mut errors);
    rules::check_slurm(&slurm, &merged, &mut errors);
    let compare = section(&merged, "compare", &mut errors);
    if !errors.is_empty() {
        return Err(errors.finish(path, &sources));
    }
    Ok(Experiment {
        name,
        source: paths::absolute(&surroundings.directory, path),
        axes: expansion.axes,
        points: expansion.points,
        resources,
        search,
        slurm,
        compare,
        warnings: warnings.into_warnings(&sources),
    })
}

/// A section that is about the whole experiment.
fn section<T: Default + for<'de> Deserialize<'de>>(
    merged: &Merged<'_>,
    name: &str,
    errors: &mut Report,
) -> T {
    match merged.sections.get(name).map(T::deserialize) {
        None => T::default(),
        Some(Ok(section)) => section,
        Some(Err(error)) => {
            errors.push(Draft::new(merged.place(name), format!("[{name}] is not right: {error}")));
            T::default()
        }
    }
}
