//! Names of releases of channels that are gone: no other release gets them when the channel is made again,
//! for robots remember by name what failed on them.

use serde::{Deserialize, Serialize};
use surefoot_core::release::{Manifest, Name};
use surefoot_trust::Editor;

/// The version of the file that is written and read here.
const SPEC: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Names {
    spec: u32,
    names: Vec<Name>,
}

/// The target that keeps them: beside the channels, and of no interest to robots.
fn target(channel: &Name) -> String {
    format!("names/{channel}.json")
}

/// The names of a channel that was there before; none if there was none.
///
/// # Errors
/// What is kept cannot be read.
pub(super) fn read(editor: &Editor, channel: &Name) -> anyhow::Result<Vec<Name>> {
    let Some(bytes) = editor.read_target(&target(channel))? else {
        return Ok(Vec::new());
    };
    let names: Names = serde_json::from_slice(&bytes)?;
    anyhow::ensure!(
        names.spec == SPEC,
        "{} has format {}, this program reads format {SPEC}; update Surefoot first",
        target(channel),
        names.spec
    );
    Ok(names.names)
}

/// Keeps the names of a channel that is about to go, with the next signature.
///
/// # Errors
/// The repository does not take it.
pub(crate) fn remember(editor: &mut Editor, manifest: &Manifest) -> anyhow::Result<()> {
    let names = manifest.names().filter_map(|name| name.parse().ok());
    let names = Names {
        spec: SPEC,
        names: names.collect(),
    };
    let bytes = serde_json::to_vec(&names)?;
    Ok(editor.put_target(&target(&manifest.channel), bytes)?)
}
