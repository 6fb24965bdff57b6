//! The MODEL argument: a path, or `zoo:NAME` with options.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use hanc_proto::onnx::tensor_proto::DataLocation;
use hanc_proto::{Limits, ModelFile};
use sha2::{Digest, Sha256};

use super::{compiled, ui::Ui, zoo};
use crate::blocks::FindError;
use crate::error::Failure;
use crate::infer::infer;
use crate::inspect::About;
use crate::ir::Graph;
use crate::ir::inline::inline_all;
use crate::onnx;

/// A model that was read: its file, and its graph with types and shapes inferred.
pub(super) struct Loaded {
    /// What the user called it.
    pub name: String,
    /// The file.
    pub file: ModelFile,
    /// The graph, calls of functions as they stand.
    pub graph: Graph,
    flat: Option<Graph>,
    /// The folder that a model of the zoo was written to; removed with this.
    _scratch: Option<tempfile::TempDir>,
}

/// Reads a model.
pub(super) fn load(name: &str, ui: &Ui) -> Result<Loaded, Failure> {
    if compiled::open(name, ui)?.is_some() {
        let message = "this is a compiled model, which has no graph any more";
        return Err(Failure::new("E209", name, message));
    }
    let (file, scratch) = match name.strip_prefix("zoo:") {
        Some(spec) => from_zoo(spec, name, ui).map(|(file, scratch)| (file, Some(scratch)))?,
        None => (ModelFile::open(Path::new(name), &ui.limits).map_err(|e| Failure::at(name, &e))?, None),
    };
    let mut graph = onnx::import(&file).map_err(|e| Failure::at(name, &e))?;
    infer(&mut graph).map_err(|e| Failure::at(name, &e))?;
    let flat = flat(&mut graph).map_err(|e| Failure::at(name, &e))?;
    Ok(Loaded { name: name.to_owned(), file, graph, flat, _scratch: scratch })
}

/// The graph with the calls of its functions inlined; what is known of the values there, the graph learns.
fn flat(graph: &mut Graph) -> Result<Option<Graph>, FindError> {
    if graph.functions.is_empty() {
        return Ok(None);
    }
    let mut flat = graph.clone();
    inline_all(&mut flat)?;
    infer(&mut flat)?;
    let made: Vec<_> = graph.values().filter(|(_, value)| value.shape.is_none()).map(|(id, _)| id).collect();
    for id in made.into_iter().filter(|id| flat.has(*id)) {
        let value = flat.value(id);
        graph.set_type(id, value.dtype, value.shape.clone());
    }
    infer(graph)?;
    Ok(Some(flat))
}

/// Written to a scratch folder and mapped, so that its weights are in memory once at most.
fn from_zoo(spec: &str, name: &str, ui: &Ui) -> Result<(ModelFile, tempfile::TempDir), Failure> {
    let plan = zoo::plan(spec, ui)?;
    let scratch = scratch(name)?;
    let path = scratch.path().join("model.onnx");
    plan.write(&path, hanc_models::Storage::Auto).map_err(|e| Failure::at(name, &e))?;
    let file = ModelFile::open(&path, &Limits::default()).map_err(|e| Failure::at(name, &e))?;
    Ok((file, scratch))
}

/// A folder that is removed when it is no longer held.
pub(super) fn scratch(name: &str) -> Result<tempfile::TempDir, Failure> {
    crate::output::scratch().map_err(|e| Failure::new("E104", name, format!("no temporary folder can be made: {e}")))
}

impl Loaded {
    /// The graph with the calls of its functions inlined, for counting.
    pub fn flat(&self) -> &Graph {
        self.flat.as_ref().unwrap_or(&self.graph)
    }

    /// What the file says of itself.
    pub fn about(&self) -> About {
        let header = &self.file.header;
        let producer = format!("{} {}", header.producer_name(), header.producer_version());
        About {
            path: self.name.clone(),
            ir_version: header.ir_version(),
            producer: producer.trim().to_owned(),
            bytes: self.bytes(),
        }
    }

    /// The file that another program can open.
    pub fn path(&self) -> PathBuf {
        self.file.path.clone().unwrap_or_default()
    }

    /// SHA-256 of the file, in hexadecimal digits.
    pub fn sha256(&self) -> Result<String, Failure> {
        hash(&self.path()).map_err(|e| Failure::new("E103", &*self.name, e.to_string()))
    }

    /// Bytes of the file and of its data files.
    fn bytes(&self) -> u64 {
        let path = self.path();
        let folder = path.parent().unwrap_or(Path::new(""));
        let outside = self.file.graph.initializers.iter().filter(|t| t.data_location() == DataLocation::External);
        let location = |t: &hanc_proto::onnx::TensorProto| {
            t.external_data.iter().find(|e| e.key() == "location").map(|e| e.value().to_owned())
        };
        let files: BTreeSet<_> = outside.filter_map(|t| location(t)).map(|name| folder.join(name)).collect();
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
        files.iter().map(|path| size(path)).fold(size(&path), u64::saturating_add)
    }
}

fn hash(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hasher, mut buffer) = (std::fs::File::open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            n => hasher.update(&buffer[..n]),
        }
    }
}
