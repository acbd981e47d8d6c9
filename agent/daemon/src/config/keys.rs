//! Every key there is.

use super::{
    declare::{Key, Section, Table, Values, any, settings, within},
    problem::{Place, Problem, What},
    values::{
        Address, AfterLoss, Bytes, Day, Drift, Exec, GroupName, HttpUrl, Label, Lease, Secret,
        Setting, Stage, TimeOfDay, UnitGlob, UnitName,
    },
};
use crate::boot::loaders::LoaderChoice;
use reqwest::Url;
use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};
use surefoot_core::{closure::SignaturePolicy, release::Name};

settings! {
    /// What the robot is and where its updates come from.
    table Config = ""
    keys {
        /// The signed repository: a directory of static files on a web server, in a bucket or on
        /// a disk. It is not trusted, so plain `http` is safe too.
        repository: Url;
        /// The channel of the repository that this robot follows.
        channel: Name;
        /// The model of this robot. A release has one system for each model.
        model: Name;
        /// What tells this robot apart from others of its model, as `KEY=VALUE`. A release may be
        /// published for some values only: for one site, say, or for the robots in the lab.
        labels: Vec<Label> = [];
        /// This robot's own id, by which it has a place in the row where a release goes out in steps.
        /// Left out: one that is derived from `/etc/machine-id`, cannot be traced back to it, and is
        /// kept in the state directory. A fleet that was made from one image with one machine id is told
        /// apart by its hardware.
        id: Option<Name>;
        /// The trust anchor: the root metadata that this robot came with, which names the keys of
        /// the fleet. Later roots are followed from it, so it never needs to be replaced.
        root: PathBuf = "/etc/surefoot/root.json";
        /// Where the journal, the trusted metadata and unfinished downloads are kept. It must
        /// survive a power cut: no tmpfs.
        state_dir: PathBuf = "/var/lib/surefoot";
        /// Room there that is taken beforehand, so that a way back works on a full disk: it is given
        /// free first, and taken again afterwards. `"0B"`: none.
        state_reserve: Bytes = "16MiB";
        /// Where the control socket is made.
        socket: PathBuf = "/run/surefoot/control.socket";
        /// PEM file of certificate authorities to trust for `https`, beside those of the system.
        ca_file: Option<PathBuf>;
        /// How long something that the agent waits for may bring nothing until that is said, in the log,
        /// the status and by `surefoot doctor`: a fetch, a switch, a look at gates or health.
        stalled_after: Duration = "1min" in "1s" to "1d";
    }
    tables {
        /// See there.
        poll: Poll,
        /// See there.
        rollout: Rollout,
        /// See there.
        fetch: Fetch,
        /// See there.
        verify: Verify,
        /// See there.
        gates: Gates,
        /// See there.
        memory: Memory,
        /// See there.
        space: Space,
        /// See there.
        trial: Trial,
        /// See there.
        boot: Boot,
        /// See there.
        health: Health,
        /// See there.
        commit: Commit,
        /// See there.
        revert: Revert,
        /// See there.
        control: Control,
        /// See there.
        metrics: Metrics,
    }
}

settings! {
    /// How often the repository is asked. A check without news costs one small answer.
    table Poll = "poll"
    keys {
        /// Time between two checks.
        interval: Duration = "10min" in "1s" to "30d";
        /// How much of each delay is left to chance, so that a fleet does not ask at once: with
        /// 0.2 a delay of 10 minutes becomes 8 to 12.
        jitter: f64 = 0.2 in 0.0 to 0.9;
        /// Delay after the first failure. It doubles with each further one.
        backoff_base: Duration = "30s" in "100ms" to "1d";
        /// The longest delay after failures.
        backoff_max: Duration = "1h" in "1s" to "30d";
        /// How long the repository may be silent before a check counts as failed.
        timeout: Duration = "30s" in "1s" to "1h";
    }
}

settings! {
    /// Releases that go out in steps.
    table Rollout = "rollout"
    keys {
        /// How long what the repository said counts. For so long time goes on for the robot from when the
        /// repository was signed, and a trial begins only if the repository has answered within this
        /// time.
        fresh: Duration = "15min" in "2min" to "1h";
    }
}

