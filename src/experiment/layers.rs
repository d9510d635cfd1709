//! The layers of an experiment, weakest first: bases, the file, the environment, `--set`.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::check::{self, TOP_KEYS};
use super::document::{self, Entry, Kind, Node};
use super::grid::{Axis, GridReader, Selection};
use super::paths;
use super::problem::{Draft, Report};
use super::sample::Sampled;
use super::shape::{Field, Shape, Shapes};
use super::source::{At, Source, Sources};

/// What surrounds a command: the environment variables and the directory it was started in.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Names and values of the environment variables; those that declare nothing are ignored.
    pub variables: Vec<(String, String)>,
    /// What relative paths of the command line and of variables are relative to; absolute.
    pub directory: PathBuf,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let variables = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .collect();
        Self { variables, directory: std::env::current_dir().unwrap_or_default() }
    }
}

/// What one source declares, as far as it is right.
#[derive(Debug)]
pub(super) struct Layer {
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

/// Reads every layer. What is wrong with them is reported, what is right is returned.
pub(super) fn read(
    path: &Path,
    overrides: &[String],
    surroundings: &Surroundings,
    sources: &mut Sources,
    report: &mut Report,
) -> Vec<Layer> {
    let mut documents = files(path, surroundings, sources, report);
    documents.extend(variables(surroundings, sources));
    for argument in overrides {
        documents.extend(flag(argument, surroundings, sources, report));
    }
    let layers = documents.into_iter().map(|root| layer(root, sources, report));
    layers.collect()
}

/// The file and its bases, weakest first.
fn files(path: &Path, around: &Surroundings, sources: &mut Sources, report: &mut Report) -> Vec<Node> {
    let mut documents = Vec::new();
    let mut seen: Vec<(PathBuf, PathBuf)> = Vec::new();
    let mut next = Some((path.to_owned(), None));
    while let Some((path, asked_at)) = next.take() {
        let absolute = paths::absolute(&around.directory, &path);
        let identity = fs::canonicalize(&absolute).unwrap_or_else(|_| absolute.clone());
        let is_cycle = seen.iter().any(|(known, _)| *known == identity);
        seen.push((identity, path.clone()));
        if let (true, Some(at)) = (is_cycle, asked_at) {
            let chain: Vec<String> = seen.iter().map(|(_, path)| path.display().to_string()).collect();
            let draft = Draft::new(at, format!("`extends` goes in a circle: {}", chain.join(" → ")));
            report.push(draft.label("already in the chain").help("remove one of these `extends`"));
            report.taint("");
            break;
        }
        let text = match read_text(&absolute) {
            Ok(text) => text,
            Err(reason) => {
                report.push(unreadable(&path, &absolute, &reason, asked_at));
                report.taint("");
                break;
            }
        };
        let directory = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        let source = sources.add(Source::file(path.clone(), &text, directory));
        let (root, syntax) = document::parse(&text, source);
        if !syntax.is_empty() {
            // What could be read of a file with wrong syntax would be complained about wrongly.
            syntax.into_iter().for_each(|draft| report.push(draft));
            report.taint("");
            break;
        }
        next = base_of(&root, &path, report);
        documents.push(root);
    }
    documents.reverse();
    documents
}

fn base_of(root: &Node, path: &Path, report: &mut Report) -> Option<(PathBuf, Option<At>)> {
    let entry = root.find("extends")?;
    match &entry.node.kind {
        Kind::Text(base) => {
            let base = path.parent().unwrap_or(Path::new("")).join(base);
            Some((base, Some(entry.node.at)))
        }
        _ => {
            let message = format!("`extends` must be the path of a file, found {}", entry.node.in_words());
            let draft = Draft::new(entry.node.at, message).label("expected text");
            report
                .push(draft.help("as extends = \"base.toml\", relative to this file; bases can have bases"));
            report.taint("");
            None
        }
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8")
    })
}

fn unreadable(path: &Path, absolute: &Path, reason: &str, asked_at: Option<At>) -> Draft {
    let near = paths::nearest_entry(absolute).map(|near| format!("did you mean {near}?"));
    let draft = match asked_at {
        Some(at) => Draft::new(at, format!("`extends`: cannot read {}: {reason}", path.display()))
            .label("this base")
            .help("the path is relative to the file that extends it"),
        None => Draft::nowhere(format!("cannot read {}: {reason}", path.display())),
    };
    match near {
        Some(near) => draft.help(near),
        None => draft,
    }
}

/// `KDX_SECTION__KEY=value`. Variables without `__`, as KDX_STORE, declare nothing.
fn variables(around: &Surroundings, sources: &mut Sources) -> Vec<Node> {
    let mut declared: Vec<&(String, String)> = around
        .variables
        .iter()
        .filter(|(name, _)| name.strip_prefix("KDX_").is_some_and(|rest| rest.contains("__")))
        .collect();
    declared.sort();
    let mut documents = Vec::new();
    for (name, value) in declared {
        let text = format!("{name}={value}");
        let source = sources.add(Source::variable(name.clone(), &text, around.directory.clone()));
        let mut offset = "KDX_".len();
        let mut names = Vec::new();
        for part in name[offset..].split("__") {
            names.push((part.to_lowercase(), At { source, start: offset, end: offset + part.len() }));
            offset += part.len() + "__".len();
        }
        let leaf = free_value(value, source, name.len() + 1);
        documents.push(nested(names, leaf));
    }
    documents
}

