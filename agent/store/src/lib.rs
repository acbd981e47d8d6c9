//! How a closure reaches the robot's Nix store.
//!
//! * [`fetch`]: the whole way, from a closure index to a GC root; [`request`] says what is to be
//!   fetched and how, [`plan`] what it will cost, [`progress`] how far it is;
//! * `download`: from caches into staging: `order` says which file comes next, `budget` how much may
//!   lie in staging and how much memory decompressors may take, `transfer` moves the bytes of one file;
//! * [`staging`]: files on the robot's disk that are on their way, whole and in part;
//! * `import`: from staging into the store: `scheduler` says which path goes next, `concurrency` how
//!   many at a time, `cleanup` what is removed from staging;
//! * `deltas`: which paths come as a delta, how their NARs come out of it, and what did not do;
//! * [`cache`]: a binary cache, on a web server or a disk; its `backoff` says how long one that failed
//!   is left alone; [`narinfo`], [`signature`], [`nar`]: what lies in it;
//! * [`nix_daemon`]: the client of the Nix daemon; [`locks`]: whom it waits for; [`gc_root`]: what keeps a
//!   closure in the store; [`collect`]: what nothing keeps, and its removal;
//! * [`verify`]: whether what lies in the store is still what came there; [`repair`]: bringing anew what is not;
//! * [`index`]: building closure indexes, from a Nix store and a binary cache or from the cache
//!   alone, and their file form.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use surefoot_store::{fetch, index, request::FetchRequest};
//!
//! async fn bring(index_file: &[u8]) -> surefoot_store::Result<()> {
//!     let index = Arc::new(index::unpack(index_file)?);
//!     let request = FetchRequest::new(
//!         Arc::clone(&index),
//!         vec!["https://cache.example".to_owned()],
//!         "/var/lib/robot/staging".into(),
//!         "/nix/var/nix/gcroots/next-system".into(),
//!     );
//!     let fetch = fetch::prepare(&request).await?;
//!     println!("{}: {} bytes to move", index.toplevel, fetch.plan.wire_bytes());
//!     let report = fetch.run(&()).await?;
//!     println!("{} paths came in {:?}", report.fetched, report.elapsed);
//!     Ok(())
//! }
//! #
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! let error = runtime.block_on(bring(b"an index that was cut off")).unwrap_err();
//! assert!(!error.is_retryable(), "only another release can help: {error}");
//! ```

mod blocking;
pub mod cache;
pub mod collect;
mod damage;
mod deltas;
mod download;
pub mod error;
pub mod fetch;
pub mod gc_root;
mod import;
pub mod index;
pub mod locks;
mod moved;
pub mod nar;
pub mod narinfo;
pub mod nix_daemon;
pub mod plan;
pub mod progress;
pub mod repair;
pub mod request;
pub mod signature;
pub mod staging;
pub mod verify;

pub use cache::backoff::Retry;
pub use download::wrongs::Wrongs;
pub use error::{Error, Kind, Result};
