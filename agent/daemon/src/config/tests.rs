use super::{
    declare::{Key, Section, Table},
    keys::Config,
    layers::{Source, assemble, load},
    limits::MAX_PROBLEMS,
    reference, salvage,
};
use proptest::prelude::*;
use std::{fs, path::Path, sync::Arc, time::Duration};
use surefoot_core::machine::{AfterLoss, DriftPolicy, Policy};
use toml::de::DeValue;

pub(crate) const MINIMAL: &str =
    "repository = 'https://updates.example.org/fleet'\nchannel = 'stable'\nmodel = 'picker'\n";

fn sources(texts: &[&str]) -> Vec<Source> {
    let source = |(index, text): (usize, &&str)| Source {
        file: Arc::new(format!("{index}.toml").into()),
        text: (*text).to_owned(),
    };
    texts.iter().enumerate().map(source).collect()
}

pub(crate) fn good(texts: &[&str]) -> Config {
    assemble(Path::new("0.toml"), &sources(texts), Vec::new()).unwrap()
}

/// The problems with some lines after a good start.
fn wrong(lines: &str) -> String {
    let text = format!("{MINIMAL}{lines}");
    assemble(Path::new("0.toml"), &sources(&[&text]), Vec::new())
        .unwrap_err()
        .to_string()
}

#[test]
fn three_keys_are_enough() {
    let config = good(&[MINIMAL]);
    assert_eq!(config.model.as_str(), "picker");
    assert_eq!(config.poll.interval, Duration::from_secs(600));
    assert_eq!(config.fetch.reserve.0, 256 << 20);
    assert!(config.health.manifest_server);
    assert_eq!(config.control.technician_group, None);
    assert_eq!(
        config.fetch.daemon_socket_given(None),
        Path::new("/nix/var/nix/daemon-socket/socket")
    );
    assert_eq!(
        config
            .fetch
            .daemon_socket_given(Some("/tmp/nix.socket".into())),
        Path::new("/tmp/nix.socket")
    );
}

#[test]
fn decisions_follow_the_configuration() {
    let config = good(&[
        MINIMAL,
        "[trial]\ndrift = 'adopt'\nattempts = 7\n[fetch]\nkeep = 4\n[memory]\nlost = 'technician'",
    ]);
    let policy = Policy::from(&config);
    assert_eq!(policy.drift, DriftPolicy::Adopt);
    assert_eq!(policy.after_loss, AfterLoss::Technician);
    assert_eq!((policy.trial_attempts, policy.keep), (7, 4));
    assert_eq!(policy.health_deadline, Duration::from_secs(300));
}

#[test]
fn every_default_and_bound_is_a_value_of_its_key() {
    fn walk(table: &Table, check: &mut dyn FnMut(&Table, &Key)) {
        table.keys.iter().for_each(|key| check(table, key));
        table.tables.iter().for_each(|inner| walk(inner, check));
    }
    let mut keys = 0;
    walk(Config::TABLE, &mut |table, key| {
        keys += 1;
        let bounds = key.range.into_iter().flat_map(|(low, high)| [low, high]);
        for toml in key.default.into_iter().chain(bounds) {
            let value = DeValue::parse(toml).unwrap();
            let result = (key.check)(value.get_ref(), key);
            assert!(result.is_ok(), "{} = {toml}: {result:?}", key.path(table));
        }
        assert!(!key.doc.is_empty(), "{} has no words", key.path(table));
    });
    assert!(keys > 30);
}

#[test]
fn a_later_file_wins_key_by_key() {
    let config = good(&[
        MINIMAL,
        "[poll]\ninterval = '1min'\njitter = 0.5\n[[health.tcp]]\nname = 'ros'\naddress = 'localhost:11311'\n",
        "model = 'mower'\n[poll]\ninterval = '2min'\n[[health.tcp]]\nname = 'ros'\naddress = '[::1]:1'\n[[health.tcp]]\nname = 'web'\naddress = 'localhost:80'\n",
    ]);
    assert_eq!(config.model.as_str(), "mower");
    assert_eq!(config.channel.as_str(), "stable");
    assert_eq!(config.poll.interval, Duration::from_secs(120));
    assert!((config.poll.jitter - 0.5).abs() < f64::EPSILON);
    let names: Vec<_> = config.health.tcp.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["ros", "web"]);
    assert_eq!(config.health.tcp[0].address.host, "::1");
}

