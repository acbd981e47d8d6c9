//! What `surefoot rollback` asks on a terminal: where to, why, and whether it is meant.

use crate::{
    commands::systems::{name, paragraph},
    errors::Refused,
    output::{Dialogue, Style},
};
use surefoot_api::{Part, RollbackTo, SystemInfo, Why};

/// What was asked for in the end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// Where to; nothing if the agent shall choose.
    pub(super) to: Option<RollbackTo>,
    /// Why.
    pub(super) why: Why,
}

/// The systems that a robot can go back to. While a release is tried, that is the confirmed one alone.
pub(super) fn goals(systems: &[SystemInfo], in_trial: bool) -> Vec<&SystemInfo> {
    let confirmed = |info: &&SystemInfo| info.is(Part::Confirmed) && !info.is(Part::Running);
    let fallback = |info: &&SystemInfo| info.is(Part::Fallback) && !info.is(Part::Running);
    let goals = systems.iter().filter(confirmed);
    if in_trial {
        return goals.collect();
    }
    goals.chain(systems.iter().filter(fallback)).collect()
}

/// Asks for what was not said on the command line, says what will happen, and whether that is meant.
///
/// # Errors
/// [`Refused`]: nobody agreed. The terminal takes or gives nothing.
pub(super) fn ask(
    dialogue: &mut Dialogue,
    (systems, goals): (&[SystemInfo], &[&SystemInfo]),
    (to, why): (Option<RollbackTo>, Option<Why>),
    style: Style,
) -> anyhow::Result<Wish> {
    if let Some(running) = systems.iter().find(|info| info.is(Part::Running)) {
        dialogue.say(&paragraph(running, "> ", style))?;
    }
    let goal = match &to {
        Some(to) => goals.iter().copied().find(|info| is_named(to, info)),
        None => choose(dialogue, goals, style)?,
    };
    if let Some(goal) = goal.filter(|_| to.is_some()) {
        dialogue.say(&paragraph(goal, "  ", style))?;
    }
    let why = match why {
        Some(why) => why,
        None => ask_why(dialogue)?,
    };
    // The very one that was shown; what is not known here is the agent's to judge.
    let to = match goal {
        Some(goal) => Some(RollbackTo::System(goal.system.clone())),
        None => to,
    };
    let goal = match (goal, &to) {
        (Some(goal), _) => name(goal),
        (None, Some(to)) => to.to_string(),
        (None, None) => "the system before".to_owned(),
    };
    dialogue.say(
        "What the robot leaves is blocked; so is a release that waits or lies between.\n\
         It stays there until a newer release comes or somebody runs: surefoot unblock",
    )?;
    if !dialogue.agrees(&format!("Go back to {goal} now?"))? {
        return Err(Refused("nothing was changed: you did not agree".into()).into());
    }
    Ok(Wish { to, why })
}

/// Whether somebody named this system: by its release, its store path or the number of a generation.
fn is_named(to: &RollbackTo, info: &SystemInfo) -> bool {
    to.names(&info.system, info.release.as_ref())
        || (to.number()).is_some_and(|number| info.generations.contains(&number))
}

/// Has one of them chosen; nothing if there is none to choose from.
fn choose<'a>(
    dialogue: &mut Dialogue,
    goals: &[&'a SystemInfo],
    style: Style,
) -> anyhow::Result<Option<&'a SystemInfo>> {
    if goals.is_empty() {
        return Ok(None);
    }
    for (n, goal) in goals.iter().enumerate() {
        dialogue.say(&paragraph(goal, &format!("{} ", n + 1), style))?;
    }
    if let [only] = goals {
        return Ok(Some(*only));
    }
    let question = format!("Which one? 1 to {}, or Enter for 1:", goals.len());
    loop {
        let Some(answer) = dialogue.ask(&question)? else {
            return Err(Refused("nothing was changed: no system was chosen".into()).into());
        };
        if answer.is_empty() {
            return Ok(goals.first().copied());
        }
        let number = answer.parse::<usize>().ok();
        let goal = number.and_then(|number| goals.get(number.checked_sub(1)?));
        match goal {
            Some(goal) => return Ok(Some(*goal)),
            None => dialogue.say("Type one of the numbers before the systems.")?,
        }
    }
}

