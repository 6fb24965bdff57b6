//! The gradient rules, a file a family. The op table says which operator has which.

pub mod attention;
pub mod conv;
pub mod einsum;
pub mod elementwise;
pub mod gather;
pub mod householder;
pub mod linear;
pub mod lines;
pub mod movement;
pub mod nary;
pub mod norm;
pub mod parts;
pub mod pool;
pub mod reduce;
pub mod resize;
