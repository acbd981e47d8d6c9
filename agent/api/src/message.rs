//! Messages as they go over the socket: JSON with a zero byte behind each.

use crate::{error::ErrorReply, method::Parameters};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::ops::Not;

/// A call as it comes in.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct IncomingCall {
    /// The full name of the method, its interface in front.
    pub method: String,
    /// Its parameters.
    #[serde(default, deserialize_with = "absent_if_null")]
    pub parameters: Map<String, Value>,
    /// The caller takes several answers.
    #[serde(default)]
    pub more: bool,
    /// The caller takes no answer at all.
    #[serde(default)]
    pub oneway: bool,
}

/// A call as it goes out.
#[derive(Debug, Serialize)]
pub(crate) struct OutgoingCall {
    pub(crate) method: String,
    #[serde(skip_serializing_if = "Not::not")]
    pub(crate) more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameters: Option<Value>,
}

/// An answer as it goes out.
#[derive(Debug, Serialize)]
struct OutgoingReply<'a, P> {
    parameters: &'a P,
    #[serde(skip_serializing_if = "Not::not")]
    continues: bool,
}

/// An answer as it comes in.
#[derive(Debug, Deserialize)]
pub(crate) struct IncomingReply {
    #[serde(default)]
    pub(crate) parameters: Value,
    pub(crate) error: Option<String>,
}

fn absent_if_null<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Map<String, Value>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl IncomingCall {
    /// Reads a message.
    ///
    /// # Errors
    /// It is not a call: whoever sent it does not speak Varlink.
    pub fn parse(message: &[u8]) -> serde_json::Result<Self> {
        // An object it must be: a list of the same values is none.
        let fields: Map<String, Value> = serde_json::from_slice(message)?;
        Self::deserialize(Value::Object(fields))
    }
}

/// A whole message, its end included.
pub(crate) fn encode(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(message)?;
    bytes.push(0);
    Ok(bytes)
}

/// The only answer to a call, as a message.
///
/// # Errors
/// JSON cannot say it, which no type of this crate leads to.
pub fn reply<P: Parameters>(_: &P, reply: &P::Reply) -> serde_json::Result<Vec<u8>> {
    bare_reply(reply)
}

/// One answer of several, as a message.
///
/// # Errors
/// As [`reply`].
pub fn reply_and_more<P: Parameters>(_: &P, reply: &P::Reply) -> serde_json::Result<Vec<u8>> {
    encode(&OutgoingReply {
        parameters: reply,
        continues: true,
    })
}

/// An answer of the standard interface, which has no types here.
pub(crate) fn bare_reply(parameters: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    encode(&OutgoingReply {
        parameters,
        continues: false,
    })
}

/// An error, as a message.
///
/// # Errors
/// As [`reply`].
pub fn error(error: &ErrorReply) -> serde_json::Result<Vec<u8>> {
    encode(error)
}

/// Takes messages out of the bytes that come in, however they were cut on their way.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    /// So many of them are known to end no message.
    searched: usize,
    longest: usize,
}

/// A message is longer than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message has more than {0} bytes")]
pub struct TooLong(usize);

impl Inbox {
    /// For messages of at most so many bytes, their ends not counted.
    #[must_use]
    pub fn new(longest: usize) -> Self {
        Self {
            longest,
            ..Self::default()
        }
    }

    /// Whether nothing is in it, not even a part of a message.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes what came in. Take the messages out before the next bytes come: then it never holds
    /// more than the longest message and what came in at once.
    pub fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, without its end; `None` before that is here.
    ///
    /// # Errors
    /// [`TooLong`]: nothing that follows can be told apart any more.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let unsearched = self.bytes.get(self.searched..).unwrap_or_default();
        let end = unsearched.iter().position(|byte| *byte == 0);
        let length = self.searched + end.unwrap_or(unsearched.len());
        if length > self.longest {
            return Err(TooLong(self.longest));
        }
        if end.is_none() {
            self.searched = length;
            return Ok(None);
        }
        let mut message: Vec<u8> = self.bytes.drain(..=length).collect();
        message.pop();
        self.searched = 0;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_come_out_whole_however_they_were_cut(
            messages in prop::collection::vec(prop::collection::vec(1u8.., 0..9), 0..9),
            size in 1usize..20,
        ) {
            let mut bytes = messages.join(&0);
            if !messages.is_empty() {
                bytes.push(0);
            }
            let mut inbox = Inbox::new(8);
            let mut heard = Vec::new();
            for cut in bytes.chunks(size) {
                inbox.put(cut);
                while let Some(message) = inbox.take().unwrap() {
                    heard.push(message);
                }
            }
            prop_assert_eq!(heard, messages);
        }
    }

    #[test]
    fn a_message_has_a_longest_length() {
        for (said, heard) in [
            (&b"12345678\0"[..], Ok(Some(b"12345678".to_vec()))),
            (b"12345678", Ok(None)),
            (b"123456789\0", Err(TooLong(8))),
            (b"123456789", Err(TooLong(8))),
        ] {
            let mut inbox = Inbox::new(8);
            inbox.put(said);
            assert_eq!(inbox.take(), heard);
        }
    }

    #[test]
    fn a_call_is_an_object_with_a_method() {
        for call in [
            r#"{"method":"a.B","parameters":null,"more":true,"weather":"fine"}"#,
            r#"{ "oneway": false, "more": true, "method": "a.B", "parameters": {} } "#,
        ] {
            let call = IncomingCall::parse(call.as_bytes()).unwrap();
            assert_eq!(
                (call.method.as_str(), call.more, call.oneway),
                ("a.B", true, false)
            );
        }
        for none in [
            "",
            "[]",
            r#"["a.B"]"#,
            "{}",
            r#"{"method":3}"#,
            "{\"method\":\"a.B\"}x",
            r#"{"method":"a.B","more":1}"#,
            r#"{"method":"a.B","parameters":[]}"#,
        ] {
            assert!(IncomingCall::parse(none.as_bytes()).is_err(), "{none}");
        }
    }
}
