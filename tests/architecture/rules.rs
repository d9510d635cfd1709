//! The rules of the house: no arrow upward, no circle, no long file, no long line.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::tree::{Arrows, Tree};

/// What breaks a rule, one line each.
pub type Breaches = Vec<String>;

/// Names every arrow between modules at the top of the crate that leads to a later one in `floors`, which go
/// from the ground up, and every module that is on none.
pub fn find_upward_arrows(tree: &Tree, floors: &[&str]) -> Breaches {
    let floor_of = |module: &str| floors.iter().position(|floor| *floor == module);
    let mut breaches = Vec::new();
    let mut without = BTreeSet::new();
    for ((from, to), places) in tree.floors_used() {
        match (floor_of(&from), floor_of(&to)) {
            (Some(lower), Some(upper)) if lower < upper => {
                breaches.extend(
                    places.iter().map(|place| format!("{from} → {to}, which is above it, in {place}")),
                );
            }
            (lower, upper) => {
                without.extend(lower.is_none().then_some(from));
                without.extend(upper.is_none().then_some(to));
            }
        }
    }
    without.remove("lib");
    breaches
        .extend(without.iter().map(|module| format!("{module} has no floor: give it a place in the list")));
    breaches
}

/// The files of each circle, and a shortest way around it in words: `a.rs → b.rs (Name)`.
pub fn find_circles(arrows: &Arrows) -> Vec<(BTreeSet<String>, String)> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in arrows.keys() {
        next.entry(from).or_default().push(to);
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        next.keys().map(|&file| (file, reach(file, &next).into_keys().collect())).collect();
    let leads = |from: &str, to: &str| reached.get(from).is_some_and(|files| files.contains(to));
    let mut circles = Vec::new();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for &file in next.keys() {
        if !leads(file, file) || done.contains(file) {
            continue;
        }
        let members: BTreeSet<&str> =
            reached[file].iter().copied().filter(|other| leads(other, file)).collect();
        done.extend(&members);
        let shortest = members.iter().map(|member| way_around(member, &next)).min_by_key(Vec::len);
        let way = shortest.unwrap_or_default();
        let words = way.windows(2).map(|pair| {
            let names = &arrows[&(pair[0].to_owned(), pair[1].to_owned())];
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            format!("{} → {} ({})", pair[0], pair[1], names.join(", "))
        });
        let words = words.collect::<Vec<_>>().join("; ");
        circles.push((members.into_iter().map(str::to_owned).collect(), words));
    }
    circles
}

/// Every file that can be reached from one, and the file before it on a shortest way.
fn reach<'f>(file: &'f str, next: &BTreeMap<&'f str, Vec<&'f str>>) -> BTreeMap<&'f str, &'f str> {
    let mut before = BTreeMap::new();
    let mut queue = VecDeque::from([file]);
    while let Some(from) = queue.pop_front() {
        for &to in next.get(from).into_iter().flatten() {
            if !before.contains_key(to) {
                before.insert(to, from);
                queue.push_back(to);
            }
        }
    }
    before
}

/// A shortest way from a file back to itself.
fn way_around<'f>(file: &'f str, next: &BTreeMap<&'f str, Vec<&'f str>>) -> Vec<&'f str> {
    let before = reach(file, next);
    let mut way = vec![file];
    let mut place = file;
    while let Some(&from) = before.get(place) {
        way.push(from);
        place = from;
        if place == file {
            break;
        }
    }
    way.reverse();
    way
}

/// Names the files with more lines than `most`, but for those in `exceptions`, which may have the lines that
/// stand beside them.
pub fn find_long_files(
    files: &BTreeMap<String, String>,
    most: usize,
    exceptions: &[(&str, usize)],
) -> Breaches {
    let mut breaches = Vec::new();
    for (file, text) in files {
        let lines = text.lines().count();
        let allowed = exceptions.iter().find(|(name, _)| name == file).map_or(most, |(_, lines)| *lines);
        if lines > allowed {
            breaches
                .push(format!("{file} has {lines} lines, and {allowed} are allowed: divide it by subject"));
        }
    }
    for (name, _) in exceptions {
        if files.get(*name).is_none_or(|text| text.lines().count() <= most) {
            breaches.push(format!("{name} has {most} lines or fewer, or is gone: take it off the list"));
        }
    }
    breaches
}

/// Names the lines that are wider than `most` characters.
pub fn find_wide_lines(files: &BTreeMap<String, String>, most: usize) -> Breaches {
    let mut breaches = Breaches::new();
    for (file, text) in files {
        let columns = text.lines().map(|line| line.chars().count()).enumerate();
        breaches.extend(columns.filter(|(_, columns)| *columns > most).map(|(index, columns)| {
            format!("{file}:{}: {columns} columns, and {most} are allowed", index + 1)
        }));
    }
    breaches
}
