//! Who holds which key: names in the root, for people. Nothing is decided by them.

use crate::{
    Error,
    metadata::{KEY_NAMES, KeyId, MAX_KEY_NAME, Root},
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The names that a root has for keys.
pub(super) fn key_names(root: &Root) -> BTreeMap<KeyId, String> {
    let names = root.extra.get(KEY_NAMES).and_then(Value::as_object);
    let named = names.into_iter().flatten().filter_map(|(id, name)| {
        let name: String = name.as_str()?.chars().take(MAX_KEY_NAME).collect();
        Some((id.clone(), name))
    });
    named.collect()
}

/// Gives keys other names; an empty one takes a name away.
///
/// # Errors
/// [`Error::Usage`] for a name that is too long.
pub(super) fn name_keys(root: &mut Root, names: &BTreeMap<KeyId, String>) -> Result<(), Error> {
    let mut all = key_names(root);
    for (id, name) in names {
        if name.chars().count() > MAX_KEY_NAME {
            return Err(Error::Usage(format!(
                "the name of key {id} has more than {MAX_KEY_NAME} characters"
            )));
        }
        if name.is_empty() {
            all.remove(id);
        } else {
            all.insert(id.clone(), name.clone());
        }
    }
    let all: Map<String, Value> = all
        .into_iter()
        .map(|(id, name)| (id, name.into()))
        .collect();
    if all.is_empty() {
        root.extra.remove(KEY_NAMES);
    } else {
        root.extra.insert(KEY_NAMES.into(), all.into());
    }
    Ok(())
}
