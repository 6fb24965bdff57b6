//! Why a file is no graph.

/// Why a file is no graph. Every message names the file, where there is one, and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A tensor cannot be read.
    #[error(transparent)]
    File(#[from] hanc_proto::Error),
    /// The graph does not hold together.
    #[error("{file}{place}: {message}; {}", fault.help())]
    Graph {
        /// The file, and a separator.
        file: String,
        /// The node or value.
        place: String,
        /// What is wrong.
        message: String,
        /// The kind of it.
        fault: Fault,
    },
}

/// What can be wrong with a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A value is read that nothing gives.
    Undefined,
    /// A value is defined twice.
    Duplicate,
    /// Something that others refer to by its name has none.
    Unnamed,
    /// A node names no operator.
    NoOperator,
    /// The nodes form a cycle.
    Cycle,
    /// A version of an operator domain is missing, contradictory or impossible.
    Opset,
    /// An attribute is given twice, has no name, or refers to nothing.
    Attribute,
    /// A declared type is none.
    Type,
    /// A sparse tensor whose parts do not fit together.
    Sparse,
    /// The graph has no outputs.
    Empty,
}

impl Fault {
    /// What to do.
    pub fn help(self) -> &'static str {
        match self {
            Fault::Undefined => "export the model again; a tool that cut a part out of it may have lost the rest",
            Fault::Duplicate => "rename one of the two; merging models without prefixes for their names does this",
            Fault::Unnamed => "give it a name",
            Fault::NoOperator => "export the model again",
            Fault::Cycle => "export the model again; `onnx.checker` names the nodes as well",
            Fault::Opset => "state one version of each operator domain in the model's opset imports",
            Fault::Attribute => "look at the node in the program that wrote the model",
            Fault::Type => "drop the declaration, or declare an element type and sizes that ONNX has",
            Fault::Sparse => "export the model again, or store the tensor densely",
            Fault::Empty => "name the values that the model computes as its outputs",
        }
    }
}
