//! The gradient rules, a file a family. The op table says which operator has which.

pub mod elementwise;
pub mod householder;
pub mod linear;
pub mod movement;
pub mod nary;
pub mod reduce;
