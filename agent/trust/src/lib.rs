//! surefoot-trust
