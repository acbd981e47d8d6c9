//! Which user ids are one and the same person: somebody with subordinate user ids can call as any of
//! 65 536 of them, and must not count as so many.

use crate::robot;
use std::{
    collections::HashMap,
    fmt, fs,
    ops::Range,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Ids from here on belong to nobody in particular unless `subuid(5)` says so: they are handed out for
/// containers and user namespaces, by more ways than can be looked up here.
const FIRST_OF_RANGES: u32 = 1 << 16;

/// Ranges that are remembered, at most.
const MAX_RANGES: usize = 4096;

/// A user for what is counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum User {
    /// The user of this id, with all subordinate ones.
    Uid(u32),
    /// A user with subordinate ids of whom only the name is known here: one of a network, say.
    Name(Arc<str>),
    /// All ids of ranges that belong to nobody who is known.
    Unlisted,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid {uid}"),
            Self::Name(name) => write!(f, "user {name}"),
            Self::Unlisted => f.write_str("uids of no listed range"),
        }
    }
}

/// Who has which subordinate ids.
#[derive(Debug, Default)]
pub(super) struct Users {
    ranges: Vec<(Range<u64>, User)>,
    /// Users of the robot whose own id is that of a range.
    own: Vec<u32>,
}

impl Users {
    /// Reads `subuid(5)`, and `passwd(5)` for the ids of the names in it. What is not an entry is passed over.
    pub(super) fn parse(subuid: &str, passwd: &str) -> Self {
        let mut ids: HashMap<&str, u32> = HashMap::new();
        let mut own = Vec::new();
        for line in passwd.lines() {
            let mut fields = line.split(':');
            let name = fields.next();
            if let (Some(name), Some(Ok(uid))) = (name, fields.nth(1).map(str::parse)) {
                ids.entry(name).or_insert(uid);
                if uid >= FIRST_OF_RANGES {
                    own.push(uid);
                }
            }
        }
        let range = |line: &str| {
            let mut fields = line.split(':');
            let owner = fields.next().filter(|owner| !owner.starts_with('#'))?;
            let first: u32 = fields.next()?.trim().parse().ok()?;
            let count: u32 = fields.next()?.trim().parse().ok()?;
            let uid = ids.get(owner).copied().or_else(|| owner.parse().ok());
            let user = uid.map_or_else(|| User::Name(owner.into()), User::Uid);
            Some((u64::from(first)..u64::from(first) + u64::from(count), user))
        };
        own.sort_unstable();
        Self {
            ranges: subuid.lines().filter_map(range).take(MAX_RANGES).collect(),
            own,
        }
    }

    /// Who an id belongs to.
    pub(super) fn of(&self, uid: u32) -> User {
        let listed = (self.ranges.iter()).find(|(range, _)| range.contains(&u64::from(uid)));
        match listed {
            Some((_, user)) => user.clone(),
            None if uid < FIRST_OF_RANGES || self.own.binary_search(&uid).is_ok() => User::Uid(uid),
            None => User::Unlisted,
        }
    }
}

/// The same as the files say it now. They are small and local, and are read again only when they changed.
#[derive(Debug)]
pub(super) struct KnownUsers {
    files: [PathBuf; 2],
    read: [Option<Version>; 2],
    users: Users,
}

/// What changes when a file does: its number, its size and when it was written.
type Version = (u64, u64, i64, i64);

impl KnownUsers {
    /// Those of `subuid(5)` and `passwd(5)` under a directory: `/etc`.
    pub(super) fn of_files(directory: &Path) -> Self {
        Self {
            files: ["subuid", "passwd"].map(|file| directory.join(file)),
            read: [None; 2],
            users: Users::default(),
        }
    }

    /// Who an id belongs to.
    pub(super) fn of(&mut self, uid: u32) -> User {
        let there = self.files.each_ref().map(|file| {
            let file = fs::metadata(file).ok()?;
            Some((file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
        });
        if there != self.read {
            let [subuid, passwd] =
                (self.files.each_ref()).map(|file| robot::read(file).unwrap_or_default());
            self.users = Users::parse(&subuid, &passwd);
            self.read = there;
        }
        self.users.of(uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_read_again_when_they_changed() {
        let etc = tempfile::tempdir().unwrap();
        let mut users = KnownUsers::of_files(etc.path());
        assert_eq!(users.of(100_000), User::Unlisted);
        fs::write(etc.path().join("subuid"), "alice:100000:65536\n").unwrap();
        assert_eq!(users.of(100_000), User::Name("alice".into()));
        fs::write(etc.path().join("passwd"), PASSWD).unwrap();
        assert_eq!(users.of(100_000), User::Uid(1000));
        fs::remove_file(etc.path().join("subuid")).unwrap();
        assert_eq!(users.of(100_000), User::Unlisted);
    }

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nalice:x:1000:100:Alice:/home/alice:/bin/sh\n\
                          far:x:200000000:100::/:/bin/sh\nbroken\n";

    #[test]
    fn the_uids_of_one_users_ranges_count_as_one() {
        let users = Users::parse(
            "alice:100000:65536\n1001:200000:10\nbob:300000:65536\nalice:400000:1\n",
            PASSWD,
        );
        for uid in [1000, 100_000, 165_535, 400_000] {
            assert_eq!(users.of(uid), User::Uid(1000), "{uid}");
        }
        for uid in [1001, 200_000, 200_009] {
            assert_eq!(users.of(uid), User::Uid(1001), "{uid}");
        }
        assert_eq!(users.of(300_000), User::Name("bob".into()));
        assert_eq!(users.of(300_000), users.of(365_535));
        // What no file knows may be anybody's, so it is one user's.
        for uid in [165_536, 200_010, 524_288, u32::MAX - 1] {
            assert_eq!(users.of(uid), User::Unlisted, "{uid}");
        }
        assert_eq!(users.of(200_000_000), User::Uid(200_000_000));
        assert_eq!(users.of(65_534), User::Uid(65_534));
        assert_eq!(users.of(0), User::Uid(0));
    }

    #[test]
    fn what_is_no_entry_is_passed_over() {
        let users = Users::parse(
            "alice\nalice:x:1\nalice:1:\n:::\nalice:-1:5\nalice:4294967295:4294967295\n\
             # alice:70000:1\nalice:80000:0",
            "alice:x:-5:\nalice\n::\n",
        );
        assert_eq!(users.of(70_000), User::Unlisted);
        assert_eq!(users.of(80_000), User::Unlisted);
        assert_eq!(users.of(u32::MAX), User::Name("alice".into()));
        let many = "a:100000:1\n".repeat(MAX_RANGES + 5);
        assert_eq!(Users::parse(&many, "").ranges.len(), MAX_RANGES);
    }
}
