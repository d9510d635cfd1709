//! The rules can fail: made-up trees that break them, and what must not be taken for a breach.

use std::collections::{BTreeMap, BTreeSet};

use crate::rules::{find_circles, find_long_files, find_upward_arrows, find_wide_lines};
use crate::tree::Tree;

/// The arrows of a tree, as `a.rs → b.rs: X, Y`.
fn arrows(files: &[(&str, &str)]) -> Vec<String> {
    let arrows = Tree::read(files.iter().copied()).arrows();
    let in_words = |((from, to), names): (&(String, String), &BTreeSet<String>)| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        format!("{from} → {to}: {}", names.join(", "))
    };
    arrows.iter().map(in_words).collect()
}

fn upward(files: &[(&str, &str)], floors: &[&str]) -> Vec<String> {
    find_upward_arrows(&Tree::read(files.iter().copied()), floors)
}

#[test]
fn an_arrow_upward_is_named_with_its_place() {
    let files = [
        ("lib.rs", "pub mod spec; pub mod store;"),
        ("spec/mod.rs", "mod run; pub use run::RunId;"),
        ("spec/run.rs", "use crate::store::Store; pub struct RunId;"),
        ("store/mod.rs", "use crate::spec::RunId; pub struct Store;"),
    ];
    let expected = "spec → store, which is above it, in spec/run.rs: crate::store::Store";
    assert_eq!(upward(&files, &["spec", "store"]), [expected]);
    assert_eq!(upward(&files, &["store", "spec"]).len(), 1, "the other order has the other arrow wrong");
}

#[test]
fn a_name_that_another_module_passes_on_leads_to_both() {
    let files = [
        ("kernels.rs", "fn f(id: crate::store::RunId) {}"),
        ("spec.rs", "pub struct RunId;"),
        ("store.rs", "pub use crate::spec::RunId;"),
    ];
    let breaches = upward(&files, &["kernels", "spec", "store"]);
    assert_eq!(breaches.len(), 2, "{breaches:?}");
    assert!(breaches[0].starts_with("kernels → spec") && breaches[1].starts_with("kernels → store"));
}

#[test]
fn a_module_needs_a_floor() {
    let files = [("spec.rs", "pub struct RunId;"), ("attic.rs", "use crate::spec::RunId;")];
    assert_eq!(upward(&files, &["spec"]), ["attic has no floor: give it a place in the list"]);
}

#[test]
fn the_program_stands_above_the_library() {
    let files = [("main.rs", "fn main() { kdx::cli::main() }"), ("cli.rs", "pub fn main() {}")];
    assert_eq!(upward(&files, &["main", "cli"]).len(), 1);
    assert!(upward(&files, &["cli", "main"]).is_empty());
}

#[test]
fn a_circle_through_what_the_parent_passes_on_is_one_of_the_children() {
    let files = [
        ("a/mod.rs", "mod x; mod y; pub use x::X; pub use y::Y;"),
        ("a/x.rs", "use super::Y; pub struct X;"),
        ("a/y.rs", "fn f(x: super::X) {} pub struct Y;"),
    ];
    let circles = find_circles(&Tree::read(files).arrows());
    let [(members, way)] = circles.as_slice() else { panic!("{circles:?}") };
    assert_eq!(members.iter().collect::<Vec<_>>(), ["a/x.rs", "a/y.rs"]);
    assert_eq!(way, "a/x.rs → a/y.rs (Y); a/y.rs → a/x.rs (X)");
}

#[test]
fn a_long_circle_is_shown_by_a_shortest_way_around() {
    let files = [
        ("a.rs", "use crate::b::B; use crate::c::C; pub struct A;"),
        ("b.rs", "use crate::c::C; pub struct B;"),
        ("c.rs", "use crate::a::A; pub struct C;"),
        ("d.rs", "use crate::a::A;"),
    ];
    let circles = find_circles(&Tree::read(files).arrows());
    let [(members, way)] = circles.as_slice() else { panic!("{circles:?}") };
    assert_eq!(members.len(), 3);
    assert_eq!(way, "a.rs → c.rs (C); c.rs → a.rs (A)");
}

