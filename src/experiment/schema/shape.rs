//! The JSON Schema of the configuration types, compiled into what a checker needs.

use std::fmt;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::sections::describe_sections;
use crate::experiment::key;

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// A table with these keys and no others.
    Table(Vec<Field>),
    /// A table with any keys, all values alike.
    Map(Box<Shape>),
    /// A list of values that are alike.
    List(Box<Shape>),
    /// Any text.
    Text,
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Choice(Vec<String>),
    /// A finite number.
    Number(Bounds),
    /// A whole number.
    Whole(Bounds),
    /// One of several.
    Any(Vec<Shape>),
    /// A construct that the compiler does not know; a test sees to it that there is none.
    Unknown,
}

/// A key of a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub name: String,
    pub description: String,
    pub shape: Shape,
}

/// How small and large a number may be.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Bounds {
    at_least: Option<f64>,
    above: Option<f64>,
    at_most: Option<f64>,
    below: Option<f64>,
}

impl Bounds {
    /// Whether a number lies within.
    pub fn hold(&self, number: f64) -> bool {
        self.at_least.is_none_or(|bound| number >= bound)
            && self.above.is_none_or(|bound| number > bound)
            && self.at_most.is_none_or(|bound| number <= bound)
            && self.below.is_none_or(|bound| number < bound)
    }
}

/// As ` from 0 to 1`, ` of at least 1`, ` greater than 0 and less than 1`.
impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(least), Some(most)) = (self.at_least, self.at_most) {
            return write!(f, " from {least} to {most}");
        }
        let lower = match (self.at_least, self.above) {
            (Some(bound), _) => Some(format!(" of at least {bound}")),
            (None, Some(bound)) => Some(format!(" greater than {bound}")),
            (None, None) => None,
        };
        let upper = match (self.at_most, self.below) {
            (Some(bound), _) => Some(format!(" of at most {bound}")),
            (None, Some(bound)) => Some(format!(" less than {bound}")),
            (None, None) => None,
        };
        let and = if lower.is_some() && upper.is_some() { " and" } else { "" };
        write!(f, "{}{and}{}", lower.unwrap_or_default(), upper.unwrap_or_default())
    }
}

/// What is expected, as `a number greater than 0`.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(_) | Self::Map(_) => f.write_str("a table"),
            Self::List(item) => write!(f, "a list, each item {item}"),
            Self::Text => f.write_str("text"),
            Self::Boolean => f.write_str("true or false"),
            Self::Choice(words) if words.len() == 1 => write!(f, "`{}`", words[0]),
            Self::Choice(words) => {
                write!(f, "one of {}", words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", "))
            }
            Self::Number(bounds) => write!(f, "a number{bounds}"),
            Self::Whole(bounds) => write!(f, "a whole number{bounds}"),
            Self::Any(shapes) => {
                f.write_str(&shapes.iter().map(Shape::to_string).collect::<Vec<_>>().join(" or "))
            }
            Self::Unknown => f.write_str("something else"),
        }
    }
}

/// The sections of an experiment file, compiled.
#[derive(Debug)]
pub(crate) struct Shapes {
    /// The sections: those of a run, `resources`, `search`, `slurm` and `compare`.
    pub sections: Vec<Field>,
    /// The dotted keys of a run that hold one value each: what an axis can move.
    pub run_keys: Vec<String>,
}

impl Shapes {
    /// The compiled schema of this kdx.
    pub fn get() -> &'static Self {
        static SHAPES: LazyLock<Shapes> = LazyLock::new(|| {
            let sections = compile(&describe_sections());
            let Shape::Table(sections) = sections else { return Shapes::new(Vec::new()) };
            Shapes::new(sections)
        });
        &SHAPES
    }

    fn new(sections: Vec<Field>) -> Self {
        let mut run_keys = Vec::new();
        for section in sections.iter().filter(|section| is_run_section(&section.name)) {
            collect_leaves(&section.shape, &section.name, &mut run_keys);
        }
        Self { sections, run_keys }
    }

    /// What stands under a dotted key, whole sections included.
    pub fn field(&self, key: &str) -> Option<&Field> {
        let mut fields = &self.sections;
        let mut found = None;
        for name in key.split('.') {
            let field = fields.iter().find(|field| field.name == name)?;
            found = Some(field);
            fields = match &field.shape {
                Shape::Table(fields) => fields,
                _ => const { &Vec::new() },
            };
        }
        found
    }

    /// The tables that have a key of this name, dotted; the empty one is the top of the file.
    pub fn find_tables_with(&self, name: &str) -> Vec<String> {
        let mut tables = Vec::new();
        collect_tables_with(&self.sections, "", name, &mut tables);
        tables
    }
}

/// Whether a section is part of a run, so that its keys can be axes.
pub(crate) fn is_run_section(name: &str) -> bool {
    !matches!(name, "resources" | "search" | "slurm" | "compare")
}

fn collect_leaves(shape: &Shape, key: &str, keys: &mut Vec<String>) {
    match shape {
        Shape::Table(fields) => {
            for field in fields {
                collect_leaves(&field.shape, &format!("{key}.{}", field.name), keys);
            }
        }
        _ => keys.push(key.to_owned()),
    }
}

