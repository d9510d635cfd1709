//! Layers merged into one declaration that knows where each of its values comes from.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use figment::value::{Dict, Map as FigmentMap, Tag, Value as FigmentValue};
use figment::{Figment, Metadata, Profile, Provider};
use serde_json::{Map, Value};

use super::layer::{Layer, refuse_name};
use crate::experiment::axes::axis::{Axis, Selection};
use crate::experiment::key;
use crate::experiment::read::document::Node;
use crate::experiment::read::problem::{Draft, Report};
use crate::experiment::read::source::{At, Sources};

/// What all layers together declare. Tables merge key by key; lists replace lists.
#[derive(Debug)]
pub(crate) struct Merged<'l> {
    layers: &'l [Layer],
    /// The layer that is the file the user named.
    main: usize,
    /// The sections, without defaults.
    pub sections: Map<String, Value>,
    /// The axes that no stronger layer sets to a single value, slowest first. The samples are one of them:
    /// all that is drawn moves together.
    pub axes: Vec<Axis>,
    /// Where the strongest `[search.space]` is.
    pub space_at: Option<At>,
    pub include: &'l [Selection],
    pub exclude: &'l [Selection],
    pub baseline: bool,
    /// The layer that each key, and each section, has its value from.
    origins: HashMap<String, usize>,
}

/// Merges the layers, weakest first.
pub(crate) fn merge<'l>(layers: &'l [Layer], sources: &Sources) -> Result<Merged<'l>, Box<figment::Error>> {
    let figment = layers
        .iter()
        .enumerate()
        .fold(Figment::new(), |figment, (index, layer)| figment.merge(LayerProvider { index, layer }));
    let mut data = figment.data().map_err(Box::new)?;
    let declared = data.remove(&Profile::Default).unwrap_or_default();
    let mut origins = HashMap::new();
    trace(&declared, "", &figment, &mut origins);
    let layer_of = |key: &str| origins.get(key).map(|&index| &layers[index]);
    let mut sections = Map::new();
    for (name, value) in &declared {
        if matches!(value, FigmentValue::Dict(..)) && name != GRID && name != SPACE {
            sections.insert(name.clone(), convert_to_json(value));
        }
    }
    let number =
        |key: &str| sections.get("search").and_then(|search| search.get(key)).and_then(Value::as_u64);
    let samples = Samples {
        count: number("samples").and_then(|count| usize::try_from(count).ok()).unwrap_or(0),
        seed: number("seed").unwrap_or(0),
    };
    let axes = choose_axes(layers, &origins, &samples);
    Ok(Merged {
        layers,
        space_at: layers.iter().rev().find_map(|layer| layer.space_at),
        main: find_main_layer(layers, sources),
        sections,
        axes,
        include: layer_of("include").and_then(|layer| layer.include.as_deref()).unwrap_or_default(),
        exclude: layer_of("exclude").and_then(|layer| layer.exclude.as_deref()).unwrap_or_default(),
        baseline: layer_of("baseline").and_then(|layer| layer.baseline).unwrap_or(false),
        origins,
    })
}

impl Merged<'_> {
    /// Whether the sections set a key.
    pub fn declares(&self, key: &str) -> bool {
        self.origins.contains_key(key)
    }

    /// The value of a key, as the sections declare it.
    pub fn node(&self, key: &str) -> Option<&Node> {
        let entry = self.layers[*self.origins.get(key)?].root.find(key)?;
        Some(&entry.node)
    }

    /// Where a key is set, or else the nearest section around it, or else the file's beginning.
    pub fn place(&self, key: &str) -> At {
        if let Some(node) = self.node(key) {
            return node.at;
        }
        match key.rsplit_once('.') {
            Some((section, _)) => self.place(section),
            None => self.beginning(),
        }
    }

    /// Whether a place is in a base, and not in the file that the user named, nor around it.
    pub fn is_in_base(&self, at: At) -> bool {
        self.layers[..self.main].iter().any(|layer| layer.source == at.source)
    }

    /// The beginning of the file that the user named.
    pub fn beginning(&self) -> At {
        let source = self.layers.get(self.main).map_or(0, |layer| layer.source);
        At { source, start: 0, end: 0 }
    }
}

