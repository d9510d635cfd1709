//! A sweep as people and programs watch it: bars on a terminal, plain lines or JSON elsewhere.

mod bars;
mod json;
mod lines;
mod words;
mod work;

use std::io::IsTerminal;

use crate::schedule::Watcher;

/// What a watcher shows.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The experiment's name.
    pub name: &'a str,
    /// Runs that were done before.
    pub done_before: usize,
    /// One JSON object a line on standard output, instead of what people read.
    pub json: bool,
}

/// JSON where it is asked for, else bars where standard error is a terminal, else lines.
pub fn watcher(view: View) -> Box<dyn Watcher> {
    if view.json {
        Box::new(json::Json::new(view.name, view.done_before))
    } else if std::io::stderr().is_terminal() {
        Box::new(bars::Bars::new(view.name, view.done_before))
    } else {
        Box::new(lines::Lines::new(view.name, view.done_before))
    }
}
