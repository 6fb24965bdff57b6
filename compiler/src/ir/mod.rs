//! The intermediate representation: [`Graph`] and what changes, orders, prints and checks it.

pub mod dim;
pub mod dot;
pub mod edit;
mod graph;
pub mod inline;
pub(crate) mod literal;
mod order;
pub mod region;
pub mod text;
pub mod verify;

pub use dim::{Dim, Shape};
pub use edit::NewNode;
pub use graph::{Attr, Constant, Function, FunctionKey, Graph, Node, NodeId, Source, Value, ValueId};
pub use order::CycleError;
