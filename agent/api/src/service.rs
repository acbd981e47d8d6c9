//! The server half: which method a call is for, and what the standard interface answers.
//!
//! Nothing here reads or writes a socket; a server brings the bytes, with [`Inbox`], and decides
//! who may call what.
//!
//! [`Inbox`]: crate::message::Inbox

use crate::{
    error::ErrorReply,
    interface::{INTERFACE, INTERFACE_NAME, SERVICE, SERVICE_NAME},
    message::{IncomingCall, bare_reply},
    method::Method,
    parameters::Unread,
};
use serde_json::{Value, json};

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A method of the agent's own interface.
    Agent(Method),
    /// A method of the standard interface, which anyone may call.
    Service(ServiceMethod),
}

/// A method of the standard interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceMethod {
    /// Says who answers, and which interfaces there are.
    GetInfo,
    /// Describes an interface.
    GetInterfaceDescription,
}

/// Who answers.
#[derive(Debug, Clone, Copy)]
pub struct ServiceInfo {
    /// Whose it is.
    pub vendor: &'static str,
    /// What it is.
    pub product: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Where to read more.
    pub url: &'static str,
}

impl Target {
    /// What a call is for.
    ///
    /// # Errors
    /// [`ErrorReply::InterfaceNotFound`] and [`ErrorReply::MethodNotFound`].
    pub fn of(call: &IncomingCall) -> Result<Self, ErrorReply> {
        let full_name = &call.method;
        let unknown = |interface: &str| ErrorReply::InterfaceNotFound {
            interface: interface.to_owned(),
        };
        let (interface, method) = full_name
            .rsplit_once('.')
            .ok_or_else(|| unknown(full_name))?;
        let found = match interface {
            INTERFACE_NAME => Method::named(method).map(Self::Agent),
            SERVICE_NAME => match method {
                "GetInfo" => Some(Self::Service(ServiceMethod::GetInfo)),
                "GetInterfaceDescription" => {
                    Some(Self::Service(ServiceMethod::GetInterfaceDescription))
                }
                _ => None,
            },
            _ => return Err(unknown(interface)),
        };
        found.ok_or_else(|| ErrorReply::MethodNotFound {
            method: full_name.clone(),
        })
    }
}

impl ServiceMethod {
    /// Answers a call of it, as a message.
    ///
    /// # Errors
    /// [`ErrorReply`], if the call is wrong.
    pub fn answer(self, call: IncomingCall, info: &ServiceInfo) -> Result<Vec<u8>, ErrorReply> {
        let mut unread = Unread(call.parameters);
        let parameters: Value = match self {
            Self::GetInfo => json!({
                "vendor": info.vendor,
                "product": info.product,
                "version": info.version,
                "url": info.url,
                "interfaces": [SERVICE_NAME, INTERFACE_NAME],
            }),
            Self::GetInterfaceDescription => {
                let interface = unread.text("interface")?.unwrap_or_default();
                let description = match interface.as_str() {
                    INTERFACE_NAME => INTERFACE,
                    SERVICE_NAME => SERVICE,
                    _ => return Err(ErrorReply::InterfaceNotFound { interface }),
                };
                json!({ "description": description })
            }
        };
        unread.end()?;
        bare_reply(&parameters).map_err(|error| ErrorReply::Failed {
            why: error.to_string(),
        })
    }
}
