//! Optimisation: rewritings of a graph that keep what it computes.

pub mod layout;