/// The experiment's name: the file's own or the command line's, never a base's; else the file's
/// stem.
pub(crate) fn choose_name(layers: &[Layer], path: &Path, sources: &Sources, report: &mut Report) -> String {
    let main = find_main_layer(layers, sources);
    let declared = layers.iter().skip(main).rev().find_map(|layer| layer.name.clone());
    if let Some((name, _)) = declared {
        return name;
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let top = At { source: layers.get(main).map_or(0, |layer| layer.source), start: 0, end: 0 };
    if !report.is_tainted("name") && refuse_name(&stem, top).is_some() {
        let message = format!("the file's name, {stem:?}, cannot be the `name` of an experiment");
        let draft = Draft::new(top, message).label("no `name` here");
        report.push(draft.help("write name = \"…\" at the top: letters, digits, `.`, `_` and `-`"));
    }
    stem
}

/// The layer that is the file the user named: the strongest of the files.
fn find_main_layer(layers: &[Layer], sources: &Sources) -> usize {
    layers.iter().rposition(|layer| sources.get(layer.source).is_file()).unwrap_or(0)
}

const GRID: &str = "grid";
const SPACE: &str = "space";

/// How many points are drawn, and from which seed.
struct Samples {
    count: usize,
    seed: u64,
}

/// A layer as figment sees it. Axes and lists of points are marks: which layer wins is all that
/// figment decides about them.
struct LayerProvider<'a> {
    index: usize,
    layer: &'a Layer,
}

impl Provider for LayerProvider<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named("layer").source(figment::Source::Custom(self.index.to_string()))
    }

    fn data(&self) -> Result<FigmentMap<Profile, Dict>, figment::Error> {
        let mark = || FigmentValue::Bool(Tag::Default, true);
        let mut dict = Dict::new();
        for (name, section) in &self.layer.sections {
            dict.insert(name.clone(), FigmentValue::serialize(section)?);
        }
        let mut grid: BTreeMap<String, FigmentValue> =
            self.layer.grid.iter().map(|axis| (axis.name.clone(), mark())).collect();
        grid.extend(self.layer.seeds.iter().map(|axis| (axis.name.clone(), mark())));
        dict.insert(GRID.to_owned(), FigmentValue::from(grid));
        let space: BTreeMap<String, FigmentValue> =
            self.layer.space.iter().map(|sampled| (sampled.name.clone(), mark())).collect();
        dict.insert(SPACE.to_owned(), FigmentValue::from(space));
        let lists = [
            ("zip", self.layer.zips.is_some()),
            ("include", self.layer.include.is_some()),
            ("exclude", self.layer.exclude.is_some()),
            ("baseline", self.layer.baseline.is_some()),
        ];
        for (name, _) in lists.into_iter().filter(|(_, declared)| *declared) {
            dict.insert(name.to_owned(), mark());
        }
        Ok(FigmentMap::from([(Profile::Default, dict)]))
    }
}

/// Notes which layer each value comes from. Names of axes hold dots, so `grid` and `space` are kept apart.
fn trace(dict: &Dict, path: &str, figment: &Figment, origins: &mut HashMap<String, usize>) {
    for (name, value) in dict {
        let key = key::join(path, name);
        if let FigmentValue::Dict(_, inner) = value {
            trace(inner, &key, figment, origins);
        }
        let layer = figment.get_metadata(value.tag()).and_then(|metadata| metadata.source.as_ref());
        if let Some(index) = layer.and_then(|source| source.custom()).and_then(|index| index.parse().ok()) {
            origins.insert(key, index);
        }
    }
}

