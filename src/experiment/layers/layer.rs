//! A layer: what one document declares, checked against the schema.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Map, Value};

use crate::experiment::axes::axis::{Axis, Selection};
use crate::experiment::axes::grid::GridReader;
use crate::experiment::axes::sample::Sampled;
use crate::experiment::read::check::{self, TOP_KEYS};
use crate::experiment::read::document::{Entry, Kind, Node};
use crate::experiment::read::paths;
use crate::experiment::read::problem::{Draft, Report};
use crate::experiment::read::source::{At, Sources};
use crate::experiment::schema::shape::{Field, Shape, Shapes};

/// What one source declares, as far as it is right.
#[derive(Debug)]
pub(crate) struct Layer {
    pub source: usize,
    /// The document, for the places of keys.
    pub root: Node,
    /// The sections; paths are absolute.
    pub sections: Map<String, Value>,
    pub name: Option<(String, At)>,
    pub baseline: Option<bool>,
    pub grid: Vec<Axis>,
    pub seeds: Option<Axis>,
    /// What is sampled, and where that is declared.
    pub space: Vec<Sampled>,
    pub space_at: Option<At>,
    pub zips: Option<Vec<Axis>>,
    pub include: Option<Vec<Selection>>,
    pub exclude: Option<Vec<Selection>>,
}

/// Checks a document and takes out what is right.
pub(crate) fn read_layer(root: Node, sources: &Sources, report: &mut Report) -> Layer {
    let source = root.at.source;
    let declared_in = sources.get(source);
    let mut layer = Layer {
        source,
        sections: Map::new(),
        name: None,
        baseline: None,
        grid: Vec::new(),
        seeds: None,
        space: Vec::new(),
        space_at: None,
        zips: None,
        include: None,
        exclude: None,
        root: Node { at: root.at, kind: Kind::Table(Vec::new()) },
    };
    for entry in root.entries().unwrap_or_default() {
        let mut grid = GridReader { directory: &declared_in.directory, report };
        match entry.name.as_str() {
            "extends" if declared_in.is_file() => {}
            "extends" => report.push(
                Draft::new(entry.name_at, "`extends` is only for files")
                    .label("not here")
                    .help("write it at the top of the experiment file"),
            ),
            "name" => layer.name = read_name(entry, report),
            "baseline" => {
                let value = check::read_value(&entry.node, &describe_top_key("baseline"), "baseline", report);
                layer.baseline = value.and_then(|value| value.as_bool());
            }
            "seeds" => layer.seeds = grid.read_axis("train.seed", entry),
            "grid" => layer.grid = grid.read_grid(&entry.node),
            "search" => read_search(entry, &mut layer, &declared_in.directory, report),
            "zip" => layer.zips = Some(grid.read_zips(&entry.node)),
            "include" => layer.include = Some(grid.read_selections(&entry.node, "include")),
            "exclude" => layer.exclude = Some(grid.read_selections(&entry.node, "exclude")),
            _ => read_section(entry, &mut layer, &declared_in.directory, report),
        }
    }
    refuse_double_axes(&mut layer, report);
    layer.root = root;
    layer
}

fn read_section(entry: &Entry, layer: &mut Layer, directory: &Path, report: &mut Report) {
    let sections = &Shapes::get().sections;
    let Some(field) = sections.iter().find(|field| field.name == entry.name) else {
        let known = sections.iter().map(|field| field.name.as_str()).chain(TOP_KEYS);
        return check::report_unknown_key(entry, known, "", report);
    };
    if let Some(mut value) = check::read_value(&entry.node, field, &entry.name, report) {
        paths::make_paths_absolute(&entry.name, &mut value, directory);
        layer.sections.insert(entry.name.clone(), value);
    }
}

/// `[search]`: a section, but for the distributions of its `space`.
fn read_search(entry: &Entry, layer: &mut Layer, directory: &Path, report: &mut Report) {
    let (Kind::Table(entries), Some(field)) = (&entry.node.kind, Shapes::get().field("search")) else {
        return read_section(entry, layer, directory, report);
    };
    let Shape::Table(fields) = &field.shape else { return };
    let (space, others): (Vec<Entry>, Vec<Entry>) =
        entries.iter().cloned().partition(|entry| entry.name == "space");
    if let Some(space) = space.first() {
        layer.space_at = Some(space.name_at);
        layer.space = GridReader { directory, report }.read_space(&space.node);
    }
    // Known by name, for who misspells it.
    let space = Field {
        name: "space".to_owned(),
        description: "distributions of keys".to_owned(),
        shape: Shape::Table(Vec::new()),
    };
    let fields: Vec<Field> = fields.iter().cloned().chain([space]).collect();
    let value = check::read_table(&others, &fields, "search", report);
    layer.sections.insert("search".to_owned(), Value::Object(value));
}

fn read_name(entry: &Entry, report: &mut Report) -> Option<(String, At)> {
    let value = check::read_value(&entry.node, &describe_top_key("name"), "name", report)?;
    let name = value.as_str()?.to_owned();
    if let Some(draft) = refuse_name(&name, entry.node.at) {
        report.push(draft);
        return None;
    }
    Some((name, entry.node.at))
}

/// What is wrong with a name: it becomes the name of files and directories.
pub(crate) fn refuse_name(name: &str, at: At) -> Option<Draft> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    let begins_well = name.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_');
    if begins_well && name.chars().all(allowed) {
        return None;
    }
    let draft = Draft::new(at, format!("{name:?} cannot be the `name` of an experiment")).label("not a name");
    Some(draft.help("a name has letters, digits, `.`, `_` and `-` only, and begins with a letter or digit"))
}

fn describe_top_key(name: &str) -> Field {
    let (shape, description) = match name {
        "baseline" => (Shape::Boolean, "whether to add a run with `loss.kind = \"none\"` for each student"),
        _ => (Shape::Text, "the name of the experiment"),
    };
    Field { name: name.to_owned(), description: description.to_owned(), shape }
}

/// Keys that a layer moves by two axes: neither could be obeyed.
fn refuse_double_axes(layer: &mut Layer, report: &mut Report) {
    let mut seen: Vec<(String, At)> = Vec::new();
    let mut is_first = |keys: Vec<&str>, at: At| {
        let keys: HashSet<String> = keys.into_iter().map(str::to_owned).collect();
        let double = seen.iter().find(|(key, _)| keys.contains(key)).cloned();
        if let Some((key, first)) = &double {
            report.taint(key.clone());
            report.push(
                Draft::new(at, format!("`{key}` is an axis twice"))
                    .label("the second")
                    .also(*first, "the first")
                    .help("remove one of them, or write all values in one list"),
            );
        }
        seen.extend(keys.into_iter().map(|key| (key, at)));
        double.is_none()
    };
    layer.grid.retain(|axis| is_first(axis.keys(), axis.at));
    layer.seeds = layer.seeds.take().filter(|axis| is_first(axis.keys(), axis.at));
    layer.zips.iter_mut().for_each(|zips| zips.retain(|axis| is_first(axis.keys(), axis.at)));
    layer.space.retain(|sampled| is_first(sampled.keys(), sampled.at));
}
