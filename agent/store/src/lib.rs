//! surefoot-store
