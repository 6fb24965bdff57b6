//! The `.hanc` file: a safetensors file that holds the weights as tensors and the plan as JSON among its texts.
//!
//! `docs/format.md` describes it byte by byte. Everything that a file says is checked before a [`Model`] exists; that
//! takes time and memory in proportion to the header, since weights stay where they are mapped. Reading is safe code
//! but for the map itself.

mod error;
mod header;
mod json;
mod limits;
mod map;
mod plan;
mod temporary;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub use error::{Excess, OpenError, Problem, SaveError};
pub use limits::Limits;

use crate::kernel;
use crate::model::Model;
use crate::plan::{Plan, Slot, Weight, Weights};
use header::{Entry, Header};

/// The version of the format that is written and read.
pub const FORMAT: &str = "1";
const FORMAT_KEY: &str = "hanc.format";
const PLAN_KEY: &str = "hanc.plan";

/// Bytes that weights are slices of.
type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

impl Model {
    /// Opens a file through a memory map, within the default [`Limits`].
    ///
    /// The file must not be changed in place while the model is used; [`Model::save`] replaces files by renaming.
    pub fn open(path: impl AsRef<Path>) -> Result<Model, OpenError> {
        Model::open_with(path, &Limits::default())
    }

    /// [`Model::open`] within other limits.
    pub fn open_with(path: impl AsRef<Path>, limits: &Limits) -> Result<Model, OpenError> {
        let path = path.as_ref();
        let model = map::map(path, limits).and_then(|map| read(map, limits));
        model.map_err(|problem| OpenError::new(Some(path), problem))
    }

    /// The model that these bytes of a file describe, within the default [`Limits`]. Weights stay slices of them.
    pub fn from_bytes(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Result<Model, OpenError> {
        Model::from_bytes_with(bytes, &Limits::default())
    }

    /// [`Model::from_bytes`] within other limits.
    pub fn from_bytes_with(
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
        limits: &Limits,
    ) -> Result<Model, OpenError> {
        read(Arc::new(bytes), limits).map_err(|problem| OpenError::new(None, problem))
    }
}

/// Whether a file begins as `.hanc` files do, judged by its first nine bytes. False where it cannot be read.
pub fn is_hanc(path: impl AsRef<Path>) -> bool {
    use std::io::Read;
    let start = |path: &Path| {
        let (mut file, mut start) = (std::fs::File::open(path)?, Vec::new());
        (&mut file).take(9).read_to_end(&mut start)?;
        Ok::<_, std::io::Error>(header::looks_right(&start, file.metadata()?.len()))
    };
    // Looked at first: opening a pipe would wait for somebody who writes to it.
    let path = path.as_ref();
    path.is_file() && start(path).unwrap_or(false)
}

/// Checks everything and makes the model.
fn read(file: Bytes, limits: &Limits) -> Result<Model, Problem> {
    let Header { mut metadata, tensors } = header::read((*file).as_ref(), limits)?;
    let format = metadata.remove(FORMAT_KEY).ok_or_else(|| no_hanc(FORMAT_KEY))?;
    if format != FORMAT {
        return Err(Problem::Version { found: format });
    }
    let text = metadata.remove(PLAN_KEY).ok_or_else(|| no_hanc(PLAN_KEY))?;
    let value = json::parse(&text, limits.depth).map_err(|message| Problem::malformed(PLAN_KEY, message))?;
    drop(text);
    let (plan, names) = plan::decode(value).map_err(|problem| problem.inside(PLAN_KEY))?;
    limits.admit(&plan)?;
    kernels(&plan)?;
    let weights = weights(&plan, &names, &tensors, &file)?;
    Ok(Model::new(plan, weights).map_err(Problem::Plan)?.with_metadata(metadata))
}

fn no_hanc(key: &str) -> Problem {
    Problem::NotHanc(format!("it is a safetensors file without {key}"))
}

/// Names the first kernel that is not there in the version that is asked for.
fn kernels(plan: &Plan) -> Result<(), Problem> {
    let missing = plan.steps.iter().find(|step| kernel::find(&step.kernel).is_none());
    missing.map_or(Ok(()), |step| {
        let (needed, known) = (step.kernel.clone(), kernel::versions(&step.kernel));
        Err(Problem::Kernel { needed, known, place: step.place.clone() })
    })
}

fn weights(
    plan: &Plan,
    names: &plan::Tensors,
    tensors: &BTreeMap<String, Entry>,
    file: &Bytes,
) -> Result<Weights, Problem> {
    let weight = |(&at, name): (&usize, &String)| {
        let place = || format!("{PLAN_KEY}.slots[{at}]");
        let none = || Problem::malformed(place(), format!("there is no tensor {name}"));
        let entry = tensors.get(name).ok_or_else(none)?;
        match plan.slots.get(at) {
            Some(slot) if same(slot, entry) => Ok((at, Weight(Arc::new(Part::new(file, entry))))),
            _ => Err(Problem::malformed(place(), format!("tensor {name} is {}{:?}", entry.dtype, entry.shape))),
        }
    };
    names.iter().map(weight).collect()
}

/// Whether a slot has the type and shape of its tensor.
fn same(slot: &Slot, entry: &Entry) -> bool {
    let sizes = slot.shape.iter().map(|extent| extent.symbol.is_none().then_some(extent.factor));
    slot.dtype == entry.dtype && sizes.eq(entry.shape.iter().map(|&size| Some(size)))
}

/// A range of the file's bytes.
struct Part {
    file: Bytes,
    range: std::ops::Range<usize>,
}

impl Part {
    fn new(file: &Bytes, entry: &Entry) -> Part {
        Part { file: file.clone(), range: entry.range.clone() }
    }
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        // The range was checked when the header was read.
        (*self.file).as_ref().get(self.range.clone()).unwrap_or_default()
    }
}
