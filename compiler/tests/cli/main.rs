//! The program from outside: exit codes, one JSON document in every outcome, messages that name the file, and what is
//! written.

#![allow(clippy::unwrap_used)]

mod attack;
mod bench;
mod calls;
mod compiled;
mod data;
mod files;
mod goal;
#[cfg(unix)]
mod kill;
mod measure;
mod recipe;
mod repro;
#[cfg(unix)]
mod resume;
mod verbs;