#[test]
fn drop_ins_are_sorted_and_only_toml() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("config.toml");
    fs::write(&main, MINIMAL).unwrap();
    let drop_ins = dir.path().join("config.d");
    fs::create_dir(&drop_ins).unwrap();
    fs::write(drop_ins.join("20-b.toml"), "model = 'second'").unwrap();
    fs::write(
        drop_ins.join("10-a.toml"),
        "model = 'first'\nchannel = 'beta'",
    )
    .unwrap();
    fs::write(drop_ins.join("30-c.toml~"), "this is = = no TOML").unwrap();
    fs::write(drop_ins.join(".40-d.toml"), "this is = = no TOML").unwrap();
    let config = load(&main).unwrap();
    assert_eq!(config.model.as_str(), "second");
    assert_eq!(config.channel.as_str(), "beta");
}

#[test]
fn files_that_are_no_configuration_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("config.toml");
    let error = || load(&main).unwrap_err().to_string();
    assert!(error().contains("config.toml: it cannot be read: No such file"));
    fs::create_dir(&main).unwrap();
    assert!(error().contains("it is not a regular file"));
    fs::remove_dir(&main).unwrap();
    fs::write(&main, vec![b'#'; 300 << 10]).unwrap();
    assert!(error().contains("more than 256 KiB"));
    fs::write(&main, b"model = '\xff'").unwrap();
    assert!(error().contains("not UTF-8"));
    fs::write(&main, MINIMAL).unwrap();
    fs::write(dir.path().join("config.d"), "").unwrap();
    assert!(error().contains("config.d: it cannot be read"));
}

#[test]
fn the_errors_say_what_where_and_what_to_do() {
    insta::assert_snapshot!(
        "unknown",
        wrong(
            "[pol]\ninterval = '1min'\n[poll]\nintervall = '1min'\nTimeout = '3s'\n[helth.tcp]\n[xyzzy]\n"
        )
    );
    insta::assert_snapshot!(
        "units",
        wrong(
            "[poll]\ninterval = 10\ntimeout = '30 parsecs'\nbackoff_base = '5'\n[fetch]\nreserve = '512m'\n"
        )
    );
    insta::assert_snapshot!(
        "ranges",
        wrong(
            "[poll]\njitter = 1.5\n[fetch]\nconnections = 65\nkeep = -1\n[[health.http]]\nname = 'a'\nurl = 'http://localhost'\nstatus = 99\n"
        )
    );
    insta::assert_snapshot!(
        "types",
        wrong(
            "root = 'root.json'\nca_file = 3\n[trial]\ndrift = 'ignore'\n[health]\nmanifest_server = 'yes'\nignore_units = ['a.service', 7]\nrequired_units = ['nginx']\n[control]\napp_group = '9lives'\n"
        )
    );
    insta::assert_snapshot!(
        "shapes",
        wrong("poll = 3\n[health]\ntcp = 'x'\nhttp = [1]\n[health.command]\nname = 'x'\n")
    );
    insta::assert_snapshot!(
        "checks",
        wrong(
            "[[health.command]]\nname = 'a'\nexec = ['true']\n[[health.tcp]]\nname = 'b'\naddress = '::1:80'\n[[health.tcp]]\nname = 'b'\naddress = 'x:80'\n[[health.tcp]]\naddress = 'x:0'\n"
        )
    );
    insta::assert_snapshot!(
        "impossible",
        wrong(
            "state_dir = '/run/surefoot'\nsocket = '/nix/store/x'\n[poll]\nbackoff_base = '2h'\n[health]\nsoak = '10min'\ninterval = '11min'\n[[health.tcp]]\nname = 'a'\naddress = 'x:1'\n[[health.http]]\nname = 'a'\nurl = 'http://x'\ntimeout = '5min'\n"
        )
    );
    insta::assert_snapshot!(
        "syntax",
        wrong("[poll\ninterval = '1min\n[fetch]\nkeep = = 3\n[fetch]\nkeep = 1\n")
    );
    insta::assert_snapshot!(
        "empty",
        assemble(Path::new("/etc/surefoot/config.toml"), &[], Vec::new()).unwrap_err()
    );
}

