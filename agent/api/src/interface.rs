//! The interface itself, where its socket lies, and how long messages may be.

/// The interface `io.surefoot.Agent`, in Varlink's interface definition language.
pub const INTERFACE: &str = include_str!("io.surefoot.Agent.varlink");

/// The name of the interface.
pub const INTERFACE_NAME: &str = "io.surefoot.Agent";

/// The standard interface that describes all others: <https://varlink.org/Service>.
pub const SERVICE: &str = include_str!("org.varlink.service.varlink");

/// The name of the standard interface.
pub const SERVICE_NAME: &str = "org.varlink.service";

/// Where the socket lies unless the configuration says otherwise.
pub const SOCKET: &str = "/run/surefoot/control.socket";

/// Messages to the agent above this size end the connection, in bytes.
pub const MAX_CALL_BYTES: usize = 64 << 10;

/// Messages from the agent above this size are not believed, in bytes.
pub const MAX_REPLY_BYTES: usize = 16 << 20;