settings! {
    /// How store paths are brought.
    table Fetch = "fetch"
    keys {
        /// Binary caches to try before those that the closure index names: one on the site's own
        /// network, say.
        caches: Vec<Url> = [];
        /// Downloads at the same time.
        connections: u32 = 24 in 1 to 64;
        /// Who vouches for what enters the store. The signed manifest pins every NAR hash either
        /// way; with `"nix"` the Nix daemon checks Nix' signatures against `trusted-public-keys`
        /// too.
        signatures: SignaturePolicy = "nix";
        /// Space that must stay free in the store. A fetch that would use it is refused before
        /// its first byte.
        reserve: Bytes = "256MiB";
        /// The socket of the Nix daemon. Left out: `NIX_DAEMON_SOCKET_PATH` of the environment,
        /// else `/nix/var/nix/daemon-socket/socket`.
        nix_daemon_socket: Option<PathBuf>;
        /// How long the Nix daemon may owe an answer, a garbage collection or somebody else's build of
        /// the same path included. Then the connection is given up and the fetch tried again later; what
        /// was downloaded is kept.
        daemon_timeout: Duration = "10min" in "1s" to "1d";
        /// How many confirmed systems before the present one are kept and rooted, to fall back
        /// to.
        keep: u32 = 2 in 1 to 50;
        /// Bytes a second at most, of all downloads together, outside of `fetch.window`; `"0B"`: as
        /// many as come.
        limit: Bytes = "0B";
        /// Bytes that may be moved in a day of 24 hours, which begins with its first byte; then the
        /// fetch goes on with the next day. `"0B"`: as many as come. `surefoot update` begins a new
        /// day, and so does a restart of the agent. Checks of the repository do not count.
        daily_limit: Bytes = "0B";
        /// The longest delay after fetches that failed; the first is `poll.backoff_base`.
        backoff_max: Duration = "1h" in "1s" to "30d";
        /// Bytes that may wait in staging for their import; one path always may.
        staging: Bytes = "256MiB";
        /// Memory for decompressors, all together. A file that needs more is unpacked while no other
        /// is, and then takes what it needs: `xz -9` 65 MiB, `xz -6` and `zstd -19` 9 MiB.
        /// Above 256 MiB, raise `MemoryMax=` of the agent's unit by as much.
        memory: Bytes = "24MiB";
        /// Whether a path comes as a delta of one that is in the store, where the release has such and
        /// this robot can use one. Those that take more than `memory` are left alone, and the whole
        /// path comes. Off as long as [some of what can go wrong](deltas.md#what-is-missing) costs more
        /// than a whole path.
        deltas: bool = false;
        /// PEM file of the certificate to show to caches and to the repository.
        client_certificate: Option<Secret>;
        /// PEM file of its private key, if it is another one.
        client_key: Option<Secret>;
        /// File with logins for caches and for the repository, in the form of `~/.netrc`.
        netrc_file: Option<Secret>;
    }
    lists {
        /// See there.
        window: Window,
        /// See there.
        access: Access,
    }
}

settings! {
    /// A time of the day with a bandwidth of its own. The first that fits counts.
    entry Window = "fetch.window"
    keys {
        /// As for health checks: a later file replaces the window of the same name.
        name: Name;
        /// When it begins, by the robot's local time.
        from: TimeOfDay;
        /// When it ends; it may lie on the next day.
        to: TimeOfDay;
        /// Bytes a second at most; `"0B"`: as many as come.
        limit: Bytes;
    }
}

settings! {
    /// What to show to caches or a repository that do not serve everybody, besides the logins of `fetch.netrc_file`.
    /// Each has either `headers` or `s3_credentials`.
    entry Access = "fetch.access"
    keys {
        /// As for health checks.
        name: Name;
        /// For what lies below this URL.
        url: HttpUrl;
        /// File of headers, `Name: value` in each line: a token in `Authorization`, say.
        headers: Option<Secret>;
        /// File in the form of `~/.aws/credentials`, for an S3-compatible bucket: requests are signed
        /// by AWS Signature Version 4.
        s3_credentials: Option<Secret>;
        /// Region to sign for.
        s3_region: Name = "us-east-1";
    }
}

