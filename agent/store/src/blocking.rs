//! Work that blocks, on a thread that may.

use crate::error::Result;
use tokio::task::JoinHandle;

/// Runs something that blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    written(tokio::task::spawn_blocking(work)).await
}

/// Waits for blocking work that was begun.
pub(crate) async fn written<T>(work: JoinHandle<Result<T>>) -> Result<T> {
    match work.await {
        Ok(result) => result,
        Err(gone) => match gone.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Blocking work is cancelled only when the runtime shuts down.
            Err(_) => std::future::pending().await,
        },
    }
}
