//! How a command says what it changed.

use crate::{
    desk::Ended,
    output::{Output, sanitize},
};
use serde_json::{Value, json};
use surefoot_core::release::Name;

/// What a command changed about a release, or would have changed.
pub(crate) struct Changed<'a> {
    pub(crate) channel: &'a Name,
    pub(crate) release: &'a Name,
    pub(crate) ended: Ended,
}

impl Changed<'_> {
    /// Prints it: for programs these fields and the command's own, for people a line each.
    ///
    /// # Errors
    /// Standard output takes nothing.
    pub(crate) fn report(
        self,
        own: Value,
        mut lines: Vec<String>,
        output: Output,
    ) -> anyhow::Result<()> {
        let mut object = json!({
            "channel": self.channel,
            "release": self.release,
        });
        let more = [own, serde_json::to_value(&self.ended)?];
        if let Some(object) = object.as_object_mut() {
            for more in more {
                object.extend(more.as_object().cloned().unwrap_or_default());
            }
        }
        lines.extend(self.ended.line());
        output.result(&object, |_| {
            let lines: Vec<String> = lines.iter().map(|line| sanitize(line)).collect();
            lines.join("\n")
        })
    }
}