settings! {
    /// How the store is read again. A power cut may leave files empty whose store path counts as good, disks
    /// forget, and Nix does not look a second time.
    table Verify = "verify"
    keys {
        /// Whether what a release shares with the store is read before the release is tried, once in each
        /// boot: 3 GB take 100 s at the default rate. What is damaged is fetched again, unless what runs uses
        /// it: then the release waits until somebody has replaced it.
        before_trial: bool = true;
        /// Bytes a second that are read at most; `"0B"`: as many as come.
        rate: Bytes = "32MiB";
        /// Time from the end of one round over the confirmed system and those to fall back to until the next.
        /// They are read while the robot has no update under way and no lease says "busy"; `"0s"`: never.
        interval: Duration = "7d" in "0s" to "365d";
        /// Whether what is damaged is brought anew while the robot has nothing to do, from the caches of the
        /// last fetch and `fetch.caches`, where the gates for downloads are open. What anything that runs uses
        /// is left alone: Nix removes a path before it writes it anew.
        repair: bool = true;
    }
}

settings! {
    /// What keeps the robot from an update for now, besides the holds of people. Once a trial has begun
    /// nothing keeps it from going back.
    table Gates = "gates"
    keys {
        /// Leases by which the robot's own software must say that the robot is free (`surefoot lease`)
        /// before anything is switched or rebooted. One that is silent means busy. With a `user`, by name
        /// or number, nobody else's word counts: `{ name = "gripper", user = "ros" }`. Any other
        /// lease that says "busy" counts as well, but not its silence.
        leases: Vec<Lease> = [];
        /// Whether this robot may be switched at any moment at which nobody holds it and no lease says
        /// "busy": no lease, window or command has to say yes before. `surefoot doctor` warns of a robot
        /// that has none of them, until this says that it is meant so.
        none: bool = false;
        /// Time between two looks at gates that said no, and at those of a download under way.
        interval: Duration = "30s" in "1s" to "1h";
    }
    tables {
        /// See there.
        battery: Battery,
    }
    lists {
        /// See there.
        window: GateWindow,
        /// See there.
        command: GateCommand,
    }
}

impl Gates {
    /// Whether one of them may know that the robot is at work when it is to be switched: a charge says
    /// nothing of that.
    pub(crate) fn know_of_work(&self) -> bool {
        let mut windows = self.window.iter().map(|window| &window.stages);
        let mut commands = self.command.iter().map(|command| &command.stages);
        let activates = |stages: &Vec<Stage>| stages.contains(&Stage::Activate);
        !self.leases.is_empty() || windows.any(activates) || commands.any(activates)
    }
}

settings! {
    /// The battery, as the kernel knows it (`/sys/class/power_supply`). Where it does not, a command
    /// can ask.
    table Battery = "gates.battery"
    keys {
        /// The least charge of every battery, in percent; 0: they are not asked.
        percent: u32 = 0 in 0 to 100;
        /// Whether any charge will do on mains power.
        mains: bool = false;
        /// What it keeps the robot from: `"check"` (asking the repository), `"download"`,
        /// `"activate"` (switching, and preparing to), `"reboot"` (into a trial).
        stages: Vec<Stage> = ["activate", "reboot"];
    }
}

settings! {
    /// A time of the day at which a stage may begin, by the robot's local time. A stage without
    /// windows may begin at any time; one that has some waits for one of them, and for a clock that
    /// something keeps.
    entry GateWindow = "gates.window"
    keys {
        /// As for health checks.
        name: Name;
        /// As for the battery.
        stages: Vec<Stage> = ["activate", "reboot"];
        /// The days on which it begins; none: all of them.
        days: Vec<Day> = [];
        /// When it begins.
        from: TimeOfDay;
        /// When it ends; it may lie on the next day.
        to: TimeOfDay;
    }
}

settings! {
    /// A program that must exit with 0 before a stage may begin. The last line that it prints
    /// otherwise is the reason. One that does not end in time says no.
    entry GateCommand = "gates.command"
    keys {
        /// As for health checks.
        name: Name;
        /// As for the battery.
        stages: Vec<Stage> = ["activate", "reboot"];
        /// As for health checks.
        exec: Exec;
        /// When it is killed and says no.
        timeout: Duration = "30s" in "100ms" to "1h";
    }
}

settings! {
    /// What the robot remembers.
    table Memory = "memory"
    keys {
        /// What it waits for where its memory was lost and it cannot tell which releases failed here:
        /// a `"next-release"`, one that was not there before the loss, or a `"technician"` who says
        /// `surefoot update`.
        lost: AfterLoss = "next-release";
    }
}

