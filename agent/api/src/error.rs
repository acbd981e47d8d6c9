//! The errors that the agent answers with.

use serde::{Deserialize, Serialize};

/// An error, by its name and with its parameters: those of the agent's own interface, and those of
/// the standard one. A field that an older agent leaves out is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", content = "parameters")]
pub enum ErrorReply {
    /// The caller may not do this.
    #[error("it needs {needs}")]
    #[serde(rename = "io.surefoot.Agent.NotAuthorized")]
    NotAuthorized {
        /// Who may.
        #[serde(default)]
        needs: String,
    },
    /// A gate or a policy says no.
    #[error("{why}")]
    #[serde(rename = "io.surefoot.Agent.Refused")]
    Refused {
        /// Which, and why.
        #[serde(default)]
        why: String,
    },
    /// There is nothing to do.
    #[error("{why}")]
    #[serde(rename = "io.surefoot.Agent.NothingToDo")]
    NothingToDo {
        /// What is missing.
        #[serde(default)]
        why: String,
    },
    /// It was tried and failed.
    #[error("{why}")]
    #[serde(rename = "io.surefoot.Agent.Failed")]
    Failed {
        /// What happened.
        #[serde(default)]
        why: String,
    },
    /// The service has no such interface.
    #[error("there is no interface {interface}")]
    #[serde(rename = "org.varlink.service.InterfaceNotFound")]
    InterfaceNotFound {
        /// Which.
        #[serde(default)]
        interface: String,
    },
    /// The interface has no such method.
    #[error("there is no method {method}")]
    #[serde(rename = "org.varlink.service.MethodNotFound")]
    MethodNotFound {
        /// Its full name.
        #[serde(default)]
        method: String,
    },
    /// A parameter is missing, wrong or unknown.
    #[error("{parameter}: {why}")]
    #[serde(rename = "org.varlink.service.InvalidParameter")]
    InvalidParameter {
        /// Which.
        #[serde(default)]
        parameter: String,
        /// What is wrong with it. The standard has no field for that.
        #[serde(default)]
        why: String,
    },
    /// The method answers more than once, and the call did not say `more`.
    #[error("the call must say `more`")]
    #[serde(rename = "org.varlink.service.ExpectedMore")]
    ExpectedMore {},
}

impl ErrorReply {
    /// A parameter does not do.
    pub(crate) fn parameter(name: &str, why: impl ToString) -> Self {
        Self::InvalidParameter {
            parameter: name.to_owned(),
            why: why.to_string(),
        }
    }
}