/// `--set key=value`.
fn flag(argument: &str, around: &Surroundings, sources: &mut Sources, report: &mut Report) -> Option<Node> {
    let source = sources.add(Source::flag(argument, around.directory.clone()));
    let whole = At { source, start: 0, end: argument.len() };
    let usage = "write --set key=value, as --set loss.temperature=2";
    let Some(equals) = equals_sign(argument) else {
        report
            .push(Draft::new(whole, format!("`--set {argument}` has no value")).label("no `=`").help(usage));
        return None;
    };
    let (mut root, syntax) = document::parse(&format!("{}=0", &argument[..equals]), source);
    if !syntax.is_empty() {
        let at = At { end: equals, ..whole };
        let message = format!("`{}` is not a key", argument[..equals].trim());
        report.push(Draft::new(at, message).label("not a key").help(usage));
        return None;
    }
    replace_leaf(&mut root, free_value(&argument[equals + 1..], source, equals + 1));
    Some(root)
}

/// Puts a value in place of the only one of a document.
fn replace_leaf(node: &mut Node, leaf: Node) {
    match &mut node.kind {
        Kind::Table(entries) => {
            entries.iter_mut().take(1).for_each(|entry| replace_leaf(&mut entry.node, leaf.clone()))
        }
        _ => *node = leaf,
    }
}

/// The first `=` outside quotes: a quoted key may hold one.
fn equals_sign(argument: &str) -> Option<usize> {
    let mut quote = None;
    for (index, character) in argument.char_indices() {
        match (quote, character) {
            (None, '=') => return Some(index),
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
    }
    None
}

/// A TOML value, or else a text that needs no quotes.
fn free_value(text: &str, source: usize, offset: usize) -> Node {
    let trimmed = text.trim();
    let offset = offset + (text.len() - text.trim_start().len());
    document::parse_value(trimmed, source, offset)
        .unwrap_or_else(|_| document::text_node(trimmed, source, offset))
}

/// A document with a single value under a key of several names.
fn nested(names: Vec<(String, At)>, leaf: Node) -> Node {
    names.into_iter().rev().fold(leaf, |node, (name, name_at)| Node {
        at: name_at,
        kind: Kind::Table(vec![Entry { name, name_at, node }]),
    })
}

/// Checks a document and takes out what is right.
fn layer(root: Node, sources: &Sources, report: &mut Report) -> Layer {
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
            "name" => layer.name = name(entry, report),
            "baseline" => {
                let value = check::value(&entry.node, &top_field("baseline"), "baseline", report);
                layer.baseline = value.and_then(|value| value.as_bool());
            }
            "seeds" => layer.seeds = grid.axis("train.seed", entry),
            "grid" => layer.grid = grid.grid(&entry.node),
            "search" => search(entry, &mut layer, &declared_in.directory, report),
            "zip" => layer.zips = Some(grid.zips(&entry.node)),
            "include" => layer.include = Some(grid.selections(&entry.node, "include")),
            "exclude" => layer.exclude = Some(grid.selections(&entry.node, "exclude")),
            _ => section(entry, &mut layer, &declared_in.directory, report),
        }
    }
    refuse_double_axes(&mut layer, report);
    layer.root = root;
    layer
}

fn section(entry: &Entry, layer: &mut Layer, directory: &Path, report: &mut Report) {
    let sections = &Shapes::get().sections;
    let Some(field) = sections.iter().find(|field| field.name == entry.name) else {
        let known = sections.iter().map(|field| field.name.as_str()).chain(TOP_KEYS);
        return check::unknown_key(entry, known, "", report);
    };
    if let Some(mut value) = check::value(&entry.node, field, &entry.name, report) {
        paths::absolute_under(&entry.name, &mut value, directory);
        layer.sections.insert(entry.name.clone(), value);
    }
}

/// `[search]`: a section, but for the distributions of its `space`.
fn search(entry: &Entry, layer: &mut Layer, directory: &Path, report: &mut Report) {
    let (Kind::Table(entries), Some(field)) = (&entry.node.kind, Shapes::get().field("search")) else {
        return section(entry, layer, directory, report);
    };
    let Shape::Table(fields) = &field.shape else { return };
    let (space, others): (Vec<Entry>, Vec<Entry>) =
        entries.iter().cloned().partition(|entry| entry.name == "space");
    if let Some(space) = space.first() {
        layer.space_at = Some(space.name_at);
        layer.space = GridReader { directory, report }.space(&space.node);
    }
    // Known by name, for who misspells it.
    let space = Field {
        name: "space".to_owned(),
        description: "distributions of keys".to_owned(),
        shape: Shape::Table(Vec::new()),
    };
    let fields: Vec<Field> = fields.iter().cloned().chain([space]).collect();
    let value = check::table(&others, &fields, "search", report);
    layer.sections.insert("search".to_owned(), Value::Object(value));
}

fn name(entry: &Entry, report: &mut Report) -> Option<(String, At)> {
    let value = check::value(&entry.node, &top_field("name"), "name", report)?;
    let name = value.as_str()?.to_owned();
    if let Some(draft) = wrong_name(&name, entry.node.at) {
        report.push(draft);
        return None;
    }
    Some((name, entry.node.at))
}

/// What is wrong with a name: it becomes the name of files and directories.
pub(super) fn wrong_name(name: &str, at: At) -> Option<Draft> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    let begins_well = name.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_');
    if begins_well && name.chars().all(allowed) {
        return None;
    }
    let draft = Draft::new(at, format!("{name:?} cannot be the `name` of an experiment")).label("not a name");
    Some(draft.help("a name has letters, digits, `.`, `_` and `-` only, and begins with a letter or digit"))
}

fn top_field(name: &str) -> Field {
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