settings! {
    /// How room is made before it is missing.
    table Space = "space"
    keys {
        /// Whether generations that the agent made leave the system's profile, and with them their
        /// entries in the boot menu, when the next release is installed. None does that the robot may
        /// still have to start, that somebody keeps (`surefoot keep`), or that somebody else made.
        prune: bool = true;
        /// How many generations that the agent made stay, the newest, besides those that are needed.
        /// Where the boot partition has no room for the next release, fewer do.
        generations: u32 = 5 in 1 to 1000;
        /// Whether a fetch for which the store has no room removes paths that nothing keeps, as many as are
        /// needed, and where that is not enough takes generations that the agent made out of the system's
        /// profile (`prune`), the oldest first. If all of it would not be enough, nothing goes, and the release
        /// waits. What `nix.gc` would remove one day goes then.
        collect: bool = false;
    }
}

settings! {
    /// How a system is tried.
    table Trial = "trial"
    keys {
        /// How long one switch may take: of a trial, a commit or a revert. A longer one counts as hung
        /// and is ended. What it runs as a user who is logged in is ended after a third of that.
        switch_timeout: Duration = "15min" in "1s" to "1d";
        /// How often one release may fail to reach the repository, while the system before it then
        /// reaches it again, until it is blocked; and how often its switch may be killed by something
        /// else than the agent. A verdict of unhealthy blocks it at once.
        attempts: u32 = 3 in 1 to 20;
        /// How often a day the robot may be disturbed by what is tried again through no fault of a
        /// release: after a power cut, say. Then it stands still for that day of running, until there
        /// is a newer release, or until somebody asks for an update.
        disturbances: u32 = 3 in 1 to 20;
        /// Whether the robot is rebooted, once, where a way back left it worse than it was before the
        /// trial. Gates, holds and leases are asked as before any reboot. Without it that is only said.
        reboot_if_worse: bool = true;
        /// Delay between two tries of a commit or of a revert.
        retry_delay: Duration = "10s" in "100ms" to "1h";
        /// What to do when somebody switched the robot by hand: `"report"` it and wait with updates
        /// until that is settled, `"adopt"` it once it has proven healthy, or `"restore"` what was
        /// confirmed.
        drift: Drift = "report";
    }
}

settings! {
    /// How a system is tried that needs a reboot.
    table Boot = "boot"
    keys {
        /// The boot loader: `"auto"` looks at the machine. Without one that can start a system once,
        /// releases that need a reboot wait: nothing would bring the robot back from a bad one.
        loader: LoaderChoice = "auto";
        /// Try releases that need a reboot even where no boot loader can start a system once. The
        /// release is then the loader's default during its trial: its agent and the deadline put
        /// the one before back, but nothing brings the robot back from a kernel that panics or
        /// hangs before systemd.
        accept_no_fallback: bool = false;
        /// Try releases that need a reboot only where systemd feeds a hardware watchdog. Without
        /// one a system that hangs is ended by its deadline, as long as systemd still runs; the
        /// default is to try and to warn, since a robot that gets no new kernels at all is in
        /// danger, too.
        require_watchdog: bool = false;
        /// Time from the start of the kernel until the system must have proven itself. A unit
        /// outside the agent reboots the robot 30 s later, into the confirmed system.
        deadline: Duration = "10min" in "30s" to "1d";
    }
}

settings! {
    /// When a system counts as healthy: every check passes for the whole soak.
    table Health = "health"
    keys {
        /// How long every check must pass without a break.
        soak: Duration = "60s" in "0s" to "1d";
        /// Time from the end of the switch until the soak must be over.
        deadline: Duration = "5min" in "1s" to "2d";
        /// Time between two rounds of checks.
        interval: Duration = "5s" in "100ms" to "1h";
        /// Unhealthy rounds in a row that end the trial before its deadline.
        max_failures: u32 = 3 in 1 to 1000;
        /// Units whose failure does not count, and that need not be ready after a boot. `*` stands for any characters, `?` for one.
        ignore_units: Vec<UnitGlob> = [];
        /// Units that must be active. One of a user's slice, as `user@1000.service`, counts only if it is named here.
        required_units: Vec<UnitName> = [];
        /// Whether the repository must still be reachable: a system that cannot fetch its
        /// successor is not kept.
        manifest_server: bool = true;
    }
    lists {
        /// See there.
        command: CommandCheck,
        /// See there.
        tcp: TcpCheck,
        /// See there.
        http: HttpCheck,
    }
}

settings! {
    /// A program that must exit with 0.
    entry CommandCheck = "health.command"
    keys {
        /// Names the check in the status and in the evidence of a blocked release. A later file
        /// replaces the check of the same name and adds those with other names.
        name: Name;
        /// The program, by its absolute path, and its arguments. There is no shell.
        exec: Exec;
        /// When it is killed and counts as failed.
        timeout: Duration = "30s" in "100ms" to "1h";
    }
}

