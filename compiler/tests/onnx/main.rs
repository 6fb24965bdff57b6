//! Files to graphs and back.
#![allow(clippy::unwrap_used)]

mod build;
mod export;
mod import;
mod roundtrip;
