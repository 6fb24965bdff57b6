//! Matrix products: y = a b + bias + z.
//!
//! The right matrix is packed into [`Panels`]: stretches of one to three vectors of columns, each stored row behind row, so
//! that the inner loop reads it in order. The left matrix is read where it lies, through a pointer for each row of a tile
//! ([`Rows`]); a convolution is a product whose left rows are the pixels under its window. A tile of the result stays in
//! registers through the whole inner loop. No result depends on how tiles are shared out among threads: each is one sum
//! in the order of the inner axis. Where the left matrix is transposed, see [`Outer`].

mod outer;
mod panels;
mod product;
mod tile;

pub(crate) use outer::{Operands, Outer};
pub(crate) use panels::{Panels, Strides};
pub(crate) use product::{Epilogue, Place, Product, one_panel, part, product};
pub(crate) use tile::{Dense, Rows, Stacked};
