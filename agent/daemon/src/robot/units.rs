//! The names of the units that the agent makes itself, beside those of switches ([`Kind`]).

use surefoot_core::switch::Purpose;

/// The dead-man timer's unit, without its ending.
pub(crate) const DEAD_MAN: &str = "surefoot-dead-man";

/// Its other name: one that gets more time is armed under the name that is free, before the one before it
/// goes.
pub(crate) const DEAD_MAN_ANEW: &str = "surefoot-dead-man-anew";

/// The deadline of a boot on trial: likewise.
pub(crate) const DEADLINE: &str = "surefoot-deadline";

/// A step of a boot on trial: likewise.
pub(crate) const STEP: &str = "surefoot-boot-step";

/// A look at what a boot on trial would meet: what its units' names begin with.
pub(crate) const LOOK: &str = "surefoot-boot-look-";

/// The copy of the journal's essentials: likewise.
pub(crate) const REMEMBER: &str = "surefoot-remember";

/// A command of the configuration: likewise.
pub(crate) const COMMAND: &str = "surefoot-command-";

/// The question to the agent on trial: likewise.
pub(crate) const PROOF: &str = "surefoot-proof-";

/// What ends the parts of a switch that run as a user: likewise.
pub(crate) const USER_PARTS: &str = "surefoot-user-parts-";

/// The units that nobody waits for when the agent is gone.
pub(crate) const LIMITED: [&str; 6] = [STEP, LOOK, REMEMBER, COMMAND, PROOF, USER_PARTS];

/// Units that the agent makes itself; what becomes of them is its own business.
pub(crate) fn is_own(unit: &str) -> bool {
    Purpose::ALL
        .map(Purpose::prefix)
        .into_iter()
        .chain([DEAD_MAN, DEADLINE])
        .chain(LIMITED)
        .any(|prefix| unit.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_own_units_do_not_count() {
        assert!(is_own("surefoot-trial-3.service"));
        assert!(is_own("surefoot-dead-man.service"));
        assert!(is_own(&format!("{DEAD_MAN_ANEW}.timer")));
        assert!(is_own("surefoot-command-812-3.service"));
        assert!(is_own("surefoot-boot-step.service"));
        assert!(!is_own("surefootd.service"));
        assert!(!is_own("arm.service"));
    }
}
