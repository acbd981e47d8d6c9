//! The system's profile: a list of numbered generations, each of which has an entry in the boot menu.
//! Which of them the agent made is remembered here, since nobody else's are ever taken away.
//!
//! An installer of NixOS takes a generation that is there for the system, or makes the next one
//! (nixpkgs, `nixos-rebuild`; Nix, `src/libstore/profiles.cc`). So the profile is looked at before one
//! runs and after it: what is new then and has the system that was installed was made by the agent.

use crate::{StorePath, release::Name};
use serde::{Deserialize, Serialize};

/// Generations that are remembered as made by the agent, the newest ones.
pub const MAX_MADE: usize = 128;

/// A generation of the profile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// Its number, from 1.
    pub number: u64,
    /// Its system.
    pub system: StorePath,
}

/// A generation that the agent made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Made {
    /// Its number, from 1.
    pub number: u64,
    /// Its system. A number may be used again; with another system it is somebody else's.
    pub system: StorePath,
    /// The release that brought it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Name>,
}

/// A system that is being installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Installing {
    system: StorePath,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    release: Option<Name>,
    /// The newest number before.
    after: u64,
}

/// What is remembered of the profile.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Profile {
    /// What the agent made, oldest first, at most [`MAX_MADE`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    made: Vec<Made>,
    #[serde(skip_serializing_if = "Option::is_none")]
    installing: Option<Installing>,
}

impl Profile {
    /// Whether nothing is remembered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.made.is_empty() && self.installing.is_none()
    }

    /// The generations that the agent made and that were there when it looked last, oldest first.
    #[must_use]
    pub fn made(&self) -> &[Made] {
        &self.made
    }

    /// Whether the agent made this one.
    #[must_use]
    pub fn is_ours(&self, link: &Link) -> bool {
        let mut made = self.made.iter();
        made.any(|made| made.number == link.number && made.system == link.system)
    }

    /// The profile has these generations, and an installer is about to run for a system.
    pub fn installs(&mut self, system: StorePath, release: Option<Name>, links: &[Link]) {
        self.look(links);
        self.installing = Some(Installing {
            system,
            release,
            after: links.iter().map(|link| link.number).max().unwrap_or(0),
        });
    }

    /// The installer has ended, and the profile has these generations. Where it found one that was there,
    /// what somebody adds later is not the agent's.
    pub fn installed(&mut self, links: &[Link]) {
        self.look(links);
        self.installing = None;
    }

    /// The profile has these generations. Those that are gone are forgotten; that which an installer
    /// of the agent has added is remembered.
    pub fn look(&mut self, links: &[Link]) {
        self.made.retain(|made| {
            let mut links = links.iter();
            links.any(|link| link.number == made.number && link.system == made.system)
        });
        let Some(installing) = &self.installing else {
            return;
        };
        let new = |link: &&Link| link.number > installing.after && link.system == installing.system;
        let Some(link) = links.iter().find(new) else {
            return;
        };
        self.made.push(Made {
            number: link.number,
            system: link.system.clone(),
            release: installing.release.clone(),
        });
        self.made.sort_by_key(|made| made.number);
        let surplus = self.made.len().saturating_sub(MAX_MADE);
        self.made.drain(..surplus);
        self.installing = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(c: char) -> StorePath {
        StorePath::from_base_name(&format!("{}-s", c.to_string().repeat(32))).unwrap()
    }

    fn links(links: &[(u64, char)]) -> Vec<Link> {
        let link = |&(number, c)| Link {
            number,
            system: system(c),
        };
        links.iter().map(link).collect()
    }

    fn made(profile: &Profile) -> Vec<u64> {
        profile.made().iter().map(|made| made.number).collect()
    }

    #[test]
    fn what_somebody_adds_after_an_installer_that_added_nothing_is_theirs() {
        let mut profile = Profile::default();
        let before = links(&[(1, 'a'), (2, 'b')]);
        profile.installs(system('b'), None, &before);
        profile.installed(&before);
        profile.look(&links(&[(1, 'a'), (2, 'b'), (3, 'b')]));
        assert_eq!(made(&profile), [0; 0]);
    }

    #[test]
    fn what_an_installer_adds_is_the_agents_and_nothing_else() {
        let mut profile = Profile::default();
        profile.look(&links(&[(1, 'a'), (2, 'b')]));
        assert!(profile.is_empty(), "what was there is somebody else's");
        profile.installs(system('b'), None, &links(&[(1, 'a'), (2, 'b')]));
        // It took the one that was there; somebody else made another later.
        profile.look(&links(&[(1, 'a'), (2, 'b'), (3, 'c')]));
        assert_eq!(made(&profile), [0; 0]);
        profile.installs(system('d'), None, &links(&[(1, 'a'), (2, 'b'), (3, 'c')]));
        profile.look(&links(&[(1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'x')]));
        assert_eq!(made(&profile), [4]);
        // One more of the same system is somebody else's.
        profile.look(&links(&[(3, 'c'), (4, 'd'), (5, 'x'), (6, 'd')]));
        assert_eq!(made(&profile), [4]);
        // The number is used again.
        profile.look(&links(&[(4, 'x')]));
        assert_eq!(made(&profile), [0; 0]);
    }

    #[test]
    fn an_installer_that_was_cut_off_is_known_by_the_next_look() {
        let mut profile = Profile::default();
        profile.installs(system('b'), None, &links(&[(1, 'a')]));
        let text = serde_json::to_string(&profile).unwrap();
        let mut again: Profile = serde_json::from_str(&text).unwrap();
        assert_eq!(again, profile);
        // The same system is installed anew: its generation is there already.
        again.installs(system('b'), None, &links(&[(1, 'a'), (2, 'b')]));
        assert_eq!(made(&again), [2]);
    }

    #[test]
    fn so_many_are_remembered() {
        let mut profile = Profile::default();
        let mut there = links(&[(1, 'a')]);
        for number in 2..400 {
            profile.installs(system('b'), None, &there);
            there.push(Link {
                number,
                system: system('b'),
            });
            profile.look(&there);
        }
        assert_eq!(profile.made().len(), MAX_MADE);
        assert_eq!(profile.made().last().map(|made| made.number), Some(399));
    }
}
