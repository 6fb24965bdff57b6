//! Inputs from files: `--input NAME=FILE.npy`, `--input FILE.npz`.

use std::path::Path;

use hanc_runtime::reference::decode;
use hanc_runtime::{DType, Tensor};

use crate::error::Failure;
use crate::execute::wanted;
use crate::ir::Graph;
use crate::tensors::{self, LIMIT, Named};

/// The tensors that `--input` names. An archive gives every array whose name is that of an input, with or without
/// `input/` in front; a file without a name is for the only input.
pub(super) fn read(graph: &Graph, options: &[String]) -> Result<Named, Failure> {
    let mut all = Named::new();
    for option in options {
        for (name, tensor) in one(graph, option)? {
            all.push((name.clone(), adapt(graph, &name, tensor)));
        }
    }
    Ok(all)
}

fn one(graph: &Graph, option: &str) -> Result<Named, Failure> {
    let (name, file) = split(graph, option);
    let arrays = tensors::read(Path::new(file), LIMIT).map_err(|e| Failure::at(file, &e))?;
    let single = arrays.len() == 1 && arrays[0].0.is_empty();
    match (name, single) {
        (Some(name), true) => Ok(arrays.into_iter().map(|(_, tensor)| (name.to_owned(), tensor)).collect()),
        (Some(name), false) => pick(arrays, name, file).map(|tensor| vec![(name.to_owned(), tensor)]),
        (None, true) => only(graph, option).map(|name| arrays.into_iter().map(|(_, t)| (name.clone(), t)).collect()),
        (None, false) => matching(graph, arrays, file),
    }
}

/// `NAME=FILE`; a name is one of the model's inputs, so that files may have `=` in their names.
fn split<'a>(graph: &Graph, option: &'a str) -> (Option<&'a str>, &'a str) {
    let is_input = |name: &str| graph.inputs().iter().any(|id| *graph.value(*id).name == *name);
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

fn matching(graph: &Graph, arrays: Named, file: &str) -> Result<Named, Failure> {
    let names: Vec<_> = arrays.iter().map(|(name, _)| name.clone()).collect();
    let inputs = graph.inputs().iter().map(|id| &*graph.value(*id).name).collect::<Vec<_>>();
    let of_inputs = |(name, tensor): (String, Tensor)| {
        let name = bare(&name).to_owned();
        inputs.contains(&name.as_str()).then_some((name, tensor))
    };
    let found: Named = arrays.into_iter().filter_map(of_inputs).collect();
    if found.is_empty() {
        let message =
            format!("none of its arrays ({}) is an input; the model takes {}", names.join(", "), wanted(graph));
        return Err(Failure::new("E105", file, message));
    }
    Ok(found)
}

fn bare(name: &str) -> &str {
    name.strip_prefix("input/").unwrap_or(name)
}

fn only(graph: &Graph, option: &str) -> Result<String, Failure> {
    match graph.inputs() {
        [id] => Ok(graph.value(*id).name.to_string()),
        _ => Err(Failure::new(
            "E105",
            option,
            format!("which input it is for is not said; the model takes {}", wanted(graph)),
        )
        .help("Write `--input NAME=FILE`.")),
    }
}

/// NumPy has no `bf16`: `f32` is rounded where the model wants it.
fn adapt(graph: &Graph, name: &str, tensor: Tensor) -> Tensor {
    let wants =
        graph.inputs().iter().map(|id| graph.value(*id)).find(|value| *value.name == *name).and_then(|v| v.dtype);
    if wants != Some(DType::Bf16) || tensor.dtype() != DType::F32 {
        return tensor;
    }
    let rounded = tensor.to_f64().and_then(|data| decode::encode_reals(DType::Bf16, &data));
    rounded.and_then(|bytes| Tensor::new(DType::Bf16, tensor.shape(), bytes).ok()).unwrap_or(tensor)
}