#[test]
fn a_file_of_thousands_of_problems_is_given_up_soon() {
    let keys: String = (0..20_000).map(|n| format!("k{n} = 1\n")).collect();
    assert_eq!(wrong(&keys).lines().count(), MAX_PROBLEMS);
    let broken = "= 1\n".repeat(20_000);
    assert!(wrong(&broken).lines().count() <= MAX_PROBLEMS);
    let list: String = (0..8_000)
        .map(|n| format!("[[health.tcp]]\nname = 'n{n}'\naddress = 'a:1'\n"))
        .collect();
    let said = wrong(&list);
    assert!(
        said.contains("health.tcp has more than 256 entries"),
        "{said}"
    );
    assert_eq!(said.lines().count(), MAX_PROBLEMS);
}

#[test]
fn where_updates_come_from_is_judged() {
    for (url, word) in [
        ("updates.example.org", "relative URL"),
        ("ftp://example.org/x", "'ftp' is not supported"),
        ("https://me:secret@example.org/", "user or a password"),
        ("https://example.org/?a=b", "query"),
        ("file://host/x", "absolute path"),
    ] {
        let error = wrong(&format!("[fetch]\ncaches = [{url:?}]"));
        assert!(error.contains(word), "{url}: {error}");
        // Nobody's password goes into a log.
        assert!(!error.contains("secret"), "{error}");
    }
    let config = good(&[
        MINIMAL,
        "[fetch]\ncaches = ['file:///srv/cache', 'http://10.0.0.1/']",
    ]);
    assert_eq!(config.fetch.caches.len(), 2);
}

#[test]
fn what_is_shown_to_caches_is_judged() {
    let access = "[[fetch.access]]\nname = 'a'\nurl = 'https://a/'\n";
    let both = format!("{access}headers = '/x'\ns3_credentials = '/y'");
    for (lines, word) in [
        (access, "either headers or s3_credentials"),
        (&*both, "either headers or s3_credentials"),
        (
            "[fetch]\nclient_key = '/k'",
            "needs fetch.client_certificate",
        ),
        (
            "[[fetch.window]]\nname = 'w'\nfrom = '24:00'\nto = '1:00'\nlimit = '1B'",
            "HH:MM",
        ),
    ] {
        let error = wrong(lines);
        assert!(error.contains(word), "{lines}: {error}");
    }
}

#[test]
fn the_documentation_holds_the_reference() {
    let page = include_str!("../../../../docs/src/configuration.md");
    let (_, page) = page.split_once("<!-- keys -->\n").unwrap();
    assert!(
        page.trim() == reference::markdown().trim(),
        "docs/src/configuration.md is behind: put the output of `surefootd --config-reference` after its <!-- keys -->"
    );
}

#[test]
fn programs_get_all_keys() {
    let schema = reference::schema();
    let tables = schema["tables"].as_array().unwrap();
    let poll = tables.iter().find(|t| t["path"] == "poll").unwrap();
    assert_eq!(poll["keys"][0]["name"], "interval");
    assert_eq!(poll["keys"][0]["default"], "10min");
    assert_eq!(poll["keys"][1]["maximum"], 0.9);
    let tcp = tables.iter().find(|t| t["path"] == "health.tcp").unwrap();
    assert_eq!(tcp["list"], true);
    assert_eq!(tcp["keys"][1]["required"], true);
}