/// Has somebody say why.
fn ask_why(dialogue: &mut Dialogue) -> anyhow::Result<Why> {
    loop {
        let Some(answer) = dialogue.ask("Why? Those who come after you will read it:")? else {
            return Err(Refused("nothing was changed: no reason was given".into()).into());
        };
        match answer.parse() {
            Ok(why) => return Ok(why),
            Err(error) => dialogue.say(&format!("{error}"))?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::samples::path;

    fn info(release: &str, number: u64, parts: &[Part]) -> SystemInfo {
        SystemInfo {
            system: path(&format!("nixos-{release}")),
            release: Some(release.parse().unwrap()),
            generations: vec![number],
            parts: parts.iter().map(|part| (*part).into()).collect(),
            proven: true,
            since: crate::agent::samples::time(0),
            nixos: None,
            kernel: Some("6.12.4".into()),
            agent: true,
            size: None,
            own_size: None,
            differs: String::new(),
            reboot: Vec::new(),
            lost_on: None,
        }
    }

    fn robot() -> Vec<SystemInfo> {
        let mut before = info("1", 11, &[Part::Fallback]);
        before.differs = "kernel 6.12.9 → 6.12.4".into();
        before.reboot = vec!["another kernel".into()];
        vec![
            info("2", 12, &[Part::Running, Part::Confirmed]),
            before,
            info("0", 7, &[Part::Fallback]),
            info("0-hand", 6, &[]),
        ]
    }

    /// What a technician sees who types this, and what comes of it.
    fn play(typed: &str, to: Option<&str>, why: Option<&str>) -> (String, anyhow::Result<Wish>) {
        let systems = robot();
        let goals = goals(&systems, false);
        let mut seen = Vec::new();
        let mut dialogue = Dialogue::new(typed.as_bytes(), &mut seen);
        let said = (
            to.map(|to| to.parse().unwrap()),
            why.map(|why| why.parse().unwrap()),
        );
        let wish = ask(&mut dialogue, (&systems, &goals), said, Style::PLAIN);
        drop(dialogue);
        (String::from_utf8(seen).unwrap(), wish)
    }

    fn wish(release: &str, why: &str) -> Wish {
        Wish {
            to: Some(RollbackTo::System(path(&format!("nixos-{release}")))),
            why: why.parse().unwrap(),
        }
    }

    #[test]
    fn a_technician_is_led_through_a_rollback() {
        let (seen, done) = play("9\n2\n\nit drops things\ny\n", None, None);
        assert_eq!(done.unwrap(), wish("0", "it drops things"));
        insta::assert_snapshot!("dialogue", seen);
        let (seen, done) = play("\nit drops things\nyes\n", None, None);
        assert_eq!(done.unwrap(), wish("1", "it drops things"));
        assert!(seen.contains("the robot reboots: another kernel"), "{seen}");
    }

    #[test]
    fn what_was_said_is_not_asked() {
        for to in ["1", "11", path("nixos-1").to_string().as_str()] {
            let (seen, done) = play("y\n", Some(to), Some("bad grip"));
            assert_eq!(done.unwrap(), wish("1", "bad grip"));
            assert!(
                !seen.contains("Which one") && !seen.contains("Why?"),
                "{seen}"
            );
        }
        // The agent says why it does not go there.
        let (_, done) = play("y\n", Some("0-hand"), Some("bad grip"));
        assert_eq!(done.unwrap().to, Some("0-hand".parse().unwrap()));
    }

    #[test]
    fn whoever_does_not_agree_changes_nothing() {
        for typed in ["", "1\n", "1\nwhy\n", "1\nwhy\n\n", "1\nwhy\nn\n"] {
            let (_, done) = play(typed, None, None);
            assert!(done.unwrap_err().is::<Refused>(), "{typed:?}");
        }
    }

    #[test]
    fn in_a_trial_there_is_one_way_back() {
        let mut systems = robot();
        systems[0].parts = vec![Part::Running.into(), Part::Next.into()];
        systems[1].parts = vec![Part::Confirmed.into()];
        let releases = |in_trial| {
            let goals = goals(&systems, in_trial).into_iter();
            let releases = goals.filter_map(|goal| goal.release.as_ref());
            releases.map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(releases(true), ["1"]);
        assert_eq!(releases(false), ["1", "0"]);
    }
}
