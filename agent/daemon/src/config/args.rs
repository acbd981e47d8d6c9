//! The daemon's arguments that are about its configuration.

use super::{layers::load, man, reference};
use std::{io::Write, path::PathBuf, process::ExitCode};

/// Where the configuration lies, if nothing else is said.
pub(crate) const FILE: &str = "/etc/surefoot/config.toml";

/// Where the configuration lies, and what to do with it instead of running.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    /// The configuration; the drop-ins config.d/*.toml beside it are laid over it
    #[arg(long, value_name = "FILE", default_value = FILE)]
    pub(crate) config: PathBuf,

    /// Say everything that is wrong with the configuration, and exit
    #[arg(long, group = "config_only")]
    check_config: bool,

    /// Print the reference of all keys as Markdown, and exit
    #[arg(long, group = "config_only")]
    config_reference: bool,

    /// Print the manual page surefoot-config(5), and exit
    #[arg(long, group = "config_only", hide = true)]
    config_man: bool,

    /// Print all keys as JSON, and exit
    #[arg(long, group = "config_only")]
    config_schema: bool,
}

impl ConfigArgs {
    /// Does what was asked for instead of running, if anything: then the daemon's exit code is
    /// given, 0 or, with problems in the configuration, 1.
    pub(crate) fn answer(&self) -> Option<ExitCode> {
        let (text, code) = if self.check_config {
            match load(&self.config) {
                Ok(_) => (format!("{}: good\n", self.config.display()), 0),
                Err(problems) => {
                    eprintln!("{problems}");
                    (String::new(), 1)
                }
            }
        } else if self.config_reference {
            (reference::markdown(), 0)
        } else if self.config_man {
            (man::page(), 0)
        } else if self.config_schema {
            (format!("{:#}\n", reference::schema()), 0)
        } else {
            return None;
        };
        // A reader that went away is not a failure of ours.
        let _ = std::io::stdout().write_all(text.as_bytes());
        Some(ExitCode::from(code))
    }
}
