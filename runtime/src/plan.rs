//! A plan: kernel calls on numbered slots, as plain data.

use std::sync::Arc;

use crate::dtype::DType;

/// Parameters of a kernel call, a JSON object. Numbers are integers or floats, lists are lists of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params(pub serde_json::Map<String, serde_json::Value>);

/// A size, or a size times one symbol (a free batch, say) that is bound when the plan runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The factor.
    pub factor: usize,
    /// Index into [`Plan::symbols`].
    pub symbol: Option<usize>,
}

/// What a slot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Given by the caller.
    Input,
    /// A constant, found among the weights.
    Weight,
    /// Written by one step.
    Scratch,
    /// Kept by the session from run to run: at first what is found among the weights, then what an [`Update`] says.
    State,
}

/// A tensor of the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// The model's name of the value.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Element type.
    pub dtype: DType,
    /// Sizes, outermost first.
    pub shape: Vec<Extent>,
}

/// One kernel call.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Versioned name of the kernel.
    pub kernel: String,
    /// Operand slots; `None` where an optional operand is absent.
    pub inputs: Vec<Option<usize>>,
    /// Result slots; `None` where a result is of no use to anybody.
    pub outputs: Vec<Option<usize>>,
    /// Parameters.
    pub params: Params,
    /// Where in the model it comes from, for messages and profiles.
    pub place: String,
}

/// An input or output of the plan. A slot may be several outputs, and an input or a weight may be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Under this name the caller gives or gets it.
    pub name: String,
    /// The slot.
    pub slot: usize,
}

/// What a state becomes when a run ends. Until then every step reads what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// The state's slot.
    pub state: usize,
    /// The slot, written by a step, that has its new elements.
    pub from: usize,
}

/// Kernel calls in the order in which they run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Names of the symbols that extents refer to.
    pub symbols: Vec<String>,
    /// Every tensor.
    pub slots: Vec<Slot>,
    /// Every call.
    pub steps: Vec<Step>,
    /// What the caller gives.
    pub inputs: Vec<Port>,
    /// What the caller gets.
    pub outputs: Vec<Port>,
    /// What the states become, each at most once.
    pub updates: Vec<Update>,
}

/// The bytes of a constant, little endian and dense, shared with whoever owns them (a memory map, usually).
#[derive(Clone)]
pub struct Weight(pub Arc<dyn AsRef<[u8]> + Send + Sync>);

impl Weight {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_ref().as_ref()
    }
}

/// The weights of a plan by slot.
pub type Weights = std::collections::BTreeMap<usize, Weight>;

impl Plan {
    /// An input or output with its type and sizes, `x f32[N, 49]`.
    pub fn describe(&self, port: &Port) -> String {
        let symbol = |at: usize| self.symbols.get(at).map_or("?", String::as_str);
        let size = |extent: &Extent| match extent.symbol {
            None => extent.factor.to_string(),
            Some(at) if extent.factor == 1 => symbol(at).to_owned(),
            Some(at) => format!("{}*{}", extent.factor, symbol(at)),
        };
        let Some(slot) = self.slots.get(port.slot) else { return port.name.clone() };
        format!("{} {}[{}]", port.name, slot.dtype, slot.shape.iter().map(size).collect::<Vec<_>>().join(", "))
    }
}

impl Step {
    /// Every operand and result that is there.
    pub fn slots(&self) -> impl Iterator<Item = usize> {
        self.inputs.iter().chain(&self.outputs).flatten().copied()
    }
}

impl Params {
    /// No parameters.
    pub fn new() -> Params {
        Params::default()
    }

    /// With one more.
    pub fn with(mut self, key: &str, value: impl Into<serde_json::Value>) -> Params {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    /// An integer.
    pub fn int(&self, key: &str) -> Option<i64> {
        self.0.get(key)?.as_i64()
    }

    /// A number.
    pub fn float(&self, key: &str) -> Option<f64> {
        self.0.get(key)?.as_f64()
    }

    /// A string.
    pub fn str(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    /// A truth value; absent is false.
    pub fn flag(&self, key: &str) -> bool {
        self.0.get(key).and_then(serde_json::Value::as_bool).unwrap_or(false)
    }

    /// A list of integers.
    pub fn ints(&self, key: &str) -> Option<Vec<i64>> {
        self.0.get(key)?.as_array()?.iter().map(serde_json::Value::as_i64).collect()
    }

    /// A list of numbers; `null` is not-a-number.
    pub fn floats(&self, key: &str) -> Option<Vec<f64>> {
        let number = |v: &serde_json::Value| if v.is_null() { Some(f64::NAN) } else { v.as_f64() };
        self.0.get(key)?.as_array()?.iter().map(number).collect()
    }

    /// A list of sizes.
    pub fn sizes(&self, key: &str) -> Option<Vec<usize>> {
        self.ints(key)?.into_iter().map(|n| usize::try_from(n).ok()).collect()
    }
}
