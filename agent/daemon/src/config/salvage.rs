//! What can still be read of a configuration that is refused.
//!
//! For what has to work all the same: a rollback, a look at the robot, an agent that stands still.
//! Nothing is ever fetched or tried by it.

use super::{
    declare::Values,
    keys::{Config, STAND_INS},
    layers::{self, Source},
    problem::{ConfigError, Place, Problem},
};
use std::path::Path;
use toml::de::DeValue;

/// Reads a configuration as [`layers::load`], and goes on where something is wrong: what stands in a
/// wrong place or contradicts something counts as not set.
///
/// The error says everything that is wrong, as [`layers::load`] does; `None`: nothing is.
///
/// # Errors
/// Not even the defaults can be used, which a test excludes.
pub(crate) fn salvage(path: &Path) -> Result<(Config, Option<ConfigError>), ConfigError> {
    let (sources, problems) = layers::sources(path);
    let usable = usable(path, &sources);
    match layers::assemble(path, &sources, problems) {
        Ok(config) => Ok((config, None)),
        Err(refused) => match usable {
            Some(config) => Ok((config, Some(refused))),
            None => Err(refused),
        },
    }
}

/// What can be used of these files.
pub(super) fn usable(path: &Path, sources: &[Source]) -> Option<Config> {
    let mut values = layers::lay(path, sources, &mut Vec::new());
    loop {
        for (name, text) in STAND_INS {
            if let Ok(value) = DeValue::parse(text) {
                // It stands nowhere, so nothing that is wrong takes it out.
                let stand_in = (value.into_inner(), Place::file(""));
                values.keys.entry(name).or_insert(stand_in);
            }
        }
        let (config, problems) = layers::judge(&values, &[]);
        if problems.is_empty() {
            return config;
        }
        // Every round leaves less: that is why this ends.
        if !leave_out(&mut values, &problems) {
            return (!sources.is_empty()).then(|| usable(path, &[])).flatten();
        }
    }
}

/// Takes out what stands where something is wrong. Says whether anything did.
fn leave_out(values: &mut Values<'_>, problems: &[Problem]) -> bool {
    let wrong = |place: &Place| problems.iter().any(|problem| problem.place == *place);
    let mut some = false;
    values.keys.retain(|_, (_, place)| {
        let bad = wrong(place);
        some |= bad;
        !bad
    });
    for inner in values.tables.values_mut() {
        some |= leave_out(inner, problems);
    }
    for list in values.lists.values_mut() {
        // An entry that lacks something is worth nothing.
        list.retain(|entry| {
            let bad = wrong(&entry.place) || entry.keys.values().any(|(_, place)| wrong(place));
            some |= bad;
            !bad
        });
    }
    some
}
