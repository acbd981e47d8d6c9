//! The names of the units that the agent makes itself, beside those of switches ([`Kind`]).

use surefoot_core::switch::Purpose;

/// The dead-man timer's unit, without its ending.
pub(crate) const DEAD_MAN: &str = "surefoot-dead-man";

/// The deadline of a boot on trial: likewise.
pub(crate) const DEADLINE: &str = "surefoot-deadline";

/// Units that the agent makes itself; what becomes of them is its own business.
pub(crate) fn is_own(unit: &str) -> bool {
    Purpose::ALL
        .map(Purpose::prefix)
        .into_iter()
        .chain([DEAD_MAN, DEADLINE])
        .any(|prefix| unit.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_own_units_do_not_count() {
        assert!(is_own("surefoot-trial-3.service"));
        assert!(is_own("surefoot-dead-man.service"));
        assert!(!is_own("surefootd.service"));
        assert!(!is_own("arm.service"));
    }
}
