//! What looks at the robot gave, for whoever asks again soon.

use crate::inputs::Inputs;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};

/// A look costs the robot something: whoever asks again within this time gets the same answer.
const FRESH: Duration = Duration::from_secs(10);

/// Looks at the robot for whoever asks, one at a time.
#[derive(Debug, Clone)]
pub(crate) struct Fresh<T> {
    inputs: watch::Receiver<Option<Inputs>>,
    last: Arc<Mutex<Option<Seen<T>>>>,
}

/// When somebody looked last, and what was found.
type Seen<T> = (Instant, Arc<[T]>);

impl<T: Clone + Send + Sync + 'static> Fresh<T> {
    /// For a robot of which this is known at any time.
    pub(crate) fn new(inputs: watch::Receiver<Option<Inputs>>) -> Self {
        Self {
            inputs,
            last: Arc::default(),
        }
    }

    /// One that has looked already.
    #[cfg(test)]
    pub(crate) fn having_seen(found: Vec<T>) -> Self {
        Self {
            inputs: watch::Sender::new(None).subscribe(),
            last: Arc::new(Mutex::new(Some((Instant::now(), found.into())))),
        }
    }

    /// What there is to find. Whoever hangs up meanwhile does not end the look, or the next one would
    /// begin it anew: nobody has the robot looked over more often than [`FRESH`] says.
    pub(crate) async fn get<F>(&self, look: impl FnOnce(Inputs) -> F + Send + 'static) -> Arc<[T]>
    where
        F: Future<Output = Vec<T>> + Send,
    {
        let fresh = self.clone();
        let found = tokio::spawn(async move {
            let mut last = fresh.last.lock().await;
            if let Some((at, found)) = &*last
                && at.elapsed() < FRESH
            {
                return Arc::clone(found);
            }
            let found: Arc<[T]> = match fresh.inputs() {
                Some(inputs) => look(inputs).await.into(),
                None => Arc::default(),
            };
            *last = Some((Instant::now(), Arc::clone(&found)));
            found
        });
        found.await.unwrap_or_default()
    }

    /// What is known now.
    pub(crate) fn inputs(&self) -> Option<Inputs> {
        self.inputs.borrow().clone()
    }
}
