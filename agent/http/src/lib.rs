//! The one HTTP client of Surefoot: what reads caches and repositories asks through it.
//!
//! * [`options`]: how to speak HTTP, [`access`]: what to show to servers that do not serve
//!   everybody, both as values;
//! * [`client`]: sends requests and follows redirections;
//! * [`document`]: small files as wholes;
//! * [`pace`]: the most bytes a second, and the least;
//! * [`headers`]: what answers say of themselves.

pub mod access;
mod below;
pub mod client;
pub mod document;
pub mod error;
mod file;
pub mod headers;
mod loopback;
mod netrc;
pub mod options;
pub mod pace;
pub mod page;
mod redirect;
mod shown;
mod sigv4;
mod tls;

pub use below::below;
pub use bytes::Bytes;
pub use client::{Http, Response};
pub use error::{Error, Result};
pub use loopback::is_this_machine;
pub use options::Options;
pub use reqwest::{Method, StatusCode, Url, header};
pub use shown::shown;
