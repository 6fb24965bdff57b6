//! The op table: what a row is. The rows stand in `ops/`, a file a family.

pub use crate::docs::ops as docs;
use crate::grad::{Grad, Rule};
use crate::infer::{Infer, same};
use crate::lower::Lower;
pub use crate::ops::{FAMILIES, HAN_DOMAIN};

/// A row of the op table: everything that hanc knows of an operator.
#[derive(Debug)]
pub struct Op {
    /// Domain; `""` is ONNX's own.
    pub domain: &'static str,
    /// ONNX's own name.
    pub name: &'static str,
    /// Versions of the domain's opset that changed the operator, ascending; the first is where it begins.
    pub since: &'static [i64],
    /// Operands.
    pub inputs: &'static [Param],
    /// Results.
    pub outputs: &'static [Param],
    /// Attributes.
    pub attrs: &'static [AttrSpec],
    /// Whether each element of the result is a function of the operands' elements at the same place (after
    /// broadcasting) and of nothing else.
    pub elementwise: bool,
    /// Shape and type inference: sets what it can on the context, says what is wrong with the node.
    pub infer: fn(&mut Infer<'_>) -> Result<(), String>,
    /// How gradients pass through it.
    pub grad: Grad,
    /// How it becomes kernel calls.
    pub lower: Lower,
}

/// What stands where a row says nothing of gradients.
const NO_GRADIENT: Grad = Grad::Never("it has no gradient in hanc");

/// An operand or result.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// ONNX's own name.
    pub name: &'static str,
    /// How often it may stand.
    pub arity: Arity,
}

/// How often an operand or result may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Exactly once.
    One,
    /// Once or not at all.
    Optional,
    /// Any number of times; the last parameter only.
    Variadic,
}

/// An attribute.
#[derive(Clone, Copy, Debug)]
pub struct AttrSpec {
    /// ONNX's own name.
    pub name: &'static str,
    /// Its type and, where it has one, its default.
    pub kind: AttrKind,
    /// Opset versions, from the first up to and without the second, that have it.
    pub versions: (i64, i64),
}

/// Type and default of an attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum AttrKind {
    Int(Option<i64>),
    Float(Option<f32>),
    Str(Option<&'static str>),
    Ints,
    Floats,
    Strs,
    Tensor,
    Graph,
    Other,
}

/// A required operand or result.
pub const fn one(name: &'static str) -> Param {
    Param { name, arity: Arity::One }
}

/// An optional operand or result.
pub const fn opt(name: &'static str) -> Param {
    Param { name, arity: Arity::Optional }
}

/// Any number of operands or results.
pub const fn many(name: &'static str) -> Param {
    Param { name, arity: Arity::Variadic }
}

/// An attribute that every version has.
pub const fn attr(name: &'static str, kind: AttrKind) -> AttrSpec {
    AttrSpec { name, kind, versions: (1, i64::MAX) }
}

impl AttrSpec {
    /// From this version on.
    pub const fn from(mut self, version: i64) -> AttrSpec {
        self.versions.0 = version;
        self
    }

    /// Up to and without this version.
    pub const fn until(mut self, version: i64) -> AttrSpec {
        self.versions.1 = version;
        self
    }
}

impl Op {
    /// A row of ONNX's own domain: begins at opset 1, one operand `X`, one result `Y` of the same type and shape.
    pub const fn new(name: &'static str, lower: Lower) -> Op {
        const X: &[Param] = &[one("X")];
        const Y: &[Param] = &[one("Y")];
        Op {
            domain: "",
            name,
            since: &[1],
            inputs: X,
            outputs: Y,
            attrs: &[],
            elementwise: false,
            infer: same,
            grad: NO_GRADIENT,
            lower,
        }
    }

    /// In this domain.
    pub const fn domain(mut self, domain: &'static str) -> Op {
        self.domain = domain;
        self
    }

    /// Versions that changed it.
    pub const fn since(mut self, versions: &'static [i64]) -> Op {
        self.since = versions;
        self
    }

    /// Operands.
    pub const fn inputs(mut self, inputs: &'static [Param]) -> Op {
        self.inputs = inputs;
        self
    }

    /// Results.
    pub const fn outputs(mut self, outputs: &'static [Param]) -> Op {
        self.outputs = outputs;
        self
    }

    /// Attributes.
    pub const fn attrs(mut self, attrs: &'static [AttrSpec]) -> Op {
        self.attrs = attrs;
        self
    }

    /// Works element by element.
    pub const fn elementwise(mut self) -> Op {
        self.elementwise = true;
        self
    }

    /// Gradients by this rule.
    pub const fn grad(mut self, rule: Rule) -> Op {
        self.grad = Grad::Rule(rule);
        self
    }

    /// Results that small changes of the operands do not change.
    pub const fn flat(mut self) -> Op {
        self.grad = Grad::Zero;
        self
    }

    /// No gradients, and why.
    pub const fn no_grad(mut self, reason: &'static str) -> Op {
        self.grad = Grad::Never(reason);
        self
    }

    /// Inference.
    pub const fn infer(mut self, infer: fn(&mut Infer<'_>) -> Result<(), String>) -> Op {
        self.infer = infer;
        self
    }

    /// The specification of an attribute that this version has.
    pub fn attr(&self, name: &str, version: i64) -> Option<&AttrSpec> {
        self.attrs.iter().find(|a| a.name == name && a.versions.0 <= version && version < a.versions.1)
    }
}

/// The row of an operator; `ai.onnx` is ONNX's own domain under its long name.
pub fn find(domain: &str, name: &str) -> Option<&'static Op> {
    let domain = if domain == "ai.onnx" { "" } else { domain };
    all().find(|op| op.name == name && op.domain == domain)
}

/// Every row.
pub fn all() -> impl Iterator<Item = &'static Op> {
    FAMILIES.iter().copied().flatten()
}
