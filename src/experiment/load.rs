//! Loads an experiment: from its files to its points.

use std::path::Path;

use serde::Deserialize;

use super::declaration::Experiment;
use super::expand;
use super::layers::layer::{self, Layer};
use super::layers::merge::{self, Merged};
use super::read::files::{self, Surroundings};
use super::read::paths;
use super::read::problem::{Draft, Problems, Report};
use super::read::source::Sources;
use super::rules;

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
    let documents = files::read_documents(path, overrides, surroundings, &mut sources, &mut errors);
    let layers: Vec<Layer> =
        documents.into_iter().map(|root| layer::read_layer(root, &sources, &mut errors)).collect();
    if errors.is_tainted("") {
        // Too much is unknown to say anything about points.
        return Err(errors.finish(path, &sources));
    }
    let name = merge::choose_name(&layers, path, &sources, &mut errors);
    let merged = match merge::merge(&layers, &sources) {
        Ok(merged) => merged,
        Err(error) => {
            errors.push(Draft::nowhere(format!("the layers do not fit together: {error}")));
            return Err(errors.finish(path, &sources));
        }
    };
    let search = read_section(&merged, "search", &mut errors);
    let expansion = expand::expand(&merged, &search, &mut errors, &mut warnings);
    let resources = read_section(&merged, "resources", &mut errors);
    let slurm = read_section(&merged, "slurm", &mut errors);
    rules::check_slurm(&slurm, &merged, &mut errors);
    let compare = read_section(&merged, "compare", &mut errors);
    if !errors.is_empty() {
        return Err(errors.finish(path, &sources));
    }
    Ok(Experiment {
        name,
        source: paths::make_absolute(&surroundings.directory, path),
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
fn read_section<T: Default + for<'de> Deserialize<'de>>(
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
