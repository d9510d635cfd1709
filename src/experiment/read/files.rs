//! Where an experiment is declared, read as documents: bases, the file, the environment, `--set`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::experiment::read::document::{self, Entry, Kind, Node};
use crate::experiment::read::paths;
use crate::experiment::read::problem::{Draft, Report};
use crate::experiment::read::source::{At, Source, Sources};

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

/// Reads every document, weakest first. What is wrong with them is reported, what can be read is returned.
pub(crate) fn read_documents(
    path: &Path,
    overrides: &[String],
    surroundings: &Surroundings,
    sources: &mut Sources,
    report: &mut Report,
) -> Vec<Node> {
    let mut documents = read_files(path, surroundings, sources, report);
    documents.extend(read_variables(surroundings, sources));
    for argument in overrides {
        documents.extend(read_flag(argument, surroundings, sources, report));
    }
    documents
}

/// The file and its bases, weakest first.
fn read_files(path: &Path, around: &Surroundings, sources: &mut Sources, report: &mut Report) -> Vec<Node> {
    let mut documents = Vec::new();
    let mut seen: Vec<(PathBuf, PathBuf)> = Vec::new();
    let mut next = Some((path.to_owned(), None));
    while let Some((path, asked_at)) = next.take() {
        let absolute = paths::make_absolute(&around.directory, &path);
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
                report.push(describe_unreadable(&path, &absolute, &reason, asked_at));
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
        next = find_base(&root, &path, report);
        documents.push(root);
    }
    documents.reverse();
    documents
}

fn find_base(root: &Node, path: &Path, report: &mut Report) -> Option<(PathBuf, Option<At>)> {
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

fn describe_unreadable(path: &Path, absolute: &Path, reason: &str, asked_at: Option<At>) -> Draft {
    let near = paths::find_nearest_entry(absolute).map(|near| format!("did you mean {near}?"));
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
fn read_variables(around: &Surroundings, sources: &mut Sources) -> Vec<Node> {
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
        let leaf = parse_free_value(value, source, name.len() + 1);
        documents.push(nest(names, leaf));
    }
    documents
}

/// `--set key=value`.
fn read_flag(
    argument: &str,
    around: &Surroundings,
    sources: &mut Sources,
    report: &mut Report,
) -> Option<Node> {
    let source = sources.add(Source::flag(argument, around.directory.clone()));
    let whole = At { source, start: 0, end: argument.len() };
    let usage = "write --set key=value, as --set loss.temperature=2";
    let Some(equals) = find_equals_sign(argument) else {
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
    replace_leaf(&mut root, parse_free_value(&argument[equals + 1..], source, equals + 1));
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
fn find_equals_sign(argument: &str) -> Option<usize> {
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
fn parse_free_value(text: &str, source: usize, offset: usize) -> Node {
    let trimmed = text.trim();
    let offset = offset + (text.len() - text.trim_start().len());
    document::parse_value(trimmed, source, offset)
        .unwrap_or_else(|_| document::make_text_node(trimmed, source, offset))
}

/// A document with a single value under a key of several names.
fn nest(names: Vec<(String, At)>, leaf: Node) -> Node {
    names.into_iter().rev().fold(leaf, |node, (name, name_at)| Node {
        at: name_at,
        kind: Kind::Table(vec![Entry { name, name_at, node }]),
    })
}