fn convert_to_json(value: &FigmentValue) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// The axes of all layers that no layer declares again, in the order of the grid.
fn collect_axes(layers: &[Layer], origins: &HashMap<String, usize>, samples: &Samples) -> Vec<Declared> {
    let mut found: Vec<Declared> = Vec::new();
    for (layer, declared) in layers.iter().enumerate() {
        let of_grid = declared.grid.iter().map(|axis| (Rank::Grid, axis));
        let of_seeds = declared.seeds.iter().map(|axis| (Rank::Seeds, axis));
        for (rank, axis) in of_grid.chain(of_seeds) {
            if origins.get(&key::join(GRID, &axis.name)) == Some(&layer) {
                let first = find_first(layers, axis.at, |layer| {
                    Some(layer.grid.iter().find(|other| other.name == axis.name)?.at)
                });
                found.push(Declared { layer, rank, first, axis: axis.clone() });
            }
        }
        if origins.get("zip") == Some(&layer) {
            for axis in declared.zips.iter().flatten() {
                let first = (layer, axis.at.start);
                found.push(Declared { layer, rank: Rank::Grid, first, axis: axis.clone() });
            }
        }
        for sampled in &declared.space {
            if origins.get(&key::join(SPACE, &sampled.name)) == Some(&layer) {
                let first = find_first(layers, sampled.at, |layer| {
                    Some(layer.space.iter().find(|other| other.name == sampled.name)?.at)
                });
                let axis = sampled.draw(samples.count, samples.seed);
                found.push(Declared { layer, rank: Rank::Sample, first, axis });
            }
        }
    }
    found.sort_by_key(|declared| (declared.rank, declared.first));
    found
}

/// The axes that hold: of each key the strongest declaration, whether it is an axis or a single
/// value. An axis of several keys loses only those that a stronger layer declares.
fn choose_axes(layers: &[Layer], origins: &HashMap<String, usize>, samples: &Samples) -> Vec<Axis> {
    let found = collect_axes(layers, origins, samples);
    let mut strongest: HashMap<String, usize> = HashMap::new();
    for declared in &found {
        for key in declared.axis.keys() {
            let level = strongest.entry(key.to_owned()).or_default();
            *level = (*level).max(declared.layer);
        }
    }
    let mut kept: Vec<Axis> = Vec::new();
    let mut drawn: Option<usize> = None;
    for Declared { layer, rank, mut axis, .. } in found {
        let is_strongest = |key: &str| {
            let by_value = origins.get(key).is_none_or(|&origin| origin <= layer);
            by_value && strongest.get(key).is_none_or(|&level| level <= layer)
        };
        for option in &mut axis.options {
            option.retain(|assignment| is_strongest(&assignment.key));
        }
        if axis.keys().is_empty() {
            continue;
        }
        match drawn.and_then(|index| kept.get_mut(index)).filter(|_| rank == Rank::Sample) {
            Some(all) => {
                all.options.iter_mut().zip(axis.options).for_each(|(point, option)| point.extend(option));
            }
            None => {
                drawn = drawn.or((rank == Rank::Sample).then_some(kept.len()));
                kept.push(axis);
            }
        }
    }
    kept
}

/// What varies slowest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Grid,
    Sample,
    Seeds,
}

/// An axis, the layer that declares it, and its place in the order.
struct Declared {
    layer: usize,
    rank: Rank,
    first: (usize, usize),
    axis: Axis,
}

/// The weakest layer that declares an axis, and its place there: values that a child gives to an axis of its
/// base leave the order as it is.
fn find_first(layers: &[Layer], at: At, find_in: impl Fn(&Layer) -> Option<At>) -> (usize, usize) {
    let mut numbered = layers.iter().enumerate();
    let first = numbered.find_map(|(index, layer)| Some((index, find_in(layer)?.start)));
    first.unwrap_or((layers.len(), at.start))
}
