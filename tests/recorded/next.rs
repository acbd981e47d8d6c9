//! A made-up next version of a recorded text: what later versions may do to a format.

use serde_json::{Value, json};

/// The places of a text, as paths that `serde_json::Value::pointer` follows: of its objects, and of its
/// words. A word is what one of the fields `named` says.
pub(crate) fn places(text: &Value, named: &[&str]) -> (Vec<String>, Vec<String>) {
    let (mut objects, mut words) = (Vec::new(), Vec::new());
    let mut left = vec![(String::new(), text)];
    while let Some((at, value)) = left.pop() {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                    if value.is_string() && named.contains(&name.as_str()) {
                        words.push(at.clone());
                    }
                    left.push((at, value));
                }
                objects.push(at);
            }
            Value::Array(items) => {
                let items = items.iter().enumerate();
                left.extend(items.map(|(n, item)| (format!("{at}/{n}"), item)));
            }
            _ => {}
        }
    }
    (objects, words)
}

/// The text with one field more, in each of its objects in turn, and with an unknown word in the place of
/// each of its words; and where that is.
pub(crate) fn versions(text: &Value, named: &[&str]) -> Vec<(String, Value)> {
    let (objects, words) = places(text, named);
    let changed = |at: String, change: &dyn Fn(&mut Value)| {
        let mut next = text.clone();
        if let Some(place) = next.pointer_mut(&at) {
            change(place);
        }
        (at, next)
    };
    let objects = objects
        .into_iter()
        .map(|at| changed(at, &|object| object["quiteNew"] = json!({"deep": [1]})));
    let words = words
        .into_iter()
        .map(|at| changed(at, &|word| *word = json!("quiteNew")));
    objects.chain(words).collect()
}
