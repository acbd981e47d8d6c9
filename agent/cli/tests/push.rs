//! A repository goes to where robots read it: in order, and past nobody else's push.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod common;

use common::Desk;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::symlink,
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

/// A command that fails, and what it complains of.
fn refused(desk: &Desk, command: &[&str]) -> String {
    let failed = desk.says(command).failure();
    String::from_utf8(failed.get_output().stderr.clone()).unwrap()
}

/// What a store of objects does with a PUT that has a condition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Conditions {
    Obeyed,
    Ignored,
    Refused,
}

/// A store of objects.
struct Bucket {
    url: String,
    inside: Arc<Mutex<Inside>>,
}

struct Inside {
    conditions: Conditions,
    objects: BTreeMap<String, Vec<u8>>,
    /// Says 403 of what is not there, as S3 does to whoever may not list.
    hides: bool,
    /// What another desk puts there right before the first PUT of this file.
    other: Option<(&'static str, BTreeMap<String, Vec<u8>>)>,
    written: Vec<String>,
}

const NEWEST: &str = "/metadata/timestamp.json";

impl Bucket {
    fn new(conditions: Conditions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inside = Arc::new(Mutex::new(Inside {
            conditions,
            objects: BTreeMap::new(),
            hides: false,
            other: None,
            written: Vec::new(),
        }));
        let shared = Arc::clone(&inside);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = shared.lock().unwrap().answer(&stream.unwrap());
            }
        });
        Self { url, inside }
    }

    fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        self.inside.lock().unwrap().objects.clone()
    }

    /// What a push of this directory to an empty place leaves there.
    fn of(desk: &Desk, dir: &str) -> BTreeMap<String, Vec<u8>> {
        let elsewhere = Self::new(Conditions::Obeyed);
        desk.does(&["repo", "push", dir, &elsewhere.url]);
        elsewhere.objects()
    }

    /// Has another desk's files come right before this file is put for the first time.
    fn gets_before(&self, file: &'static str, files: BTreeMap<String, Vec<u8>>) {
        self.inside.lock().unwrap().other = Some((file, files));
    }

    fn written(&self) -> Vec<String> {
        std::mem::take(&mut self.inside.lock().unwrap().written)
    }
}

impl Inside {
    fn answer(&mut self, stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        let mut first = head.first().map_or("", |line| line).split(' ');
        let (method, name) = (first.next().unwrap_or(""), first.next().unwrap_or(""));
        let header = |name: &str| {
            head.iter().find_map(|line| {
                let (key, value) = line.split_once(": ")?;
                key.eq_ignore_ascii_case(name).then(|| value.to_owned())
            })
        };
        let length = header("content-length").map_or(0, |text| text.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (status, body) = if method == "PUT" {
            let (new, still) = (header("if-none-match"), header("if-match"));
            (self.put(name, body, new.is_some(), still), Vec::new())
        } else {
            match self.objects.get(name) {
                Some(bytes) => ("200 OK", bytes.clone()),
                None if self.hides => ("403 Forbidden", Vec::new()),
                None => ("404 Not Found", Vec::new()),
            }
        };
        let mut answer = format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\netag: {}\r\ncontent-length: {}\r\n\r\n",
            tag(&body),
            body.len()
        )
        .into_bytes();
        if method != "HEAD" {
            answer.extend(body);
        }
        let mut stream = stream;
        stream.write_all(&answer)
    }

    fn put(&mut self, name: &str, body: Vec<u8>, new: bool, still: Option<String>) -> &'static str {
        if let Some((_, files)) = self.other.take_if(|(file, _)| name.ends_with(*file)) {
            self.objects.extend(files);
        }
        let there = self.objects.get(name);
        let holds = match still {
            Some(still) => there.is_some_and(|there| tag(there) == still),
            None => !new || there.is_none(),
        };
        match self.conditions {
            Conditions::Refused if new || !holds => return "501 Not Implemented",
            Conditions::Obeyed if !holds => return "412 Precondition Failed",
            _ => {}
        }
        self.written.push(name.to_owned());
        self.objects.insert(name.to_owned(), body);
        "200 OK"
    }
}

/// A tag that differs where bytes do.
fn tag(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    format!("\"{:x?}\"", &sha2::Sha256::digest(bytes)[..8])
}

