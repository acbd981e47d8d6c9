//! GRUB's block of variables, `grubenv` (GRUB manual, "Environment block").

use crate::{boot::files::replace, robot};
use anyhow::{Context as _, ensure};
use std::path::PathBuf;

/// First line of an environment block, and its fixed size in bytes.
pub(super) const SIGNATURE: &str = "# GRUB Environment Block\n";
pub(super) const BLOCK: usize = 1024;

/// A block in its file.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) file: PathBuf,
}

impl Environment {
    /// All variables, in their order.
    ///
    /// # Errors
    /// It is not whole.
    pub(super) fn variables(&self) -> anyhow::Result<Vec<(String, String)>> {
        let text = robot::read(&self.file)
            .filter(|text| text.len() == BLOCK && text.starts_with(SIGNATURE))
            .with_context(|| {
                format!(
                    "{} is not an environment block of GRUB; `grub-editenv {} create` makes one",
                    self.file.display(),
                    self.file.display()
                )
            })?;
        Ok(variables(&text))
    }

    /// The one-shot: the title of an entry.
    ///
    /// # Errors
    /// The block is not whole.
    pub(super) fn next(&self) -> anyhow::Result<Option<String>> {
        let variables = self.variables()?;
        let next = variables.into_iter().find(|(key, _)| key == "next_entry");
        Ok(next
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty()))
    }

    /// Sets the one-shot, or clears it.
    ///
    /// # Errors
    /// The block is not whole, is full, or cannot be written.
    pub(super) fn set_next(&self, title: Option<&str>) -> anyhow::Result<()> {
        let mut variables = self.variables()?;
        variables.retain(|(key, _)| key != "next_entry");
        if let Some(title) = title {
            variables.push(("next_entry".to_owned(), title.to_owned()));
        }
        let mut block = SIGNATURE.to_owned();
        for (key, value) in variables {
            block.push_str(&format!("{key}={value}\n"));
        }
        ensure!(block.len() <= BLOCK, "GRUB's environment block is full");
        block.extend(std::iter::repeat_n('#', BLOCK - block.len()));
        replace(&self.file, block.as_bytes())
    }
}

/// The variables of an environment block.
pub(super) fn variables(block: &str) -> Vec<(String, String)> {
    block
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}
