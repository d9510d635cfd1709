//! A tree of source files, and which file uses names of which.

use std::collections::{BTreeMap, BTreeSet};

use crate::module::{Module, read_modules};

/// Which file uses which names of which other file.
pub type Arrows = BTreeMap<(String, String), BTreeSet<String>>;

/// The modules of a crate, by their paths.
pub struct Tree {
    modules: BTreeMap<Vec<String>, (String, Module)>,
}

/// Modules, and the paths in them that are being followed: what passes on to itself ends.
type Seen = BTreeSet<(Vec<String>, Vec<String>)>;

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Module(Vec<String>),
    /// A name, and the module that defines it.
    Item(Vec<String>, String),
}

impl Tree {
    /// Reads files, given by their paths under `src` and their texts. Files that only tests compile are left
    /// out.
    pub fn read<'f>(files: impl IntoIterator<Item = (&'f str, &'f str)>) -> Self {
        let mut modules = BTreeMap::new();
        let mut tests = Vec::new();
        for (file, text) in files {
            let own = module_path(file);
            let (found, names) = read_modules(text);
            tests.extend(names.into_iter().map(|name| join(&own, &name)));
            for (inner, module) in found {
                modules.insert([own.as_slice(), &inner].concat(), (file.to_owned(), module));
            }
        }
        // The file `a/x_tests.rs` may be declared with `#[path]` in `a/x.rs`, as its module `tests`.
        let is_of_tests = |path: &[String]| {
            tests.iter().any(|test| path.starts_with(test))
                || path.iter().any(|name| name == "tests" || name.ends_with("_tests"))
        };
        modules.retain(|path: &Vec<String>, _| !is_of_tests(path));
        Self { modules }
    }

    /// Every use of a name of another file, at the file that defines it. A module that is brought in is not
    /// yet a use: what is taken from it is.
    pub fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (own, (from, module)) in &self.modules {
            for path in written_paths(module) {
                let Some(Target::Item(home, name)) = self.resolve(own, path) else { continue };
                if let Some((to, _)) = self.modules.get(&home).filter(|(to, _)| to != from) {
                    arrows.entry((from.clone(), to.clone())).or_default().insert(name);
                }
            }
        }
        arrows
    }

    /// Every use of one module at the top of the crate by another, as it is written and at the module that
    /// defines the name: the two modules, and `file: path`.
    pub fn floors_used(&self) -> BTreeMap<(String, String), BTreeSet<String>> {
        let mut used: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for (own, (file, module)) in &self.modules {
            let from = own.first().map_or_else(|| file.trim_end_matches(".rs").to_owned(), Clone::clone);
            for path in written_paths(module) {
                let mut tops = BTreeSet::new();
                if let Some(written) = self.start_of(own, path) {
                    tops.extend(written.first().cloned());
                }
                match self.resolve(own, path) {
                    Some(Target::Item(module, _) | Target::Module(module)) => {
                        tops.extend(module.first().cloned());
                    }
                    None => {}
                }
                for to in tops.into_iter().filter(|to| *to != from) {
                    let place = format!("{file}: {}", path.join("::"));
                    used.entry((from.clone(), to)).or_default().insert(place);
                }
            }
        }
        used
    }

    /// The module that a written path names first, where it begins with `crate`, `self` or `super`.
    fn start_of(&self, own: &[String], path: &[String]) -> Option<Vec<String>> {
        let (mut module, rest) = begin(own, path)?;
        module.extend(rest.first().cloned());
        self.modules.contains_key(&module).then_some(module)
    }

    /// What a path leads to that is written in a module; nothing where it leads out of the crate.
    fn resolve(&self, own: &[String], path: &[String]) -> Option<Target> {
        self.follow(own, path, &mut BTreeSet::new())
    }

    fn follow(&self, own: &[String], path: &[String], seen: &mut Seen) -> Option<Target> {
        if !seen.insert((own.to_vec(), path.to_vec())) {
            return None;
        }
        let (mut module, names) = match begin(own, path) {
            Some(begun) => begun,
            None => {
                // A name of this module, or another crate.
                let first = path.first()?;
                let known = self.find(own, first, path.len() == 1, seen)?;
                match known {
                    Target::Module(module) => (module, &path[1..]),
                    item => return Some(item),
                }
            }
        };
        for (index, name) in names.iter().enumerate() {
            match self.find(&module, name, index + 1 == names.len(), seen) {
                Some(Target::Module(next)) => module = next,
                // What follows the name of a type belongs to it.
                Some(item) => return Some(item),
                None => return Some(Target::Item(module, name.clone())),
            }
        }
        Some(Target::Module(module))
    }

    /// What a name means in a module: a module inside it, what it defines, what it brings in.
    fn find(&self, own: &[String], name: &str, is_last: bool, seen: &mut Seen) -> Option<Target> {
        let inner = join(own, name);
        let is_module = self.modules.contains_key(&inner);
        let Some((_, module)) = self.modules.get(own) else {
            // The crate's own file is not needed to know its modules.
            return is_module.then_some(Target::Module(inner));
        };
        // `pub use grid::grid` passes on the function; before `::` the same name is the module.
        let is_named = module.items.contains(name) || module.imports.iter().any(|import| import.name == name);
        if is_module && !(is_last && is_named) {
            return Some(Target::Module(inner));
        }
        if module.items.contains(name) {
            return Some(Target::Item(own.to_vec(), name.to_owned()));
        }
        // What a module brings in under its own name, as `use serde_json::Value`, leads out of the crate.
        let named = module.imports.iter().filter(|import| import.name == name);
        let found = named
            .filter(|import| import.path != [name])
            .find_map(|import| self.follow(own, &import.path, seen));
        if found.is_some() || is_module {
            return found.or(Some(Target::Module(inner)));
        }
        let all = module.imports.iter().filter(|import| import.name == "*");
        all.into_iter().find_map(|import| {
            let Some(Target::Module(from)) = self.follow(own, &import.path, seen) else { return None };
            if from == own { None } else { self.find(&from, name, is_last, seen) }
        })
    }
}

/// The paths that stand in a module, imports first.
fn written_paths(module: &Module) -> impl Iterator<Item = &[String]> {
    module.imports.iter().map(|import| &import.path).chain(&module.paths).map(Vec::as_slice)
}

/// Where a path begins that starts with `crate`, `self` or `super`, or in the program with the library's
/// name, and the names behind.
fn begin<'p>(own: &[String], path: &'p [String]) -> Option<(Vec<String>, &'p [String])> {
    let (first, mut rest) = path.split_first()?;
    let mut module = match first.as_str() {
        "crate" => Vec::new(),
        "kdx" if own == ["main"] => Vec::new(),
        "self" => own.to_vec(),
        "super" => own.split_last()?.1.to_vec(),
        _ => return None,
    };
    while let Some((_, behind)) = rest.split_first().filter(|(name, _)| *name == "super") {
        module.pop();
        rest = behind;
    }
    Some((module, rest))
}

/// The module of a file: `a/mod.rs` is `a`, `a/b.rs` is `a::b`, `lib.rs` is the crate.
fn module_path(file: &str) -> Vec<String> {
    let stem = file.trim_end_matches(".rs");
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    if stem == "lib" { Vec::new() } else { stem.split('/').map(str::to_owned).collect() }
}

fn join(module: &[String], name: &str) -> Vec<String> {
    module.iter().cloned().chain([name.to_owned()]).collect()
}
