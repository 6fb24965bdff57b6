//! The gradient rules, a file a family. The op table says which operator has which.

pub mod conv;
pub mod elementwise;
pub mod householder;
pub mod linear;
pub mod movement;
pub mod nary;
pub mod norm;
pub mod pool;
pub mod reduce;
