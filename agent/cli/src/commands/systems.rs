//! `surefoot systems`: what is on the robot, compared.

use crate::{
    agent::{describe::time, socket::SocketArgs, standalone},
    differences,
    output::{Output, Style, sanitize},
};
use serde_json::json;
use surefoot_api::{CallError, Difference, Part, RollbackTo, SystemInfo, Word, method};
use surefoot_base::units::short_bytes;

/// List the systems that are on the robot, and what differs between them.
///
/// The one that runs is marked. Each of the others says what differs from it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  What is on the robot:
      surefoot systems
  All that differs between what runs and release 41:
      surefoot systems --diff 41")]
pub(crate) struct SystemsArgs {
    /// All that differs between two systems, each named by its release, the number of its generation or
    /// its store path. [default for A, if only one is given: what runs]
    #[arg(long, value_names = ["A", "B"], num_args = 1..=2)]
    diff: Vec<RollbackTo>,
    #[command(flatten)]
    socket: SocketArgs,
}

/// Runs it.
pub(super) fn run(args: &SystemsArgs, output: Output) -> anyhow::Result<()> {
    let (from, to) = match args.diff.as_slice() {
        [] => {
            let systems = list(&args.socket)?;
            return output.result(&json!({ "systems": systems }), |style| {
                describe(&systems, style)
            });
        }
        [to] => (None, to),
        [from, to, ..] => (Some(from), to),
    };
    let difference = compare(&args.socket, from, to)?;
    output.result(&difference, |style| {
        differences::describe(&difference, style)
    })
}

/// The systems that are on the robot.
///
/// # Errors
/// Neither the agent nor, without one, its program says it.
pub(super) fn list(socket: &SocketArgs) -> anyhow::Result<Vec<SystemInfo>> {
    match socket.call(&method::Systems {}) {
        Ok(reply) => Ok(reply.systems),
        Err(silence @ (CallError::NotThere { .. } | CallError::Gone { .. })) => {
            standalone::systems(silence)
        }
        Err(error) => Err(error.into()),
    }
}

/// What differs between two of them; `None` is what runs.
///
/// # Errors
/// As [`list`], or one of them is not there.
pub(super) fn compare(
    socket: &SocketArgs,
    from: Option<&RollbackTo>,
    to: &RollbackTo,
) -> anyhow::Result<Difference> {
    let compare = method::Compare {
        from: from.cloned(),
        to: to.clone(),
    };
    match socket.call(&compare) {
        Ok(reply) => Ok(reply.difference),
        Err(silence @ (CallError::NotThere { .. } | CallError::Gone { .. })) => {
            standalone::compare(&compare, silence)
        }
        Err(error) => Err(error.into()),
    }
}

/// All of them, a paragraph each.
fn describe(systems: &[SystemInfo], style: Style) -> String {
    if systems.is_empty() {
        return "no system is known".to_owned();
    }
    let systems: Vec<String> = (systems.iter())
        .map(|info| {
            paragraph(
                info,
                if info.is(Part::Running) { "> " } else { "  " },
                style,
            )
        })
        .collect();
    systems.join("\n")
}

/// One of them, with a mark before it: what it is, its versions, and what differs from what runs.
pub(super) fn paragraph(info: &SystemInfo, mark: &str, style: Style) -> String {
    let indent = " ".repeat(mark.chars().count() + 2);
    let mut lines = vec![format!(
        "{mark}{}{}",
        style.strong(&name(info)),
        parts(info, style)
    )];
    let versions = [("NixOS", &info.nixos), ("kernel", &info.kernel)];
    let versions = versions.into_iter().filter_map(|(what, version)| {
        let version = version.as_ref()?;
        Some(format!("{what} {}", sanitize(version)))
    });
    let since = info.since.map(|since| {
        let word = if info.proven { "confirmed" } else { "made" };
        format!("{word} {}", time(since))
    });
    let own = (info.own_size).map(|own| format!("{} of its own", short_bytes(own)));
    for facts in [
        versions.collect(),
        since.into_iter().chain(own).collect::<Vec<_>>(),
    ] {
        if !facts.is_empty() {
            lines.push(format!("{indent}{}", facts.join(", ")));
        }
    }
    if !info.differs.is_empty() {
        lines.push(format!("{indent}differs: {}", sanitize(&info.differs)));
    }
    if !info.reboot.is_empty() {
        let why = sanitize(&info.reboot.join(", "));
        lines.push(format!(
            "{indent}{}",
            style.busy(&format!("to get there the robot reboots: {why}"))
        ));
    }
    if !info.agent {
        let words = "it has no agent: nothing would bring the robot back from it";
        lines.push(format!("{indent}{}", style.bad(words)));
    }
    if let Some(why) = &info.lost_on {
        let words = format!(
            "its agent is not for what this one remembers: {}",
            sanitize(why)
        );
        lines.push(format!("{indent}{}", style.bad(&words)));
    }
    lines.join("\n")
}

