//! A file of metadata, read as each of the four kinds; what was read and is written again says the
//! same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_trust::metadata::{Envelope, Role, Root, Snapshot, Targets, Timestamp};

fn round<R: Role + PartialEq + std::fmt::Debug>(envelope: &Envelope) {
    if let Ok(role) = envelope.read::<R>("x") {
        let again = Envelope::wrap(&role).expect("what was read can be written");
        let role_again: R = again.read("x").expect("what was written can be read");
        assert_eq!(role, role_again);
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(envelope) = Envelope::parse("x", bytes) {
        let message = envelope.message();
        let again = Envelope::parse("x", &envelope.to_bytes().expect("it can be written"))
            .expect("what was written can be read");
        assert_eq!(again.message(), message);
        round::<Root>(&envelope);
        round::<Timestamp>(&envelope);
        round::<Snapshot>(&envelope);
        round::<Targets>(&envelope);
    }
});