#[test]
fn a_repository_is_pushed_in_an_order_that_shows_no_half_of_it() {
    let desk = Desk::new();
    desk.publishes("1", 'a', &[]);
    let push = ["repo", "push", "fleet", "served"];
    let said = desk.does(&[&push[..], &["--dry-run"]].concat());
    assert_eq!(said["written"], said["files"]);
    assert!(!desk.path("served").exists());
    desk.does(&push);
    assert_eq!(desk.does(&push)["written"], 0);
    desk.does(&["repo", "verify", "served"]);
    // New keys for the timestamp: the new root comes last, for the old keys have signed the files as well.
    desk.does(&["repo", "rotate", "fleet", "--role", "timestamp"]);
    desk.does(&push);
    let modified = |file: &str| {
        let file = fs::metadata(desk.path("served/metadata").join(file));
        file.unwrap().modified().unwrap()
    };
    assert!(modified("2.root.json") > modified("timestamp.json"));
    // Another desk has the copy of today.
    desk.copy("fleet", "old");
    desk.publishes("2", 'b', &[]);
    desk.does(&push);
    let before = fs::read(desk.path("served/metadata/timestamp.json")).unwrap();
    let error = refused(&desk, &["repo", "push", "old", "served"]);
    assert!(error.contains("somebody else has pushed"), "{error}");
    let lacks = "It has release 2 of stable, which is not here";
    assert!(
        error.contains(lacks) && !error.contains("release 1"),
        "{error}"
    );
    // It went on by itself: the same versions, and other content.
    let words = desk.publish("other", 'c', &["--keys-dir", "fleet-keys"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    desk.does(&[&words[..], &["--repo", "old"]].concat());
    let error = refused(&desk, &["repo", "push", "old", "served"]);
    assert!(error.contains("has other content"), "{error}");
    assert!(error.contains(lacks), "{error}");
    assert_eq!(
        fs::read(desk.path("served/metadata/timestamp.json")).unwrap(),
        before
    );
    // A release of which a file is missing is not shown.
    let index = fs::read_dir(desk.path("fleet/targets/closures"))
        .unwrap()
        .next();
    fs::remove_file(index.unwrap().unwrap().path()).unwrap();
    let error = refused(&desk, &push);
    assert!(error.contains("is not whole"), "{error}");
}

/// Two desks that have the same repository, `before`, and since then a release each that the other does not
/// have.
fn two_desks() -> Desk {
    let desk = Desk::new();
    desk.publishes("1", 'a', &[]);
    desk.copy("fleet", "before");
    desk.copy("fleet", "other");
    desk.publishes("mine", 'b', &[]);
    let words = desk.publish("theirs", 'c', &["--keys-dir", "fleet-keys"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    desk.does(&[&words[..], &["--repo", "other"]].concat());
    desk
}

#[test]
fn of_two_desks_that_push_in_one_moment_one_is_told_and_nothing_is_lost() {
    let desk = two_desks();
    let (before, theirs) = (Bucket::of(&desk, "before"), Bucket::of(&desk, "other"));
    for objects in [BTreeMap::new(), before] {
        for file in [".targets.json", NEWEST] {
            let bucket = Bucket::new(Conditions::Obeyed);
            bucket.inside.lock().unwrap().objects.clone_from(&objects);
            bucket.gets_before(file, theirs.clone());
            let push = ["repo", "push", "fleet", &bucket.url];
            let error = refused(&desk, &push);
            assert!(error.contains("somebody else has pushed"), "{file} {error}");
            for (name, bytes) in &theirs {
                assert!(bucket.objects().get(name) == Some(bytes), "{file}: {name}");
            }
            // The next try says what is there, and writes nothing.
            bucket.written();
            let error = refused(&desk, &push);
            assert!(error.contains("It has release theirs of stable"), "{error}");
            assert_eq!(bucket.written(), [""; 0]);
        }
    }
}

#[test]
fn a_store_without_conditions_is_looked_at_right_before_and_that_is_said() {
    let desk = two_desks();
    let (before, theirs) = (Bucket::of(&desk, "before"), Bucket::of(&desk, "other"));
    for conditions in [Conditions::Ignored, Conditions::Refused] {
        let bucket = Bucket::new(conditions);
        bucket.inside.lock().unwrap().objects.clone_from(&before);
        let push = ["repo", "push", "fleet", &bucket.url];
        // Before the last look.
        bucket.gets_before(".snapshot.json", theirs.clone());
        let error = refused(&desk, &push);
        assert!(error.contains("somebody else has pushed"), "{error}");
        assert!(bucket.objects()[NEWEST] == theirs[NEWEST]);
        bucket.inside.lock().unwrap().objects.clone_from(&before);
        let said = desk.says(&push).success();
        let said = String::from_utf8(said.get_output().stderr.clone()).unwrap();
        assert!(said.contains("push from one desk at a time"), "{said}");
        assert_eq!(desk.does(&push)["written"], 0);
    }
    let bucket = Bucket::new(Conditions::Obeyed);
    let said = desk.does(&["repo", "push", "fleet", &bucket.url]);
    assert_eq!(said["guarded"], true);
}

#[test]
fn whoever_is_refused_has_written_over_nothing_of_somebody_else() {
    let desk = two_desks();
    let (before, theirs) = (Bucket::of(&desk, "before"), Bucket::of(&desk, "other"));
    for conditions in [Conditions::Obeyed, Conditions::Ignored, Conditions::Refused] {
        let bucket = Bucket::new(conditions);
        bucket.inside.lock().unwrap().objects.clone_from(&before);
        // While the first of all files, a target, is written.
        bucket.gets_before(".json", theirs.clone());
        let error = refused(&desk, &["repo", "push", "fleet", &bucket.url]);
        assert!(error.contains("somebody else has pushed"), "{error}");
        for (name, bytes) in &theirs {
            assert!(bucket.objects().get(name) == Some(bytes), "{name}");
        }
    }
}

#[test]
fn a_login_in_the_url_of_a_bucket_is_not_shown() {
    let desk = Desk::new();
    let bucket = Bucket::new(Conditions::Ignored);
    let url = bucket.url.replace("http://", "http://ci:secret@");
    let push = ["repo", "push", "fleet", url.as_str()];
    let said = desk.says(&push).success();
    let output = said.get_output();
    let said = String::from_utf8([&output.stdout[..], &output.stderr[..]].concat()).unwrap();
    assert!(
        said.contains("127.0.0.1") && !said.contains("secret"),
        "{said}"
    );
    bucket.inside.lock().unwrap().hides = true;
    bucket.inside.lock().unwrap().objects.clear();
    let error = refused(&desk, &push);
    assert!(
        error.contains("403") && !error.contains("secret"),
        "{error}"
    );
}

#[test]
fn a_store_that_forbids_to_look_has_not_said_that_there_is_nothing() {
    let desk = Desk::new();
    let bucket = Bucket::new(Conditions::Obeyed);
    bucket.inside.lock().unwrap().hides = true;
    let error = refused(&desk, &["repo", "push", "fleet", &bucket.url]);
    assert!(
        error.contains("403") && error.contains("s3:ListBucket"),
        "{error}"
    );
    assert!(bucket.objects().is_empty());
}

#[test]
fn links_below_a_repository_are_followed_or_refused() {
    let desk = Desk::new();
    desk.publishes("1", 'a', &[]);
    let closures = desk.path("fleet/targets/closures");
    let index = fs::read_dir(&closures).unwrap().next().unwrap().unwrap();
    fs::rename(index.path(), desk.path("elsewhere")).unwrap();
    symlink(desk.path("elsewhere"), index.path()).unwrap();
    desk.does(&["repo", "push", "fleet", "served"]);
    let served = desk.path("served/targets/closures").join(index.file_name());
    assert!(fs::symlink_metadata(served).unwrap().is_file());
    let odd = desk.path("fleet/targets/odd");
    symlink(&closures, &odd).unwrap();
    let error = refused(&desk, &["repo", "push", "fleet", "new"]);
    assert!(
        error.contains("targets/odd is a link that leads to no file"),
        "{error}"
    );
    assert!(!desk.path("new").exists());
    fs::remove_file(&odd).unwrap();
    symlink(Path::new("/missing"), &odd).unwrap();
    let error = refused(&desk, &["repo", "push", "fleet", "new"]);
    assert!(error.contains("targets/odd"), "{error}");
}