/// How people name it.
pub(super) fn name(info: &SystemInfo) -> String {
    let generations: Vec<String> = info.generations.iter().map(u64::to_string).collect();
    let generations = match generations.len() {
        0 => None,
        1 => Some(format!("generation {}", generations.join(", "))),
        _ => Some(format!("generations {}", generations.join(", "))),
    };
    match (&info.release, generations) {
        (Some(release), Some(generations)) => format!("release {release}, {generations}"),
        (Some(release), None) => format!("release {release}"),
        (None, Some(generations)) => generations,
        (None, None) => info.system.to_string(),
    }
}

fn parts(info: &SystemInfo, style: Style) -> String {
    let word = |part: &Word<Part>| match part {
        Word::Other(word) => sanitize(word),
        Word::Known(part) => match part {
            Part::Running => "runs",
            Part::Booted => "booted",
            Part::Confirmed => "confirmed",
            Part::Fallback => "fallback",
            Part::Kept => "kept",
            Part::Default => "starts by itself",
            Part::Next => "on its way",
        }
        .to_owned(),
    };
    let mut words: Vec<String> = info.parts.iter().map(word).collect();
    let now_or_back = info.is(Part::Confirmed) || info.is(Part::Fallback);
    if info.proven && !now_or_back {
        words.push("was confirmed here".to_owned());
    }
    let mut text = String::new();
    if !words.is_empty() {
        text = format!(": {}", words.join(", "));
    }
    if info.proven {
        style.good(&text)
    } else {
        text + &style.busy(if words.is_empty() {
            ": never confirmed here"
        } else {
            ", never confirmed here"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::samples::path;

    fn info() -> SystemInfo {
        SystemInfo {
            system: path("nixos-3"),
            release: Some("2026.11".parse().unwrap()),
            generations: vec![12],
            parts: [Part::Running, Part::Booted, Part::Confirmed, Part::Default]
                .map(Into::into)
                .into(),
            proven: true,
            since: crate::agent::samples::time(0),
            nixos: Some("26.05.20260601.abcdef0".into()),
            kernel: Some("6.12.9".into()),
            agent: true,
            size: Some(3 << 30),
            own_size: Some(120 << 20),
            differs: String::new(),
            reboot: Vec::new(),
            lost_on: None,
        }
    }

    #[test]
    fn systems_can_be_read() {
        let systems = [
            info(),
            SystemInfo {
                system: path("nixos-2"),
                release: Some("2026.10".parse().unwrap()),
                generations: vec![10, 11],
                parts: vec![Part::Fallback.into()],
                kernel: Some("6.12.4".into()),
                differs: "kernel 6.12.9 → 6.12.4, ros-nav2 1.3.4 → 1.3.2, 3 packages less".into(),
                reboot: vec!["another kernel".into(), "other kernel modules".into()],
                ..info()
            },
            SystemInfo {
                system: path("nixos-by-hand"),
                release: None,
                generations: vec![9],
                parts: vec![Word::Other("new\u{1b}".into())],
                proven: false,
                agent: false,
                differs: "1 package less\u{1b}[31m".into(),
                ..info()
            },
            SystemInfo {
                system: path("nixos-1"),
                release: None,
                generations: vec![],
                parts: vec![],
                nixos: None,
                kernel: None,
                since: None,
                own_size: None,
                lost_on: Some("format 2 of the journal".into()),
                ..info()
            },
        ];
        let text = describe(&systems, Style::PLAIN);
        assert!(!text.contains('\u{1b}'), "{text}");
        insta::assert_snapshot!("systems", text);
        assert_eq!(describe(&[], Style::PLAIN), "no system is known");
    }

    #[test]
    fn what_differs_can_be_read() {
        let difference: Difference = serde_json::from_value(serde_json::json!({
            "nixos": { "before": "26.05.1", "after": "26.05.2" },
            "kernel": { "after": "6.12.9" },
            "params": { "added": ["quiet"], "removed": ["debug"] },
            "units": { "added": ["arm.service"], "changed": ["nav.service\u{1b}"] },
            "etc": { "removed": ["hosts"] },
            "packages": [
                { "name": "less", "before": { "versions": ["1"], "size": 10 } },
                { "name": "linux", "before": { "versions": ["6.12.4"], "size": 900 },
                  "after": { "versions": ["6.12.9"], "size": 1000 } },
                { "name": "etc", "before": { "versions": [], "size": 1 }, "after": { "versions": [], "size": 1 } },
                { "name": "zsh", "after": { "versions": ["5", "6"], "size": 20 } }
            ]
        }))
        .unwrap();
        let text = differences::describe(&difference, Style::PLAIN);
        assert!(!text.contains('\u{1b}'), "{text}");
        insta::assert_snapshot!("difference", text);
        let nothing = Difference {
            packages: Some(vec![]),
            ..Difference::default()
        };
        assert_eq!(
            differences::describe(&nothing, Style::PLAIN),
            "nothing differs"
        );
    }
}
