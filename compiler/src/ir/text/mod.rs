//! The text form of a graph: what prints, parses.
//!
//! ```text
//! graph "main"
//! opset "" 17, "com.microsoft" 1
//! in %x: f32[N, 6, 24]
//! const %w: f32[24, 2] = splat(0.5)
//! %h: f32[N, 6, 2] = MatMul(%x, %w) @"the node's name"
//! %g, _ = com.microsoft.Foo(%h, _) {axis = -1, mode = "x", scale = 0.5f, list = [1, 2]}   # a comment
//! out %g
//! ```
//!
//! A type is a dtype with a shape in brackets; one of unknown rank has no brackets, one of unknown dtype is `?`. The
//! elements of a constant stand in braces, as `splat(x)`, or as the bytes in `hex"…"`. Names that are no plain word
//! are quoted: `%"onnx::MatMul_164"`. An absent operand or result is `_`. A node ends with what it has of
//! `captures(%a)`, `opset 20` where it is not the graph's, `@"name"` and `!index` in the file; constants may have the
//! index as well. Model-local functions stand before everything else as
//! `function local.Name(attribute, other = 1) { … }`. Elements found by inference and node ids are not part of the
//! form.

mod lex;
mod parse;
mod print;
#[cfg(test)]
mod tests;

pub use lex::ParseError;
pub use parse::parse;
pub use print::{Style, print, print_styled};

/// Whether a text can stand for a name without quotes; `extra` are more characters that may.
fn is_plain(text: &str, extra: &[char]) -> bool {
    !text.is_empty() && text != "_" && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || extra.contains(&c))
}

/// Characters of value names that need no quotes beside letters, digits and `_`.
const NAME: &[char] = &['.', '/', '-'];
