//! Requests of which nothing comes before whoever asked was told ([`surefoot_core::untold`]).

use super::Agent;
use crate::{control::RequestError, fault, trouble::Lost};
use jiff::Timestamp;
use surefoot_core::{
    machine::{Decided, Event, Request},
    untold::Untold,
};
use tokio::sync::oneshot;

/// A decision that is written as one which nobody was told of.
pub(super) struct Promised {
    decided: Decided,
    /// What was asked for.
    untold: Untold,
    pub(super) told: oneshot::Receiver<()>,
}

impl Agent {
    /// Decides a request of which nothing may come unless its caller is told. What it leads to is written as
    /// untold, and waits; a refusal leads to nothing more.
    pub(super) fn promise(
        &mut self,
        request: Request,
        told: oneshot::Receiver<()>,
    ) -> Result<String, RequestError> {
        self.let_pass(&request)?;
        let untold = request.untold(Some(Timestamp::now()));
        let decided = match self.begin(Event::Asked(request), untold.as_ref()) {
            Ok(decided) => decided,
            Err(error) => return Err(self.not_done(&error)),
        };
        let answer = decided.answer.clone();
        match (answer, untold) {
            (Some(Ok(answer)), Some(untold)) => {
                self.promised = Some(Promised {
                    decided,
                    untold,
                    told,
                });
                Ok(answer)
            }
            (Some(answer), _) => {
                (self.finish(decided, true)).map_err(|error| self.not_done(&error))?;
                Ok(answer?)
            }
            (None, _) => Err(RequestError::Failed("the agent has no answer".to_owned())),
        }
    }

    /// What a request has led to happens, once its caller was told; otherwise nothing was asked.
    pub(super) fn keep_promise(&mut self, promised: Promised, told: bool) {
        let Promised {
            decided, untold, ..
        } = promised;
        if !told {
            let error = anyhow::anyhow!("its caller could not be told");
            let why = self.not_done(&error);
            tracing::error!("nothing came of a request: {why}");
            return;
        }
        fault::point("before", "persist-told");
        let kept = match decided.machine.journal() == self.machine.journal() {
            true => Ok(()),
            false => self.persist(decided.machine.journal(), None),
        };
        if let Err(error) = kept.and_then(|()| self.finish(decided, true).map(drop)) {
            self.break_promise(untold, &error);
        }
    }

    /// Nothing comes of a request although its caller was told: that stands in the history and the status.
    fn break_promise(&mut self, untold: Untold, error: &anyhow::Error) {
        let under_way = self.written(self.machine.journal()).state.clone();
        self.machine = self.machine.passing_over(untold, under_way);
        if let Some(unheard) = &self.machine.journal().unheard {
            tracing::error!("{}: {error:#}", unheard.message());
        }
        if let Some(still) = &mut self.still {
            still.rest(&self.machine.journal().state);
        }
        if self.undo() {
            self.happened(Event::Tick);
        } else {
            // After that the robot is looked at, and what was to be left is.
            self.cannot_write(error, Lost::Event);
        }
        self.publish();
    }
}
