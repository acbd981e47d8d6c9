//! Fields that another version wrote and that this one does not know: kept where they were.
//!
//! Two versions of the agent write the same journal in a trial, and two versions of `surefoot publish`
//! the same manifest. No type here has to know of it: what was read is compared with what this version
//! would write of it, and what is missing there is put back into every object that has not changed.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// What a text had that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Foreign(Vec<Fields>);

/// Fields of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fields {
    /// Where it was, as a JSON pointer (RFC 6901).
    at: String,
    /// The object as this version writes it.
    of: Value,
    /// What else it had.
    fields: Map<String, Value>,
}

/// Reads JSON that is going to be written again: with what in it is not known here.
///
/// # Errors
/// It is not JSON, or of another shape.
pub fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<(T, Foreign)> {
    let whole: Value = serde_json::from_slice(bytes)?;
    // A field that stands there twice counts once, here as in what is kept.
    let content = T::deserialize(&whole)?;
    let ours = serde_json::to_value(&content)?;
    Ok((content, Foreign::of(&whole, &ours)))
}

/// The text of JSON, for people too, with what other versions wrote in it.
///
/// # Errors
/// The content cannot be written as JSON.
pub fn to_bytes<T: Serialize>(content: &T, foreign: &Foreign) -> serde_json::Result<Vec<u8>> {
    let mut bytes = if foreign.is_empty() {
        serde_json::to_vec_pretty(content)?
    } else {
        let mut value = serde_json::to_value(content)?;
        foreign.put_back(&mut value);
        serde_json::to_vec_pretty(&value)?
    };
    bytes.push(b'\n');
    Ok(bytes)
}

impl Foreign {
    /// What is in `read` and not in `known`, which is what this version writes of it.
    #[must_use]
    pub fn of(read: &Value, known: &Value) -> Self {
        let mut foreign = Self::default();
        foreign.compare(read, known, String::new());
        foreign
    }

    /// Whether there is nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts everything back into what is written now: into the object at the same place if it has not
    /// changed, else into one that has not changed elsewhere. What stood at the top stays whatever
    /// changes.
    pub fn put_back(&self, now: &mut Value) {
        let same_place = |f: &Fields| f.at.is_empty() || now.pointer(&f.at) == Some(&f.of);
        let (stayed, moved): (Vec<_>, Vec<_>) = self.0.iter().partition(|f| same_place(f));
        let mut places: Vec<(String, &Fields)> =
            stayed.into_iter().map(|f| (f.at.clone(), f)).collect();
        for fields in moved {
            let free = |at: &str| places.iter().all(|(taken, _)| taken != at);
            if let Some(at) = find(now, &fields.of, String::new(), &free) {
                places.push((at, fields));
            }
        }
        for (at, fields) in places {
            if let Some(Value::Object(object)) = now.pointer_mut(&at) {
                for (name, value) in &fields.fields {
                    object.entry(name.clone()).or_insert_with(|| value.clone());
                }
            }
        }
    }

    fn compare(&mut self, read: &Value, known: &Value, at: String) {
        match (read, known) {
            (Value::Object(read), Value::Object(fields)) => {
                for (name, field) in fields {
                    if let Some(read) = read.get(name) {
                        self.compare(read, field, below(&at, name));
                    }
                }
                // Nothing is not worth keeping: many leave it out.
                let unknown: Map<String, Value> = read
                    .iter()
                    .filter(|(name, value)| !fields.contains_key(*name) && !value.is_null())
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect();
                if !unknown.is_empty() {
                    self.0.push(Fields {
                        at,
                        of: known.clone(),
                        fields: unknown,
                    });
                }
            }
            (Value::Array(read), Value::Array(known)) if read.len() == known.len() => {
                for (n, (read, known)) in read.iter().zip(known).enumerate() {
                    self.compare(read, known, format!("{at}/{n}"));
                }
            }
            _ => {}
        }
    }
}

/// Where in `value`, which is at `at`, an object is, at a place that is free.
fn find(value: &Value, object: &Value, at: String, free: &dyn Fn(&str) -> bool) -> Option<String> {
    if value == object && free(&at) {
        return Some(at);
    }
    match value {
        Value::Object(fields) => fields
            .iter()
            .find_map(|(name, field)| find(field, object, below(&at, name), free)),
        Value::Array(items) => (items.iter().enumerate())
            .find_map(|(n, item)| find(item, object, format!("{at}/{n}"), free)),
        _ => None,
    }
}

/// The JSON pointer of a field.
fn below(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_known_stays_with_what_has_not_changed() {
        let read = json!({
            "a": 1, "weather": "fine",
            "list": [{"n": 1, "x": 1}, {"n": 1, "x": 2}, {"n": 2, "deep": {"m": 1, "y": [3]}}],
            "gone": {"k": 1, "z": 4},
        });
        let known = json!({
            "a": 1, "list": [{"n": 1}, {"n": 1}, {"n": 2, "deep": {"m": 1}}], "gone": {"k": 1},
        });
        let foreign = Foreign::of(&read, &known);
        let put_back = |mut now: Value| {
            foreign.put_back(&mut now);
            now
        };
        assert_eq!(put_back(known), read);
        let moved = json!({
            "a": 2, "list": [{"n": 3}, {"n": 1}, {"n": 5, "deep": {"m": 1}}, {"n": 1}], "gone": {"k": 2},
        });
        assert_eq!(
            put_back(moved),
            json!({
                "a": 2, "weather": "fine",
                "list": [
                    {"n": 3}, {"n": 1, "x": 2}, {"n": 5, "deep": {"m": 1, "y": [3]}}, {"n": 1, "x": 1},
                ],
                "gone": {"k": 2},
            })
        );
        assert!(Foreign::of(&json!({"a": null}), &json!({})).is_empty());
    }
}
