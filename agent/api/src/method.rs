//! The methods of the interface: who may call them, what they take, and what they answer.
//!
//! Each method is a type that has the method's name and whose fields are its parameters; what it
//! answers is its [`Parameters::Reply`]. Both ends of the socket use the same types.

use crate::{
    error::ErrorReply,
    finding::Finding,
    history::HistoryEntry,
    input::{Why, hold_time, lease_time},
    parameters::Unread,
    status::StatusInfo,
    systems::SystemInfo,
};
use serde::{Deserialize, Serialize, Serializer, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::time::Duration;
use surefoot_core::{RollbackTo, comparison::Difference, made::Made, release::Name};

/// What a caller may do; each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Read.
    Anyone,
    /// Hold, and end the own holds: the robot's own software.
    App,
    /// Update, roll back, end all holds.
    Technician,
    /// Everything.
    Root,
}

/// The parameters of a method.
pub trait Parameters: Serialize {
    /// Which method.
    const METHOD: Method;
    /// What it answers.
    type Reply: Serialize + DeserializeOwned;
}

/// Makes everything of the table of methods, so that none is forgotten anywhere.
macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident($role:ident) -> $reply:ty;)*) => {
        /// A method of the interface.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Method {
            $($(#[$doc])* $name,)*
        }

        impl Method {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name in the interface.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// What a caller must be to call it. What it lets that caller do may depend on more.
            #[must_use]
            pub const fn least_role(self) -> Role {
                match self {
                    $(Self::$name => Role::$role,)*
                }
            }

            /// Reads the parameters that came with a call.
            ///
            /// # Errors
            /// [`ErrorReply::InvalidParameter`] for the first that does not do, or that the method
            /// does not have.
            pub fn read(self, parameters: Map<String, Value>) -> Result<Call, ErrorReply> {
                let mut unread = Unread(parameters);
                let call = match self {
                    $(Self::$name => Call::$name($name::read(&mut unread)?),)*
                };
                unread.end()?;
                Ok(call)
            }
        }

        /// A method with its parameters.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
        #[serde(untagged)]
        pub enum Call {
            $($(#[$doc])* $name($name),)*
        }

        $(impl Parameters for $name {
            const METHOD: Method = Method::$name;
            type Reply = $reply;
        })*
    };
}

methods! {
    /// Says what the agent is doing.
    Status(Anyone) -> StatusReply;
    /// Says it now and again on every change.
    Watch(Anyone) -> StatusReply;
    /// Says what happened.
    History(Anyone) -> HistoryReply;
    /// Looks the robot over.
    Doctor(Anyone) -> DoctorReply;
    /// Lists the systems that are on the robot.
    Systems(Anyone) -> SystemsReply;
    /// Says what differs between two of them.
    Compare(Anyone) -> CompareReply;
    /// Keeps the robot from switching.
    Hold(App) -> Done;
    /// Ends holds: the robot's software its own, technicians all of them.
    Resume(App) -> Done;
    /// Says whether the robot is busy.
    Lease(App) -> Done;
    /// Says nothing more by a name: the robot's software of its own leases, technicians of all.
    EndLease(App) -> Done;
    /// Asks the repository now.
    Update(Technician) -> Done;
    /// Goes back.
    Rollback(Technician) -> Done;
    /// Keeps a system, or no longer.
    Keep(Technician) -> Done;
    /// Has a blocked release tried again.
    Unblock(Technician) -> Done;
}

impl Method {
    /// The method of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|m| m.name() == name)
    }
}

/// Says what the agent is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {}

/// Says what the agent is doing, now and again on every change: see [`Client::watch`].
///
/// [`Client::watch`]: crate::Client::watch
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Watch {}

/// Says what happened, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct History {
    /// So many entries; `None` for all that are kept.
    pub limit: Option<u64>,
}

/// Looks the robot over. Who asks again within ten seconds gets the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Doctor {}

/// Lists the systems that are on the robot. Who asks again within ten seconds gets the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Systems {}

/// Says what differs between two systems that are on the robot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compare {
    /// Before: a release, a store path, or the number of a generation; `None` for what runs.
    pub from: Option<RollbackTo>,
    /// After.
    pub to: RollbackTo,
}

/// Keeps the robot from switching. A hold of the same owner is replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// Why, for those who come after.
    pub why: Why,
    /// For so long: 1 second to ten years, in whole seconds; `None` until somebody resumes.
    #[serde(rename = "seconds", serialize_with = "whole_seconds_if_any")]
    pub length: Option<Duration>,
}

/// Ends holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resume {
    /// When, and about what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made: Option<Made>,
}

/// Says whether the robot is busy: then nothing is switched and nothing reboots.
///
/// Without a time it is said for as long as the connection lasts, and needs no renewal: see
/// [`HeldLease`](crate::HeldLease). With one it has to be said again before that is over. A "busy" never
/// becomes a "free" by itself: if the connection is lost or the time is over, the robot stays busy until
/// its owner says or ends it again, or a technician ends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lease {
    /// What speaks: `gripper`, `mission`.
    pub name: Name,
    /// Whether the robot must not be touched now.
    pub busy: bool,
    /// How long that is to be believed: 1 second to 1 hour, in whole seconds; `None` for as long as the
    /// connection lasts.
    #[serde(rename = "seconds", serialize_with = "whole_seconds_if_any")]
    pub ttl: Option<Duration>,
    /// Why, for people.
    pub why: Option<Why>,
}

