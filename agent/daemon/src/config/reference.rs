//! The reference of all keys, for people (Markdown) and for programs (JSON).

use super::{
    declare::{Key, Section, Table},
    keys::Config,
};
use serde_json::{Value, json};
use std::fmt::Write;

/// All tables and keys as Markdown.
pub(crate) fn markdown() -> String {
    let mut text = String::new();
    describe(Config::TABLE, &mut text);
    text
}

/// All tables and keys as JSON, for tools that make configurations.
pub(crate) fn schema() -> Value {
    let mut tables = Vec::new();
    list(Config::TABLE, &mut tables);
    json!({ "tables": tables })
}

/// The lines of a doc comment, each without the space that `///` leaves.
fn doc(lines: &[&str]) -> String {
    let lines: Vec<&str> = lines
        .iter()
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    lines.join("\n")
}

fn describe(table: &Table, text: &mut String) {
    let title = match (table.path, table.list) {
        ("", _) => "The robot".to_owned(),
        (path, false) => format!("`[{path}]`"),
        (path, true) => format!("`[[{path}]]`"),
    };
    // Writing to a String cannot fail.
    let _ = write!(text, "## {title}\n\n{}\n", doc(table.doc));
    for key in table.keys {
        let _ = write!(
            text,
            "\n### `{}`\n\n{}\n\n{}\n",
            key.path(table),
            facts(key),
            doc(key.doc)
        );
    }
    for inner in table.tables {
        text.push('\n');
        describe(inner, text);
    }
}

/// Type, default and range, in one line.
pub(super) fn facts(key: &Key) -> String {
    let article = match (key.list, key.choices.is_empty()) {
        (true, _) => "List of: ",
        (false, true) => "",
        (false, false) => "One of ",
    };
    let mut facts = if key.choices.is_empty() {
        format!("{article}{}", key.kind)
    } else {
        let words: Vec<String> = key
            .choices
            .iter()
            .map(|word| format!("`\"{word}\"`"))
            .collect();
        format!("{article}{}", words.join(", "))
    };
    match (key.default, key.optional) {
        (Some(default), _) => {
            let _ = write!(facts, " · default `{default}`");
        }
        (None, true) => facts.push_str(" · optional"),
        (None, false) => facts.push_str(" · **must be set**"),
    }
    if let Some((low, high)) = key.range {
        let _ = write!(facts, " · `{low}` to `{high}`");
    }
    facts
}

fn list(table: &Table, into: &mut Vec<Value>) {
    // What stands as TOML in a declaration is JSON as well: texts, numbers, true, [].
    let value = |toml: &str| serde_json::from_str::<Value>(toml).unwrap_or(Value::Null);
    let keys: Vec<Value> = table
        .keys
        .iter()
        .map(|key| {
            json!({
                "name": key.name,
                "type": key.kind,
                "list": key.list,
                "required": key.default.is_none() && !key.optional,
                "default": key.default.map(value),
                "minimum": key.range.map(|(low, _)| value(low)),
                "maximum": key.range.map(|(_, high)| value(high)),
                "choices": key.choices,
                "doc": doc(key.doc),
            })
        })
        .collect();
    into.push(json!({
        "path": table.path,
        "list": table.list,
        "doc": doc(table.doc),
        "keys": keys,
    }));
    for inner in table.tables {
        list(inner, into);
    }
}