#[test]
fn a_parent_that_defines_what_its_child_takes_is_a_file_like_any_other() {
    let passes_on = [("a/mod.rs", "mod x; pub use x::X;"), ("a/x.rs", "pub struct X;")];
    assert!(find_circles(&Tree::read(passes_on).arrows()).is_empty());
    let defines = [("a/mod.rs", "mod x; pub use x::X; pub struct A;"), ("a/x.rs", "pub struct X(super::A);")];
    assert_eq!(find_circles(&Tree::read(defines).arrows()).len(), 1);
}

#[test]
fn groups_renames_and_everything_at_once_are_followed() {
    let files = [
        ("a/mod.rs", "pub mod x; pub mod y;"),
        ("a/x.rs", "pub struct X; pub enum Kind { One } pub fn r#make() {}"),
        ("a/y.rs", "pub struct Y;"),
        ("b.rs", "use crate::{a::{self, x::{X as Other, Kind::One}}, c};\nfn f() { a::y::Y; c::C; }"),
        (
            "c.rs",
            "use crate::a::x::*; use std::fmt; fn g() -> fmt::Result { make() } pub struct C(Box<self::C>);",
        ),
        ("d.rs", "use crate::e::make; pub use std::fmt::Display;"),
        ("e.rs", "pub use crate::a::x::*;"),
    ];
    let expected = [
        "b.rs → a/x.rs: Kind, X",
        "b.rs → a/y.rs: Y",
        "b.rs → c.rs: C",
        // A name that only `*` brings in, and that stands alone, is not seen; through `*` passed on it is.
        "d.rs → a/x.rs: make",
    ];
    assert_eq!(arrows(&files), expected);
}

#[test]
fn modules_inside_a_file_are_part_of_it() {
    let files = [
        ("a.rs", "mod inner { use super::super::b::B; fn f() -> super::A { } } pub struct A;"),
        ("b.rs", "pub struct B;"),
    ];
    assert_eq!(arrows(&files), ["a.rs → b.rs: B"]);
}

#[test]
fn what_is_no_code_or_only_for_tests_is_no_arrow() {
    let text = r##"
//! `use crate::b::B;`
/* crate::b::B /* nested */ crate::b::B */
pub(in crate::b) const TEXT: &str = "crate::b::B \" crate::b::B";
const RAW: &str = r#"crate::b::B " crate::b::B"#;
const QUOTE: [char; 3] = ['"', '\'', '\\'];
fn f<'a>(text: &'a str) -> impl Sized + use<'a> { text }
#[cfg(test)]
use crate::b::{B, C};
#[cfg(test)]
#[allow(unused)]
mod more { fn g() { crate::b::B } }
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "x"))]
use crate::c::C;
"##;
    let files = [
        ("a/mod.rs", text),
        ("a/tests.rs", "use crate::b::B;"),
        ("b.rs", "pub struct B; #[cfg(test)] mod checks;"),
        ("b/checks.rs", "use crate::a::RAW;"),
        ("c.rs", "pub struct C;"),
    ];
    assert_eq!(arrows(&files), ["a/mod.rs → c.rs: C"]);
}

#[test]
fn long_files_and_wide_lines_are_named_and_exceptions_grow_stale() {
    let files = BTreeMap::from([
        ("long.rs".to_owned(), "x\n".repeat(5)),
        ("short.rs".to_owned(), format!("ä{}\n", "x".repeat(9))),
    ]);
    let expected = "long.rs has 5 lines, and 4 are allowed: divide it by subject";
    assert_eq!(find_long_files(&files, 4, &[]), [expected]);
    assert!(find_long_files(&files, 4, &[("long.rs", 5)]).is_empty());
    assert_eq!(find_long_files(&files, 5, &[("long.rs", 9), ("gone.rs", 9)]).len(), 2);
    assert!(find_wide_lines(&files, 10).is_empty(), "columns are characters");
    assert_eq!(find_wide_lines(&files, 9), ["short.rs:1: 10 columns, and 9 are allowed"]);
}