settings! {
    /// An address that must accept a TCP connection.
    entry TcpCheck = "health.tcp"
    keys {
        /// As for commands.
        name: Name;
        /// Host and port.
        address: Address;
        /// When it counts as failed.
        timeout: Duration = "10s" in "100ms" to "1h";
    }
}

settings! {
    /// A page that must answer.
    entry HttpCheck = "health.http"
    keys {
        /// As for commands.
        name: Name;
        /// The page. Redirections are not followed. What is on the robot itself is reached without a
        /// proxy; for other pages `http_proxy`, `https_proxy` and `no_proxy` of the environment
        /// count. `ca_file` counts for both.
        url: HttpUrl;
        /// The status that it must answer with.
        status: u32 = 200 in 100 to 599;
        /// When it counts as failed.
        timeout: Duration = "10s" in "100ms" to "1h";
    }
}

settings! {
    /// How a healthy system is made the one that the robot starts with.
    table Commit = "commit"
    keys {
        /// How often it is tried before the robot goes back. A commit that touched nothing, since the
        /// boot loader cannot be written or somebody else switches, is tried again for as long as that
        /// takes.
        attempts: u32 = 3 in 1 to 20;
    }
}

settings! {
    /// How the robot goes back to the confirmed system.
    table Revert = "revert"
    keys {
        /// How often a live revert is tried before the robot reboots into the confirmed system.
        attempts: u32 = 3 in 1 to 20;
    }
}

settings! {
    /// Who may do what on the control socket. Anyone may read; root may do everything.
    table Control = "control"
    keys {
        /// Members may also update, roll back, hold and resume.
        technician_group: Option<GroupName>;
        /// The robot's own software: members may hold, say by leases whether the robot is busy, and
        /// end their own holds and leases.
        app_group: Option<GroupName>;
    }
}

settings! {
    /// What the robot tells a monitoring system.
    table Metrics = "metrics"
    keys {
        /// File for the textfile collector of Prometheus' node_exporter: what runs, what is confirmed,
        /// and how the last trial ended. Its name must end in `.prom`. The agent's service may write in
        /// `/run/surefoot`; the NixOS module lets it write in another directory.
        textfile: Option<PathBuf>;
    }
}

impl Fetch {
    /// The Nix daemon's socket.
    pub(crate) fn daemon_socket(&self) -> PathBuf {
        self.daemon_socket_given(std::env::var_os("NIX_DAEMON_SOCKET_PATH"))
    }

    /// The same, given what the environment says.
    pub(super) fn daemon_socket_given(&self, environment: Option<OsString>) -> PathBuf {
        self.nix_daemon_socket.clone().unwrap_or_else(|| {
            environment
                .filter(|path| !path.is_empty())
                .map_or_else(|| "/nix/var/nix/daemon-socket/socket".into(), PathBuf::from)
        })
    }
}

/// What stands for the keys that have no default, where nothing is asked of what they name.
pub(super) const STAND_INS: [(&str, &str); 3] = [
    ("repository", "'https://unknown.invalid'"),
    ("channel", "'unknown'"),
    ("model", "'unknown'"),
];

