//! Reading the parameters of a call, one by one, in words that say which of them is wrong.

use crate::{error::ErrorReply, input::Why};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::{fmt::Display, str::FromStr};

/// The parameters of a call that were not looked at yet. One that is `null` is one that is absent.
#[derive(Debug)]
pub(crate) struct Unread(pub(crate) Map<String, Value>);

impl Unread {
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, ErrorReply> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ErrorReply::parameter(name, "it must be a string")),
        }
    }

    pub(crate) fn whole(&mut self, name: &str) -> Result<Option<i64>, ErrorReply> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_i64()
                .map(Some)
                .ok_or_else(|| ErrorReply::parameter(name, "it must be a whole number")),
        }
    }

    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, ErrorReply> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(ErrorReply::parameter(name, "it must be true or false")),
        }
    }

    /// What is made of an object, if there is one. Fields that nobody knows are passed over: they are
    /// a newer caller's.
    pub(crate) fn object<T: DeserializeOwned>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, ErrorReply> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value @ Value::Object(_)) => serde_json::from_value(value)
                .map(Some)
                .map_err(|error| ErrorReply::parameter(name, error)),
            Some(_) => Err(ErrorReply::parameter(name, "it must be an object")),
        }
    }

    /// What is made of a text, if there is one.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, ErrorReply> {
        self.text(name)?.map(|text| parse(name, &text)).transpose()
    }

    /// What is made of a text that has to be there: an empty one says best what is missing.
    pub(crate) fn required<T: FromStr<Err: Display>>(
        &mut self,
        name: &str,
    ) -> Result<T, ErrorReply> {
        parse(name, &self.text(name)?.unwrap_or_default())
    }

    pub(crate) fn why(&mut self) -> Result<Why, ErrorReply> {
        self.required("why")
    }

    /// What nobody asked for is not passed over: it may be a slip of the pen in a rollback.
    pub(crate) fn end(self) -> Result<(), ErrorReply> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(ErrorReply::parameter(name, "there is no such parameter")),
        }
    }
}

fn parse<T: FromStr<Err: Display>>(name: &str, text: &str) -> Result<T, ErrorReply> {
    text.parse()
        .map_err(|error| ErrorReply::parameter(name, error))
}
