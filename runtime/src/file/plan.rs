//! A plan as JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::error::Problem;
use crate::dtype::DType;
use crate::plan::{Extent, Params, Plan, Port, Role, Slot, Step, Update};

/// Which tensor a weight slot has.
pub(super) type Tensors = BTreeMap<usize, String>;

const ROLES: [(Role, &str); 4] =
    [(Role::Input, "input"), (Role::Weight, "weight"), (Role::Scratch, "scratch"), (Role::State, "state")];

impl Plan {
    /// The plan as JSON, as it stands in a `.hanc` file, but for the tensors of its weights.
    pub fn json(&self) -> Value {
        encode(self, &Tensors::new())
    }
}

/// The plan with the tensors of its weight slots; every object's keys in alphabetical order.
pub(super) fn encode(plan: &Plan, tensors: &Tensors) -> Value {
    let slots: Vec<_> = plan.slots.iter().enumerate().map(|(at, slot)| slot_json(slot, tensors.get(&at))).collect();
    let ports = |ports: &[Port]| ports.iter().map(|p| json!({"name": p.name, "slot": p.slot})).collect::<Vec<_>>();
    let mut value = json!({
        "symbols": plan.symbols,
        "slots": slots,
        "steps": plan.steps.iter().map(step_json).collect::<Vec<_>>(),
        "inputs": ports(&plan.inputs),
        "outputs": ports(&plan.outputs),
    });
    if !plan.updates.is_empty() {
        let update = |u: &Update| json!({"state": u.state, "from": u.from});
        value["updates"] = plan.updates.iter().map(update).collect();
    }
    value.sort_all_objects();
    value
}

fn slot_json(slot: &Slot, tensor: Option<&String>) -> Value {
    let role = ROLES.iter().find(|row| row.0 == slot.role).map_or("", |row| row.1);
    let extent = |e: &Extent| e.symbol.map_or(json!(e.factor), |symbol| json!([e.factor, symbol]));
    let shape: Vec<_> = slot.shape.iter().map(extent).collect();
    let mut value = json!({"name": slot.name, "role": role, "dtype": slot.dtype.name(), "shape": shape});
    if let Some(tensor) = tensor {
        value["tensor"] = json!(tensor);
    }
    value
}

fn step_json(step: &Step) -> Value {
    let mut value = json!({"kernel": step.kernel, "inputs": step.inputs, "outputs": step.outputs, "place": step.place});
    if !step.params.0.is_empty() {
        value["params"] = Value::Object(step.params.0.clone());
    }
    value
}

/// The plan that the JSON describes, and the tensors of its weight slots. Nothing but the form is checked.
pub(super) fn decode(value: Value) -> Result<(Plan, Tensors), Problem> {
    let mut object = Object::new(value)?;
    let symbols = object.list("symbols", text)?;
    let slots = object.list("slots", slot)?;
    let steps = object.list("steps", step)?;
    let (inputs, outputs) = (object.list("inputs", port)?, object.list("outputs", port)?);
    let updates = object.optional("updates", updates)?.unwrap_or_default();
    object.end()?;
    let tensors = slots.iter().enumerate().filter_map(|(at, (_, tensor))| Some((at, tensor.clone()?))).collect();
    let slots = slots.into_iter().map(|(slot, _)| slot).collect();
    Ok((Plan { symbols, slots, steps, inputs, outputs, updates }, tensors))
}

fn updates(value: Value) -> Result<Vec<Update>, Problem> {
    let Value::Array(list) = value else { return Err(wrong("it is no list")) };
    list.into_iter().map(update).collect()
}

fn update(value: Value) -> Result<Update, Problem> {
    let mut object = Object::new(value)?;
    let slot = |value: Value| index(&value);
    let update = Update { state: object.get("state", slot)?, from: object.get("from", slot)? };
    object.end()?;
    Ok(update)
}

