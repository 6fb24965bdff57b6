//! Inputs from files: `--input NAME=FILE.npy`, `--input FILE.npz`.

use std::path::Path;

use hanc_runtime::reference::decode;
use hanc_runtime::{DType, Plan, Tensor};

use crate::error::Failure;
use crate::execute::wanted;
use crate::ir::Graph;
use crate::tensors::{self, LIMIT, Named};

/// The inputs that a model takes.
pub(super) struct Takes {
    inputs: Vec<(String, Option<DType>)>,
    /// Every input with type and shape.
    pub wanted: String,
}

impl From<&Graph> for Takes {
    fn from(graph: &Graph) -> Takes {
        let values = graph.inputs().iter().map(|id| graph.value(*id));
        Takes { inputs: values.map(|value| (value.name.to_string(), value.dtype)).collect(), wanted: wanted(graph) }
    }
}

impl From<&Plan> for Takes {
    fn from(plan: &Plan) -> Takes {
        let dtype = |slot: usize| plan.slots.get(slot).map(|slot| slot.dtype);
        let inputs = plan.inputs.iter().map(|port| (port.name.clone(), dtype(port.slot)));
        let wanted: Vec<_> = plan.inputs.iter().map(|port| plan.describe(port)).collect();
        Takes { inputs: inputs.collect(), wanted: wanted.join(", ") }
    }
}

impl Takes {
    /// Names of the inputs.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.inputs.iter().map(|(name, _)| name.as_str())
    }
}

/// The tensors that `--input` names. An archive gives every array whose name is that of an input, with or without
/// `input/` in front; a file without a name is for the only input.
pub(super) fn read(takes: &Takes, options: &[String]) -> Result<Named, Failure> {
    let mut all = Named::new();
    for option in options {
        for (name, tensor) in one(takes, option)? {
            all.push((name.clone(), adapt(takes, &name, tensor)));
        }
    }
    Ok(all)
}

fn one(takes: &Takes, option: &str) -> Result<Named, Failure> {
    let (name, file) = split(takes, option);
    let arrays = tensors::read(Path::new(file), LIMIT).map_err(|e| Failure::at(file, &e))?;
    let single = arrays.len() == 1 && arrays[0].0.is_empty();
    match (name, single) {
        (Some(name), true) => Ok(arrays.into_iter().map(|(_, tensor)| (name.to_owned(), tensor)).collect()),
        (Some(name), false) => pick(arrays, name, file).map(|tensor| vec![(name.to_owned(), tensor)]),
        (None, true) => only(takes, option).map(|name| arrays.into_iter().map(|(_, t)| (name.clone(), t)).collect()),
        (None, false) => matching(takes, arrays, file),
    }
}

/// `NAME=FILE`; a name is one of the model's inputs, so that files may have `=` in their names.
fn split<'a>(takes: &Takes, option: &'a str) -> (Option<&'a str>, &'a str) {
    let is_input = |name: &str| takes.names().any(|input| input == name);
    let cuts = option.match_indices('=').map(|(at, _)| (&option[..at], &option[at + 1..]));
    let known = cuts.clone().find(|(name, _)| is_input(name));
    let first = cuts.into_iter().next().filter(|_| !Path::new(option).exists());
    known.or(first).map_or((None, option), |(name, file)| (Some(name), file))
}

fn pick(arrays: Named, name: &str, file: &str) -> Result<Tensor, Failure> {
    let names: Vec<_> = arrays.iter().map(|(name, _)| name.clone()).collect();
    let found = arrays.into_iter().find(|(other, _)| bare(other) == name);
    let none = || Failure::new("E105", file, format!("no array is called {name}; there are {}", names.join(", ")));
    found.map(|(_, tensor)| tensor).ok_or_else(none)
}

fn matching(takes: &Takes, arrays: Named, file: &str) -> Result<Named, Failure> {
    let names: Vec<_> = arrays.iter().map(|(name, _)| name.clone()).collect();
    let of_inputs = |(name, tensor): (String, Tensor)| {
        let name = bare(&name).to_owned();
        takes.names().any(|input| input == name).then_some((name, tensor))
    };
    let found: Named = arrays.into_iter().filter_map(of_inputs).collect();
    if found.is_empty() {
        let message =
            format!("none of its arrays ({}) is an input; the model takes {}", names.join(", "), takes.wanted);
        return Err(Failure::new("E105", file, message));
    }
    Ok(found)
}

fn bare(name: &str) -> &str {
    name.strip_prefix("input/").unwrap_or(name)
}

fn only(takes: &Takes, option: &str) -> Result<String, Failure> {
    match takes.inputs.as_slice() {
        [(name, _)] => Ok(name.clone()),
        _ => Err(Failure::new(
            "E105",
            option,
            format!("which input it is for is not said; the model takes {}", takes.wanted),
        )
        .help("Write `--input NAME=FILE`.")),
    }
}

/// NumPy has no `bf16`: `f32` is rounded where the model wants it.
fn adapt(takes: &Takes, name: &str, tensor: Tensor) -> Tensor {
    let wants = takes.inputs.iter().find(|(input, _)| input == name).and_then(|(_, dtype)| *dtype);
    if wants != Some(DType::Bf16) || tensor.dtype() != DType::F32 {
        return tensor;
    }
    let rounded = tensor.to_f64().and_then(|data| decode::encode_reals(DType::Bf16, &data));
    rounded.and_then(|bytes| Tensor::new(DType::Bf16, tensor.shape(), bytes).ok()).unwrap_or(tensor)
}
