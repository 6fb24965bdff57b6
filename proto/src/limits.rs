//! What a file may claim.

/// Limits on what a file may claim; the defaults admit every model that a desktop computer can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the model file, and of each data file beside it.
    pub file_bytes: u64,
    /// Bytes of one tensor.
    pub tensor_bytes: u64,
    /// Bytes of memory that everything but the tensors' raw elements takes once it is decoded.
    pub decoded_bytes: u64,
    /// Nodes of a graph, of all functions and nested graphs together.
    pub nodes: usize,
    /// Initializers, of the graph and nested graphs together.
    pub initializers: usize,
    /// Dimensions of a tensor.
    pub rank: usize,
    /// Bytes of one name, domain or operator.
    pub name_bytes: usize,
    /// Bytes of one other text: documentation, metadata.
    pub text_bytes: usize,
    /// Graphs nested in attributes. Messages in messages end at 90, which a nesting of about 28 graphs reaches.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            file_bytes: 64 << 30,
            tensor_bytes: 32 << 30,
            decoded_bytes: 4 << 30,
            nodes: 1_000_000,
            initializers: 1_000_000,
            rank: 32,
            name_bytes: 64 << 10,
            text_bytes: 64 << 20,
            depth: 16,
        }
    }
}