/// Settings that are each fine but exclude each other. Each is told where a key or an entry of a list
/// stands that takes part in it.
pub(super) fn impossible(config: &Config, values: &Values<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    // Told where the first of the keys that were set at all stands.
    let mut say = |keys: &[(&str, &str)], message: String| {
        let place = keys
            .iter()
            .find_map(|(table, key)| values.tables.get(table).unwrap_or(values).set(key));
        problems.push(Problem {
            place: place.unwrap_or(&values.place).clone(),
            what: What::Impossible(message),
        });
    };
    let text = surefoot_base::units::format_duration;
    let (poll, health) = (&config.poll, &config.health);
    if poll.backoff_base > poll.backoff_max {
        say(
            &[("poll", "backoff_base"), ("poll", "backoff_max")],
            format!(
                "poll.backoff_base ({}) must not be above poll.backoff_max ({})",
                text(poll.backoff_base),
                text(poll.backoff_max)
            ),
        );
    }
    if health.soak >= health.deadline {
        say(
            &[("health", "soak"), ("health", "deadline")],
            format!(
                "health.soak ({}) must be shorter than health.deadline ({}), or no system is ever healthy in time",
                text(health.soak),
                text(health.deadline)
            ),
        );
    } else if health.soak >= config.boot.deadline {
        say(
            &[("health", "soak"), ("boot", "deadline")],
            format!(
                "boot.deadline ({}) must be longer than health.soak ({}), or no system is ever proven in time",
                text(config.boot.deadline),
                text(health.soak)
            ),
        );
    }
    if !health.soak.is_zero() && health.interval > health.soak {
        say(
            &[("health", "interval"), ("health", "soak")],
            format!(
                "health.interval ({}) must not be above health.soak ({}), or nothing is checked during the soak",
                text(health.interval),
                text(health.soak)
            ),
        );
    }
    for (what, path) in [("state_dir", &config.state_dir), ("socket", &config.socket)] {
        if path.starts_with("/nix/store") {
            say(
                &[("", what)],
                format!("{what} lies in /nix/store, where nothing can be written"),
            );
        }
    }
    if [Path::new("/run"), Path::new("/dev/shm")]
        .iter()
        .any(|volatile| config.state_dir.starts_with(volatile))
    {
        say(
            &[("", "state_dir")],
            "state_dir lies on a tmpfs: the journal would not survive a power cut".into(),
        );
    }
    let gates = &config.gates;
    if gates.none && gates.know_of_work() {
        say(
            &[("gates", "none"), ("gates", "leases")],
            "gates.none says that nothing has to keep the robot from a switch, but there are leases, \
             windows or commands that do: leave out one or the other"
                .into(),
        );
    }
    let mut names = BTreeSet::new();
    if let Some(lease) = gates
        .leases
        .iter()
        .find(|lease| !names.insert(&lease.0.name))
    {
        say(
            &[("gates", "leases")],
            format!("gates.leases names '{}' twice", lease.0.name),
        );
    }
    problems.extend(checks(config, values));
    problems.extend(access(config, values));
    problems
}

/// Rules for what is shown to caches.
fn access(config: &Config, values: &Values<'_>) -> Vec<Problem> {
    let fetch = values.tables.get("fetch");
    let entries = fetch.and_then(|fetch| fetch.lists.get("access"));
    let mut problems: Vec<Problem> = (config
        .fetch
        .access
        .iter()
        .zip(entries.into_iter().flatten()))
    .filter(|(access, _)| access.headers.is_some() == access.s3_credentials.is_some())
    .map(|(access, entry)| Problem {
        place: entry.place.clone(),
        what: What::Impossible(format!(
            "fetch.access: '{}' must have either headers or s3_credentials",
            access.name
        )),
    })
    .collect();
    if let (Some(fetch), Some(_), None) = (
        fetch,
        &config.fetch.client_key,
        &config.fetch.client_certificate,
    ) {
        problems.push(Problem {
            place: fetch.set("client_key").unwrap_or(&fetch.place).clone(),
            what: What::Impossible("fetch.client_key needs fetch.client_certificate".into()),
        });
    }
    problems
}

/// Rules for the checks of a system's health.
fn checks(config: &Config, values: &Values<'_>) -> Vec<Problem> {
    let health = &config.health;
    let rows = (health
        .command
        .iter()
        .map(|c| ("command", &c.name, c.timeout)))
    .chain(health.tcp.iter().map(|c| ("tcp", &c.name, c.timeout)))
    .chain(health.http.iter().map(|c| ("http", &c.name, c.timeout)));
    let places = ["command", "tcp", "http"].into_iter().flat_map(|list| {
        let entries = values.tables.get("health").and_then(|h| h.lists.get(list));
        entries.into_iter().flatten()
    });
    let mut names = BTreeSet::new();
    let mut problems = Vec::new();
    for ((list, name, timeout), entry) in rows.zip(places) {
        let mut say = |place: Option<&Place>, what| {
            problems.push(Problem {
                place: place.unwrap_or(&entry.place).clone(),
                what,
            });
        };
        if !names.insert(name) {
            say(
                entry.set("name"),
                What::Twice {
                    list: "health".into(),
                    name: name.to_string(),
                },
            );
        }
        if timeout >= health.deadline {
            say(
                entry.set("timeout"),
                What::Impossible(format!(
                    "health.{list}: the timeout of '{name}' must be shorter than health.deadline ({})",
                    surefoot_base::units::format_duration(health.deadline)
                )),
            );
        }
    }
    problems
}
