//! Publishers wait for each other.

use crate::output;
use std::{
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};
use surefoot_base::units::{UnitError, format_duration, parse_duration};
use surefoot_trust::{Editor, Error, Keyring};

/// Between two looks at whether somebody else is done.
const LOOK: Duration = Duration::from_millis(100);

/// How long to wait for others.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct WaitArgs {
    /// How long to wait for somebody else who changes the repository; 0s: not at all.
    #[arg(long, value_name = "DURATION", default_value = "5min", value_parser = duration)]
    wait: Duration,
}

fn duration(text: &str) -> Result<Duration, UnitError> {
    parse_duration(text)
}

impl WaitArgs {
    /// Opens a repository to change it, once nobody else has it open.
    ///
    /// # Errors
    /// As [`Editor::open`]; [`Error::Locked`] if somebody has it open for longer than is waited.
    pub(crate) fn open(self, dir: &Path, keys: Keyring) -> Result<Editor, Error> {
        let end = Instant::now() + self.wait;
        let mut said = false;
        loop {
            match Editor::open(dir, keys.clone()) {
                Err(Error::Locked(_)) if Instant::now() < end => {}
                opened => return opened,
            }
            if !said {
                output::notice(&format!(
                    "somebody else changes {}; waiting for up to {}",
                    dir.display(),
                    format_duration(self.wait)
                ));
                said = true;
            }
            sleep(LOOK);
        }
    }
}
