//! When a request was made, and about what.
//!
//! A request may wait: in the socket's queue while no agent runs, or in one that the disk keeps from
//! answering. By then the robot may run another system, and "go back" would go one system too far.
//! So whoever asks may say what was the case, and what is not the case any more is refused.

use crate::{
    StorePath,
    machine::Refusal,
    time::{BootId, Instant},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a request may wait: the agent answers within this time, or not at all.
pub const MAX_AGE: Duration = Duration::from_secs(30);

/// What was the case when a request was made. What is left out is not looked at; fields of other
/// versions are passed over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Made {
    /// The boot in which it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootId>,
    /// When in that boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Instant>,
    /// The system that the caller saw running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<StorePath>,
}

/// How a request came to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Way {
    /// What its caller says of that.
    pub made: Option<Made>,
    /// It was made before the agent started, by a call that waited for one.
    pub waited: bool,
}

impl Way {
    /// Whether a request may still be decided: `now`, in this boot, while this system runs.
    ///
    /// # Errors
    /// What was the case when it was made is not the case any more, or nobody can tell.
    pub fn is_open(
        &self,
        now: Instant,
        boot: &BootId,
        running: Option<&StorePath>,
    ) -> Result<(), Refusal> {
        let refused = |why: String| Err(Refusal::Refused(why));
        let said = self.made.as_ref();
        if self.waited && said.is_none_or(|made| made.at.is_none() && made.running.is_none()) {
            return refused(
                "no agent ran when this was asked, and much may have happened since; look at the status, \
                 and ask again"
                    .to_owned(),
            );
        }
        let Some(made) = said else {
            return Ok(());
        };
        if made.boot.as_ref().is_some_and(|then| then != boot) {
            return refused("this was asked before the robot restarted; ask again".to_owned());
        }
        if let Some(at) = made.at {
            if at > now {
                return refused(
                    "this was asked at a time that has not come: the caller's clock is not this robot's"
                        .to_owned(),
                );
            }
            let age = now.since(at);
            if age > MAX_AGE {
                return refused(format!(
                    "this was asked {} s ago, and is not done any more; ask again",
                    age.as_secs()
                ));
            }
        }
        match (&made.running, running) {
            (Some(then), Some(now)) if then != now => refused(format!(
                "this was asked while {then} ran, and now {now} runs; look at the status, and ask again"
            )),
            (Some(then), None) => refused(format!(
                "this was asked while {then} ran, and what runs now cannot be told"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(c: char) -> StorePath {
        StorePath::from_base_name(&format!("{}-s", c.to_string().repeat(32))).unwrap()
    }

    fn why(way: &Way) -> String {
        let boot = BootId("1".into());
        let judged = way.is_open(Instant(100_000), &boot, Some(&system('a')));
        judged.err().map(|why| why.to_string()).unwrap_or_default()
    }

    fn made(boot: &str, at: u64, running: char) -> Way {
        Way {
            made: Some(Made {
                boot: Some(BootId(boot.into())),
                at: Some(Instant(at)),
                running: Some(system(running)),
            }),
            waited: false,
        }
    }

    #[test]
    fn a_request_is_about_its_boot_its_time_and_its_system() {
        assert_eq!(why(&made("1", 100_000, 'a')), "");
        assert_eq!(why(&made("1", 70_000, 'a')), "");
        assert!(why(&made("1", 69_999, 'a')).contains("asked 30 s ago"));
        assert!(why(&made("1", 100_001, 'a')).contains("clock"));
        assert!(why(&made("0", 100_000, 'a')).contains("restarted"));
        assert!(why(&made("1", 100_000, 'b')).contains("now"));
        let unknown = made("1", 100_000, 'a').is_open(Instant(100_000), &BootId("1".into()), None);
        assert!(unknown.is_err());
    }

    #[test]
    fn what_a_caller_leaves_out_is_not_looked_at() {
        assert_eq!(why(&Way::default()), "");
        let nothing = Way {
            made: Some(Made::default()),
            waited: false,
        };
        assert_eq!(why(&nothing), "");
        let json = r#"{"at": 99000, "mood": "good"}"#;
        let made = serde_json::from_str(json).unwrap();
        assert_eq!(
            why(&Way {
                made,
                waited: false
            }),
            ""
        );
    }

    #[test]
    fn a_call_that_waited_for_an_agent_has_to_say_what_it_is_about() {
        let waited = |way: Way| Way {
            waited: true,
            ..way
        };
        let nothing = Way {
            made: Some(Made::default()),
            ..Way::default()
        };
        for way in [Way::default(), nothing] {
            assert!(why(&waited(way)).contains("no agent ran"));
        }
        assert_eq!(why(&waited(made("1", 99_000, 'a'))), "");
        assert!(why(&waited(made("1", 99_000, 'b'))).contains("now"));
    }
}
