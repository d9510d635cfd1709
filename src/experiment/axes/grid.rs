//! Reads axes, points to include and points to exclude, as one layer declares them.

use std::path::Path;

use super::axis::{Assignment, Axis, Selection};
use super::names::{is_distribution, is_rule};
use super::series;
use crate::experiment::key;
use crate::experiment::read::check;
use crate::experiment::read::document::{Entry, Kind, Node};
use crate::experiment::read::paths;
use crate::experiment::read::problem::{Draft, Report};
use crate::experiment::read::source::At;
use crate::experiment::schema::shape::{Field, Shape, Shapes, is_run_section};
use crate::experiment::suggest;

/// Reads the grid of one layer.
pub(crate) struct GridReader<'a> {
    /// What relative paths are relative to.
    pub directory: &'a Path,
    pub report: &'a mut Report,
}

impl GridReader<'_> {
    /// `[grid]`: an axis for each key.
    pub fn read_grid(&mut self, node: &Node) -> Vec<Axis> {
        let Some(entries) = node.entries() else {
            self.report_not_a_table(node, "grid", "[grid] holds axes: \"loss.temperature\" = [1, 2, 4]");
            return Vec::new();
        };
        let keys = self.flatten(entries, "", "[grid]");
        keys.into_iter().filter_map(|(key, entry)| self.read_axis(&key, entry)).collect()
    }

    /// `[[zip]]`: an axis for each table.
    pub fn read_zips(&mut self, node: &Node) -> Vec<Axis> {
        let tables = self.read_tables(node, "zip");
        tables.into_iter().filter_map(|table| self.read_zip(table)).collect()
    }

    /// `[[include]]` and `[[exclude]]`: keys and values for each table.
    pub fn read_selections(&mut self, node: &Node, name: &str) -> Vec<Selection> {
        let tables = self.read_tables(node, name);
        tables.into_iter().filter_map(|table| self.read_selection(table, name)).collect()
    }

    /// One axis: a list of values, or a rule that makes one.
    pub fn read_axis(&mut self, key: &str, entry: &Entry) -> Option<Axis> {
        let field = Shapes::get().field(key)?;
        let options = match &entry.node.kind {
            Kind::List(items) => {
                let options: Vec<_> =
                    items.iter().filter_map(|item| self.read_option(item, field, key)).collect();
                if items.is_empty() {
                    self.report_empty_axis(key, entry.node.at);
                }
                options
            }
            Kind::Table(rule) => self.read_series(rule, &entry.node, field, key)?,
            _ => {
                self.report.taint(key);
                let message = format!("the axis `{key}` must be a list, found {}", entry.node.in_words());
                self.report.push(Draft::new(entry.node.at, message).label("expected a list").help(format!(
                    "write \"{key}\" = [ … ], or set a single value in its section and not under [grid]"
                )));
                return None;
            }
        };
        if options.is_empty() {
            self.report.taint(key);
            return None;
        }
        Some(Axis { name: key.to_owned(), at: entry.name_at, options })
    }

    fn report_empty_axis(&mut self, key: &str, at: At) {
        self.report.taint(key);
        self.report.push(
            Draft::new(at, format!("the axis `{key}` has no values"))
                .label("no values")
                .help("give it at least one value, or remove it"),
        );
    }

    fn read_series(
        &mut self,
        rule: &[Entry],
        node: &Node,
        field: &Field,
        key: &str,
    ) -> Option<Vec<Vec<Assignment>>> {
        let numbers = match series::make_values(rule, node, &field.shape, key) {
            Ok(numbers) => numbers,
            Err(draft) => {
                self.report.taint(key);
                self.report.push(*draft);
                return None;
            }
        };
        if numbers.is_empty() {
            self.report_empty_axis(key, node.at);
        }
        let mut options = Vec::with_capacity(numbers.len());
        for number in numbers {
            // The values that a rule makes obey the same bounds as written ones, at the rule's place.
            let item = Node { at: node.at, kind: number };
            options.push(self.read_option(&item, field, key)?);
        }
        Some(options)
    }

    /// A value of an axis: one assignment, or one for each key of a table.
    pub(crate) fn read_option(&mut self, item: &Node, field: &Field, key: &str) -> Option<Vec<Assignment>> {
        let (Shape::Table(_), Some(entries)) = (&field.shape, item.entries()) else {
            return Some(vec![self.read_assignment(item, field, key)?]);
        };
        let leaves = self.flatten(entries, key, &format!("[{key}]"));
        let complete = leaves.len();
        let assignments: Vec<_> = leaves
            .into_iter()
            .filter_map(|(key, entry)| self.read_assignment(&entry.node, Shapes::get().field(&key)?, &key))
            .collect();
        (assignments.len() == complete).then_some(assignments)
    }

    fn read_assignment(&mut self, node: &Node, field: &Field, key: &str) -> Option<Assignment> {
        let declared = check::read_value(node, field, key, self.report)?;
        let mut value = declared.clone();
        paths::make_paths_absolute(key, &mut value, self.directory);
        Some(Assignment { key: key.to_owned(), value, declared, at: node.at })
    }

    fn read_zip(&mut self, table: &Node) -> Option<Axis> {
        let entries = table.entries()?;
        let columns = self.flatten(entries, "", "[[zip]]");
        let declared = columns.len();
        let axes: Vec<Axis> =
            columns.into_iter().filter_map(|(key, entry)| self.read_axis(&key, entry)).collect();
        let (Some(first), true) = (axes.first(), axes.len() == declared) else {
            if declared == 0 && entries.is_empty() {
                let help = "write at least two keys, each with a list of the same length";
                self.report.push(Draft::new(table.at, "this [[zip]] has no keys").label("empty").help(help));
            }
            return None;
        };
        if let Some(other) = axes.iter().find(|axis| axis.options.len() != first.options.len()) {
            axes.iter().for_each(|axis| self.report.taint(axis.name.clone()));
            let lengths = axes.iter().map(|axis| format!("`{}` has {}", axis.name, axis.options.len()));
            let message = format!(
                "the keys of a [[zip]] move together, so their lists must be equally long: {}",
                lengths.collect::<Vec<_>>().join(", ")
            );
            let draft = Draft::new(other.at, message)
                .label(format!("{} values", other.options.len()))
                .also(first.at, format!("{} values", first.options.len()))
                .help("make the lists equally long, or move the keys under [grid] to try every combination");
            self.report.push(draft);
            return None;
        }
        let options = (0..first.options.len())
            .map(|index| axes.iter().flat_map(|axis| axis.options[index].iter().cloned()).collect())
            .collect();
        Some(Axis { name: first.name.clone(), at: first.at, options })
    }

    fn read_selection(&mut self, table: &Node, name: &str) -> Option<Selection> {
        let entries = table.entries()?;
        let leaves = self.flatten(entries, "", &format!("[[{name}]]"));
        let declared = leaves.len();
        let mut assignments = Vec::new();
        for (key, entry) in leaves {
            let Some(field) = Shapes::get().field(&key) else { continue };
            assignments.extend(self.read_assignment(&entry.node, field, &key));
        }
        if entries.is_empty() {
            let help = match name {
                "exclude" => "name the keys and values of the points to leave out",
                _ => "name the keys and values of the point to add",
            };
            let draft =
                Draft::new(table.at, format!("this [[{name}]] has no keys")).label("empty").help(help);
            self.report.push(draft);
        }
        let complete = declared > 0 && assignments.len() == declared;
        if !complete && name == "exclude" {
            // The points that it should have left out would be complained about.
            self.report.taint("");
        }
        complete.then_some(Selection { at: table.at, assignments })
    }

    /// The tables of a list of tables.
    fn read_tables<'n>(&mut self, node: &'n Node, name: &str) -> Vec<&'n Node> {
        let Kind::List(items) = &node.kind else {
            self.report_not_a_table(
                node,
                name,
                &format!("write [[{name}]], with two brackets, for each table"),
            );
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items {
            if item.entries().is_some() {
                tables.push(item);
            } else {
                self.report_not_a_table(
                    item,
                    name,
                    &format!("write [[{name}]], with two brackets, for each table"),
                );
            }
        }
        tables
    }

    pub(crate) fn report_not_a_table(&mut self, node: &Node, name: &str, help: &str) {
        self.report.taint("");
        let expected = if matches!(name, "grid" | "search.space") { "a table" } else { "a list of tables" };
        let message = format!("`{name}` must be {expected}, found {}", node.in_words());
        self.report.push(Draft::new(node.at, message).label(format!("expected {expected}")).help(help));
    }

    /// The dotted keys of a table, whether written as `"a.b" = …` or `a.b = …`, with their entries.
    /// A section stays whole where its value is not a table.
    pub(crate) fn flatten<'n>(
        &mut self,
        entries: &'n [Entry],
        path: &str,
        place: &str,
    ) -> Vec<(String, &'n Entry)> {
        let is_values = |node: &Node| is_rule(node) || is_distribution(node);
        let mut keys = Vec::new();
        for entry in entries {
            let key = key::join(path, &entry.name);
            let section = key::section_of(&key);
            match Shapes::get().field(&key).filter(|_| is_run_section(section)) {
                Some(Field { shape: Shape::Table(_), .. }) if !is_values(&entry.node) => {
                    match entry.node.entries() {
                        Some(inner) => keys.extend(self.flatten(inner, &key, place)),
                        None => keys.push((key, entry)),
                    }
                }
                Some(_) => keys.push((key, entry)),
                None => self.report_unknown_axis(entry, &key, path, place),
            }
        }
        keys
    }

    fn report_unknown_axis(&mut self, entry: &Entry, key: &str, path: &str, place: &str) {
        let shapes = Shapes::get();
        if let Some(section) = shapes.field(key).map(|_| key::section_of(key)) {
            let message = format!("`{key}` cannot vary between runs: [{section}] is about all of them");
            return self.report.push(Draft::new(entry.name_at, message).label("not a key of a run"));
        }
        let message = format!("unknown key `{key}` in {place}");
        // A key without its section, or at the wrong place of the file.
        let bare: Vec<&str> =
            shapes.run_keys.iter().map(String::as_str).filter(|known| ends_with_name(known, key)).collect();
        let near = if bare.is_empty() {
            let known = shapes.run_keys.iter().map(String::as_str);
            suggest::find_nearest(key, known.clone())
                .or_else(|| known.clone().find(|known| is_near_in_section(known, key)))
                .into_iter()
                .collect()
        } else {
            bare
        };
        if near.is_empty() {
            if check::TOP_KEYS.contains(&key) {
                let label = "belongs at the top of the file, before the first section";
                return self
                    .report
                    .push(Draft::new(entry.name_at, format!("{message}: it {label}")).label(label));
            }
            self.report.taint(path);
            let sections = shapes.sections.iter().map(|section| section.name.as_str());
            let sections: Vec<&str> = sections.filter(|name| is_run_section(name)).collect();
            let help = format!(
                "keys are written with their section, as \"loss.temperature\"; the sections are {}",
                sections.join(", ")
            );
            return self.report.push(Draft::new(entry.name_at, message).label("unknown key").help(help));
        }
        near.iter().for_each(|near| self.report.taint(*near));
        let near = near.iter().map(|near| format!("`{near}`")).collect::<Vec<_>>().join(" or ");
        let draft = Draft::new(entry.name_at, format!("{message}, did you mean {near}?"));
        self.report.push(draft.label(format!("did you mean {near}?")));
    }
}

/// Whether a dotted key is `section.name`.
fn ends_with_name(known: &str, name: &str) -> bool {
    known
        .strip_suffix(name)
        .is_some_and(|section| section.ends_with('.') && section.matches('.').count() == 1)
}

/// Whether a dotted key is in the right section and its name is near.
fn is_near_in_section(known: &str, key: &str) -> bool {
    match (known.rsplit_once('.'), key.rsplit_once('.')) {
        (Some((section, name)), Some((wanted, near))) => {
            section == wanted && suggest::find_nearest(near, [name]).is_some()
        }
        (Some((_, name)), None) => suggest::find_nearest(key, [name]).is_some(),
        _ => false,
    }
}
