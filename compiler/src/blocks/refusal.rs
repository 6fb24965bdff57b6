//! Why a block cannot be replaced.

/// The one reason why something that looks like a block is none that Han layers could take the place of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A value inside is read outside.
    #[error("hidden value {value} is also used by {by}")]
    HiddenUsed {
        /// The value.
        value: String,
        /// Node that reads it, or that it is an output of the graph.
        by: String,
    },
    /// The hidden value is multiplied by another that depends on the input.
    #[error("the hidden value is gated by {by}")]
    Gated {
        /// The value that it is multiplied by.
        by: String,
    },
    /// A Han layer has as many outputs as inputs.
    #[error("the width changes from {input} to {output}; a Han layer keeps it")]
    WidthChanges {
        /// Elements that enter.
        input: usize,
        /// Elements that leave.
        output: usize,
    },
    /// A weight is computed from the input.
    #[error("the weights {value} are not constant")]
    NotConstant {
        /// The weights.
        value: String,
    },
    /// A weight has another user, with which it is trained.
    #[error("the weights {value} are shared with {by}")]
    SharedWeights {
        /// The weights.
        value: String,
        /// The other node.
        by: String,
    },
    /// Its nodes belong to another block.
    #[error("it is part of {id}")]
    PartOf {
        /// The other block.
        id: String,
    },
    /// Input and output have the mixed elements in different places.
    #[error("the layout changes inside the block: {what}")]
    Layout {
        /// What differs.
        what: String,
    },
    /// Two linear layers in sequence.
    #[error("no activation stands between {first} and {second}")]
    NoActivation {
        /// The first linear layer.
        first: String,
        /// The second.
        second: String,
    },
    /// More than linear, activation, linear.
    #[error("more than one activation or linear layer stands between: {what}")]
    TooMany {
        /// What stands there.
        what: String,
    },
    /// Something else stands in the hidden part.
    #[error("{node} stands inside the block, which a Han layer has no counterpart for")]
    Foreign {
        /// The node.
        node: String,
    },
    /// Which axis is mixed cannot be told.
    #[error("the mixed axis of {value} is not known")]
    AxisUnknown {
        /// The value.
        value: String,
    },
    /// Element type or rank of a value is not known.
    #[error("the type or rank of {value} is not known")]
    TypeUnknown {
        /// The value.
        value: String,
    },
    /// It computes for nobody.
    #[error("nothing reads its result {value}")]
    Unread {
        /// The result.
        value: String,
    },
    /// The type cannot hold a Han layer's weights.
    #[error("{value} is {dtype}; a Han layer needs f32, f64, f16 or bf16")]
    Type {
        /// The value.
        value: String,
        /// Its element type.
        dtype: String,
    },
}

impl Refusal {
    /// A short name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::HiddenUsed { .. } => "hidden-used",
            Refusal::Gated { .. } => "gated",
            Refusal::WidthChanges { .. } => "width-changes",
            Refusal::NotConstant { .. } => "not-constant",
            Refusal::SharedWeights { .. } => "shared-weights",
            Refusal::PartOf { .. } => "part-of",
            Refusal::Layout { .. } => "layout",
            Refusal::NoActivation { .. } => "no-activation",
            Refusal::TooMany { .. } => "too-many",
            Refusal::Foreign { .. } => "foreign",
            Refusal::AxisUnknown { .. } => "axis-unknown",
            Refusal::TypeUnknown { .. } => "type-unknown",
            Refusal::Unread { .. } => "unread",
            Refusal::Type { .. } => "type",
        }
    }
}
