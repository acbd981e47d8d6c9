//! How a command says what it changed.

use crate::{
    desk::ChangeArgs,
    output::{Output, sanitize},
};
use serde_json::{Value, json};
use surefoot_core::release::Name;
use surefoot_trust::editor::Versions;

/// What a command changed about a release, or would have changed.
pub(crate) struct Changed<'a> {
    pub(crate) channel: &'a Name,
    pub(crate) release: &'a Name,
    /// What was signed; `None` for a dry run.
    pub(crate) versions: Option<Versions>,
}

impl Changed<'_> {
    /// Prints it: for programs these fields and the command's own, for people a line each.
    ///
    /// # Errors
    /// Standard output takes nothing.
    pub(crate) fn report(
        self,
        args: &ChangeArgs,
        own: Value,
        mut lines: Vec<String>,
        output: Output,
    ) -> anyhow::Result<()> {
        let mut object = json!({
            "channel": self.channel,
            "release": self.release,
            "dryRun": args.dry_run,
            "versions": self.versions,
        });
        if let (Some(object), Value::Object(own)) = (object.as_object_mut(), own) {
            object.extend(own);
        }
        if args.dry_run {
            lines.push("Nothing was signed: this was a dry run.".into());
        }
        output.result(&object, |_| {
            let lines: Vec<String> = lines.iter().map(|line| sanitize(line)).collect();
            lines.join("\n")
        })
    }
}