/// Says nothing more by this name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndLease {
    /// Which lease ends.
    pub name: Name,
}

/// Asks the repository now, and tries at once what waits for a next attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Update {
    /// When, and about what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made: Option<Made>,
}

/// Goes back to an earlier confirmed system, or ends a running trial. What is left is blocked, and so is
/// what waits or lies between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rollback {
    /// Why, for those who come after.
    pub why: Why,
    /// Where to; `None` for the one before, or out of the running trial.
    pub to: Option<RollbackTo>,
    /// Although a lease says that the robot is busy.
    pub force: bool,
    /// When, and about what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made: Option<Made>,
}

/// Keeps a system: its generation stays in the profile, and nothing collects it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Keep {
    /// Which one: a release, a store path, or the number of a generation that the agent made.
    pub what: RollbackTo,
    /// No longer: it may go when room is needed.
    pub undo: bool,
}

/// Has a blocked release tried again, at the next check that finds it offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unblock {
    /// Which one: a release, or the store path of its system.
    pub what: RollbackTo,
    /// Why, for those who come after.
    pub why: Why,
}

impl Status {
    fn read(_: &mut Unread) -> Result<Self, ErrorReply> {
        Ok(Self {})
    }
}

impl Watch {
    fn read(_: &mut Unread) -> Result<Self, ErrorReply> {
        Ok(Self {})
    }
}

impl History {
    fn read(unread: &mut Unread) -> Result<Self, ErrorReply> {
        let limit = unread.whole("limit")?.map(u64::try_from).transpose();
        Ok(Self {
            limit: limit.map_err(|_| ErrorReply::parameter("limit", "it is negative"))?,
        })
    }
}

impl Doctor {
    fn read(_: &mut Unread) -> Result<Self, ErrorReply> {
        Ok(Self {})
    }
}

impl Systems {
    fn read(_: &mut Unread) -> Result<Self, ErrorReply> {
        Ok(Self {})
    }
}

impl Compare {
    fn read(unread: &mut Unread) -> Result<Self, ErrorReply> {
        Ok(Self {
            from: unread.parsed("from")?,
            to: unread.required("to")?,
        })
    }
}

impl Hold {
    fn read(unread: &mut Unread) -> Result<Self, ErrorReply> {
        Ok(Self {
            why: unread.why()?,
            length: unread
                .whole("seconds")?
                .map(hold_time)
                .transpose()
                .map_err(|error| ErrorReply::parameter("seconds", error))?,
        })
    }
}

impl Resume {
    fn read(unread: &mut Unread) -> Result<Self, ErrorReply> {
        Ok(Self {
            made: unread.object("made")?,
        })
    }
}

impl Lease {
    fn read(unread: &mut Unread) -> Result<Self, ErrorReply> {
        Ok(Self {
            name: unread.required("name")?,
            busy: unread
                .flag("busy")?
                .ok_or_else(|| ErrorReply::parameter("busy", "it must be said"))?,
            ttl: unread
                .whole("seconds")?
                .map(lease_time)
                .transpose()
                .map_err(|error| ErrorReply::parameter("seconds", error))?,
            why: unread.parsed("why")?,
        })
    }
}

impl EndLease {
    fn read(unread: &mut Unread) -> Result<Self, ErrorReply> {
        Ok(Self {
            name: unread.required("name")?,
        })
    }
}

impl Update {
    fn read(unread: &mut Unread) -> Result<Self, ErrorReply> {
        Ok(Self {
            made: unread.object("made")?,
        })
    }
}

impl Rollback {
    fn read(unread: &mut Unread) -> Result<Self, ErrorReply> {
        Ok(Self {
            why: unread.why()?,
            to: unread.parsed("to")?,
            force: unread.flag("force")?.unwrap_or_default(),
            made: unread.object("made")?,
        })
    }
}

impl Keep {
    fn read(unread: &mut Unread) -> Result<Self, ErrorReply> {
        Ok(Self {
            what: unread.required("what")?,
            undo: unread.flag("undo")?.unwrap_or_default(),
        })
    }
}

impl Unblock {
    fn read(unread: &mut Unread) -> Result<Self, ErrorReply> {
        Ok(Self {
            what: unread.required("what")?,
            why: unread.why()?,
        })
    }
}

/// The answer to [`Status`], and each answer to [`Watch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReply {
    /// Everything about the robot's updates.
    pub status: StatusInfo,
}

/// The answer to [`History`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryReply {
    /// Newest first.
    pub entries: Vec<HistoryEntry>,
}

/// The answer to [`Doctor`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorReply {
    /// In the order of their subjects.
    pub findings: Vec<Finding>,
}

/// The answer to [`Systems`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemsReply {
    /// Newest first.
    pub systems: Vec<SystemInfo>,
}

/// The answer to [`Compare`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompareReply {
    /// What differs.
    pub difference: Difference,
}

/// The answer to what changes something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What happens now, in one sentence.
    pub message: String,
}

/// A time as the interface has it. Less than a second is one: none at all would be refused.
fn whole_seconds_if_any<S: Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs().max(1)).serialize(serializer)
}