fn collect_tables_with(fields: &[Field], path: &str, name: &str, tables: &mut Vec<String>) {
    for field in fields {
        if field.name == name {
            tables.push(path.to_owned());
        }
        if let Shape::Table(inner) = &field.shape {
            collect_tables_with(inner, &key::join(path, &field.name), name, tables);
        }
    }
}

fn compile(root: &Value) -> Shape {
    let none = Map::new();
    let definitions = root.get("$defs").and_then(Value::as_object).unwrap_or(&none);
    compile_shape(root, definitions)
}

fn compile_shape(schema: &Value, definitions: &Map<String, Value>) -> Shape {
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let name = target.rsplit('/').next().unwrap_or_default();
        return definitions.get(name).map_or(Shape::Unknown, |target| compile_shape(target, definitions));
    }
    if let Some(options) = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array) {
        let words: Option<Vec<String>> =
            options.iter().map(|option| option.get("const")?.as_str().map(str::to_owned)).collect();
        return match words {
            Some(words) => Shape::Choice(words),
            None => Shape::Any(options.iter().map(|option| compile_shape(option, definitions)).collect()),
        };
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => compile_object(schema, definitions),
        Some("array") => match schema.get("items") {
            Some(items) => Shape::List(Box::new(compile_shape(items, definitions))),
            None => Shape::Unknown,
        },
        Some("string") => match schema.get("const").and_then(Value::as_str) {
            Some(word) => Shape::Choice(vec![word.to_owned()]),
            None => Shape::Text,
        },
        Some("boolean") => Shape::Boolean,
        Some("number") => Shape::Number(read_bounds(schema)),
        Some("integer") => Shape::Whole(read_bounds(schema)),
        _ => Shape::Unknown,
    }
}

fn compile_object(schema: &Value, definitions: &Map<String, Value>) -> Shape {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return match schema.get("additionalProperties") {
            Some(values) if values.is_object() => Shape::Map(Box::new(compile_shape(values, definitions))),
            _ => Shape::Unknown,
        };
    };
    let field = |(name, schema): (&String, &Value)| Field {
        name: name.clone(),
        description: schema.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " "),
        shape: compile_shape(schema, definitions),
    };
    Shape::Table(properties.iter().map(field).collect())
}

fn read_bounds(schema: &Value) -> Bounds {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    Bounds {
        at_least: bound("minimum"),
        above: bound("exclusiveMinimum"),
        at_most: bound("maximum"),
        below: bound("exclusiveMaximum"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect_shapes<'a>(shape: &'a Shape, found: &mut Vec<&'a Shape>) {
        found.push(shape);
        match shape {
            Shape::Table(fields) => fields.iter().for_each(|field| collect_shapes(&field.shape, found)),
            Shape::Map(inner) | Shape::List(inner) => collect_shapes(inner, found),
            Shape::Any(shapes) => shapes.iter().for_each(|shape| collect_shapes(shape, found)),
            _ => {}
        }
    }

    #[test]
    fn every_construct_of_the_schema_is_understood() {
        let mut found = Vec::new();
        for section in &Shapes::get().sections {
            assert!(matches!(section.shape, Shape::Table(_)), "{}", section.name);
            collect_shapes(&section.shape, &mut found);
        }
        assert!(found.len() > 60);
        assert!(!found.contains(&&Shape::Unknown));
    }

    #[test]
    fn every_keyword_of_the_schema_is_checked_or_only_documents() {
        fn visit(schema: &Value) {
            let Some(object) = schema.as_object() else { return };
            for (keyword, value) in object {
                match keyword.as_str() {
                    "properties" | "$defs" => value.as_object().unwrap().values().for_each(visit),
                    "items" | "additionalProperties" => visit(value),
                    "oneOf" | "anyOf" => value.as_array().unwrap().iter().for_each(visit),
                    "type" | "$ref" | "const" | "minimum" | "maximum" | "exclusiveMinimum"
                    | "exclusiveMaximum" => {}
                    "$schema" | "title" | "description" | "default" => {}
                    other => panic!("`{other}` is not checked"),
                }
            }
        }
        visit(&describe_sections());
    }

    #[test]
    fn keys_are_found_with_their_bounds() {
        let shapes = Shapes::get();
        let expected = |key: &str| shapes.field(key).unwrap().shape.to_string();
        assert_eq!(expected("loss.temperature"), "a number greater than 0");
        assert_eq!(expected("loss.alpha"), "a number from 0 to 1");
        assert_eq!(expected("optimizer.beta1"), "a number of at least 0 and less than 1");
        assert_eq!(expected("teacher.train.steps"), "a whole number of at least 1");
        assert_eq!(expected("resources.per_device"), "`auto` or a whole number of at least 1");
        assert_eq!(expected("data.train"), "text or a list, each item text");
        assert_eq!(expected("loss"), "a table");
        assert!(shapes.field("loss.temprature").is_none());
        assert!(shapes.field("loss.temperature.x").is_none());
        assert!(shapes.run_keys.iter().any(|key| key == "teacher.hidden_size"));
        assert!(!shapes.run_keys.iter().any(|key| key.starts_with("resources")));
        assert_eq!(shapes.find_tables_with("temperature"), ["loss"]);
        assert_eq!(shapes.find_tables_with("epochs"), ["teacher.train", "train"]);
    }
}