fn slot(value: Value) -> Result<(Slot, Option<String>), Problem> {
    let mut object = Object::new(value)?;
    let name = object.get("name", text)?;
    let role = object.get("role", |value| named(&ROLES, value))?;
    let dtype = object.get("dtype", |value| {
        let name = text(value)?;
        DType::parse(&name).ok_or_else(|| wrong(format!("{name} is no element type")))
    })?;
    let shape = object.list("shape", extent)?;
    let tensor = object.optional("tensor", text)?;
    object.end()?;
    match (role, &tensor) {
        (Role::Weight | Role::State, None) => Err(wrong("a weight or state has to name its tensor")),
        (Role::Input | Role::Scratch, Some(_)) => Err(wrong("only a weight or state has a tensor")),
        _ => Ok((Slot { name, role, dtype, shape }, tensor)),
    }
}

fn named<T: Copy>(table: &[(T, &str)], value: Value) -> Result<T, Problem> {
    let name = text(value)?;
    let row = table.iter().find(|row| row.1 == name);
    row.map(|row| row.0).ok_or_else(|| wrong(format!("{name} is not known here")))
}

/// `64`, or `[64, 0]` for 64 times symbol 0.
fn extent(value: Value) -> Result<Extent, Problem> {
    match &value {
        Value::Array(pair) => match pair.as_slice() {
            [factor, symbol] => Ok(Extent { factor: index(factor)?, symbol: Some(index(symbol)?) }),
            _ => Err(wrong("a size is a number, or a factor and a symbol")),
        },
        number => Ok(Extent { factor: index(number)?, symbol: None }),
    }
}

fn step(value: Value) -> Result<Step, Problem> {
    let mut object = Object::new(value)?;
    let step = Step {
        kernel: object.get("kernel", text)?,
        inputs: object.list("inputs", operand)?,
        outputs: object.list("outputs", operand)?,
        params: object.optional("params", params)?.unwrap_or_default(),
        place: object.get("place", text)?,
    };
    object.end()?;
    Ok(step)
}

fn params(value: Value) -> Result<Params, Problem> {
    match value {
        Value::Object(map) => Ok(Params(map)),
        _ => Err(wrong("it is no object")),
    }
}

fn operand(value: Value) -> Result<Option<usize>, Problem> {
    if value.is_null() { Ok(None) } else { index(&value).map(Some) }
}

fn port(value: Value) -> Result<Port, Problem> {
    let mut object = Object::new(value)?;
    let port = Port { name: object.get("name", text)?, slot: object.get("slot", |value| index(&value))? };
    object.end()?;
    Ok(port)
}

fn text(value: Value) -> Result<String, Problem> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(wrong("it is no text")),
    }
}

fn index(value: &Value) -> Result<usize, Problem> {
    let number = value.as_u64().and_then(|n| usize::try_from(n).ok());
    number.ok_or_else(|| wrong(format!("{value} is no size or number of a slot or symbol")))
}

fn wrong(message: impl Into<String>) -> Problem {
    Problem::malformed("", message)
}

/// An object whose keys are taken one by one, until none is left.
struct Object(Map<String, Value>);

impl Object {
    fn new(value: Value) -> Result<Object, Problem> {
        match value {
            Value::Object(map) => Ok(Object(map)),
            _ => Err(wrong("it is no object")),
        }
    }

    fn optional<T>(&mut self, key: &str, read: impl Fn(Value) -> Result<T, Problem>) -> Result<Option<T>, Problem> {
        self.0.remove(key).map(|value| read(value).map_err(|problem| problem.inside(key))).transpose()
    }

    fn get<T>(&mut self, key: &str, read: impl Fn(Value) -> Result<T, Problem>) -> Result<T, Problem> {
        self.optional(key, read)?.ok_or_else(|| wrong(format!("{key} is missing")))
    }

    fn list<T>(&mut self, key: &str, read: impl Fn(Value) -> Result<T, Problem>) -> Result<Vec<T>, Problem> {
        self.get(key, |value| {
            let Value::Array(items) = value else { return Err(wrong("it is no list")) };
            let item = |(at, item)| read(item).map_err(|problem: Problem| problem.inside(format_args!("[{at}]")));
            items.into_iter().enumerate().map(item).collect()
        })
    }

    fn end(self) -> Result<(), Problem> {
        self.0.keys().next().map_or(Ok(()), |key| Err(wrong(format!("{key} is not known here"))))
    }
}
