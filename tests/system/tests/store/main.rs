//! Closures into a real Nix store: a real daemon, real nginx, and a server that misbehaves.

mod access;
mod damage;
mod deltas;
mod faults;
mod fetch;
mod kills;
mod lab;
mod publish;
mod push;
mod room;
mod stalls;
mod web;