/// Texts that look like configurations: known and unknown names, good and bad values.
fn lines() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("poll".to_owned()),
        Just("health".to_owned()),
        Just("health.tcp".to_owned()),
        Just("interval".to_owned()),
        Just("soak".to_owned()),
        Just("name".to_owned()),
        "[a-z_.\"é]{0,8}",
    ];
    let value = prop_oneof![
        Just("'10min'".to_owned()),
        Just("3".to_owned()),
        Just("[]".to_owned()),
        Just("{ name = 'x' }".to_owned()),
        Just("1979-05-27".to_owned()),
        ".{0,12}",
    ];
    let line = prop_oneof![
        name.clone().prop_map(|name| format!("[{name}]")),
        name.clone().prop_map(|name| format!("[[{name}]]")),
        (name, value).prop_map(|(name, value)| format!("{name} = {value}")),
        ".{0,20}",
    ];
    proptest::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(texts in proptest::collection::vec(lines(), 0..3)) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        if let Err(problems) = assemble(Path::new("x"), &sources(&texts), Vec::new()) {
            prop_assert!(!problems.to_string().is_empty());
        }
    }

    #[test]
    fn the_last_file_that_sets_a_key_wins(values in proptest::collection::vec(proptest::option::of(1..60u64), 1..6)) {
        let mut texts = vec![MINIMAL.to_owned()];
        texts.extend(values.iter().map(|value| {
            value.map_or_else(String::new, |value| format!("[trial]\nswitch_timeout = '{value}min'"))
        }));
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let expected = values.iter().rev().flatten().next().unwrap_or(&15) * 60;
        prop_assert_eq!(good(&texts).trial.switch_timeout, Duration::from_secs(expected));
    }
}

#[test]
fn of_a_configuration_that_is_refused_whatever_can_be_used_counts() {
    let usable = |texts: &[&str]| salvage::usable(Path::new("0.toml"), &sources(texts)).unwrap();
    let place = "state_dir = '/srv/surefoot'\n[boot]\ndeadline = '7min'\n";
    // A drop-in that contradicts another layer, one that is not TOML, one with a wrong value.
    let config = usable(&[
        MINIMAL,
        place,
        "[health]\nsoak = '1h'\n[control]\napp_group = 'ros'",
        "model = ",
        "channel = 7\n[health]\ninterval = '2s'\n[[health.tcp]]\nname = 'x'",
    ]);
    assert_eq!(config.state_dir, Path::new("/srv/surefoot"));
    assert_eq!(config.boot.deadline, Duration::from_secs(420));
    assert_eq!(config.model.as_str(), "picker");
    assert_eq!(config.channel.as_str(), "unknown");
    assert_eq!(config.health.soak, good(&[MINIMAL]).health.soak);
    assert_eq!(config.health.interval, Duration::from_secs(2));
    assert!(config.health.tcp.is_empty() && config.control.app_group.is_some());
    // A contradiction with a default, from either side.
    for text in ["[boot]\ndeadline = '30s'", "[health]\ndeadline = '30s'"] {
        let config = usable(&[MINIMAL, place, text]);
        assert_eq!(config.state_dir, Path::new("/srv/surefoot"), "{text}");
    }
    let defaults = usable(&[]);
    assert_eq!(defaults.state_dir, good(&[MINIMAL]).state_dir);
    assert_eq!(defaults.repository.as_str(), "https://unknown.invalid/");
}

#[test]
fn a_good_configuration_is_not_salvaged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    fs::write(&path, MINIMAL).unwrap();
    let (config, refused) = salvage::salvage(&path).unwrap();
    assert!(refused.is_none() && config.model.as_str() == "picker");
    fs::create_dir(dir.path().join("config.d")).unwrap();
    fs::write(
        dir.path().join("config.d/50-x.toml"),
        "[health]\nsoak = '1h'",
    )
    .unwrap();
    let (config, refused) = salvage::salvage(&path).unwrap();
    let refused = refused.unwrap().to_string();
    assert!(refused.contains("50-x.toml:2:8"), "{refused}");
    assert_eq!(config.model.as_str(), "picker");
}
