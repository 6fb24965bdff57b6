//! onnxruntime.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytemuck::pod_collect_to_vec;
use half::{bf16, f16};
use hanc_runtime::{DType, Tensor};
use ort::environment::Environment;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor as OrtTensor, TensorElementType};

use super::{Peer, PeerError, library};
use crate::tensors::Named;

const ENGINE: &str = "onnxruntime";

/// The process's one environment; the library cannot be unloaded.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// A model in onnxruntime, on the CPU.
pub(super) struct Ort {
    session: Session,
}

impl Ort {
    pub fn load(model: &Path, given: Option<&Path>, threads: usize) -> Result<Ort, PeerError> {
        let environment = environment(given)?;
        let session = session(&environment, model, threads);
        let session = session.map_err(|reason| PeerError::Load { engine: ENGINE, reason })?;
        Ok(Ort { session })
    }
}

/// Loads the library on the first call.
fn environment(given: Option<&Path>) -> Result<Environment, PeerError> {
    let mut slot = ENVIRONMENT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(environment) = &*slot {
        return Ok(environment.clone());
    }
    let path = library::find(given)?;
    let bad = |reason: String| PeerError::BadLibrary { path: path.clone(), reason };
    let builder = ort::init_from(&path).map_err(|e| bad(e.to_string()))?;
    let environment = builder.with_name("hanc").with_telemetry(false).build().map_err(|e| bad(e.to_string()))?;
    *slot = Some(environment.clone());
    Ok(environment)
}

fn session(environment: &Environment, model: &Path, threads: usize) -> Result<Session, String> {
    let builder = Session::builder(environment).map_err(|e| e.to_string())?;
    let builder = builder.with_log_level(ort::logging::LogLevel::Fatal).map_err(|e| e.to_string())?;
    let mut builder = builder.with_intra_threads(threads).map_err(|e| e.to_string())?;
    builder.commit_from_file(model).map_err(|e| e.to_string())
}

impl Peer for Ort {
    fn name(&self) -> String {
        ENGINE.to_owned()
    }

    fn run(&mut self, inputs: &Named) -> Result<Named, PeerError> {
        let failed = |reason: String| PeerError::Run { engine: ENGINE, reason };
        let values = inputs.iter().map(|(name, tensor)| Ok((name.as_str(), SessionInputValue::from(give(tensor)?))));
        let values = values.collect::<Result<Vec<_>, String>>().map_err(failed)?;
        let outputs = self.session.run(values).map_err(|e| failed(e.to_string()))?;
        let taken = outputs.iter().map(|(name, value)| Ok((name.to_owned(), take(&value)?)));
        taken.collect::<Result<_, String>>().map_err(failed)
    }

    fn time(&mut self, inputs: &Named, runs: usize) -> Result<Vec<Duration>, PeerError> {
        let failed = |reason: String| PeerError::Run { engine: ENGINE, reason };
        let values = inputs.iter().map(|(name, tensor)| Ok((name.as_str(), give(tensor)?)));
        let values = values.collect::<Result<Vec<_>, String>>().map_err(failed)?;
        let run = |_| {
            let views: Vec<_> = values.iter().map(|(name, value)| (*name, SessionInputValue::from(value))).collect();
            let start = Instant::now();
            let outputs = self.session.run(views).map_err(|e| failed(e.to_string()))?;
            let time = start.elapsed();
            drop(outputs);
            Ok(time)
        };
        (0..runs).map(run).collect()
    }
}

/// A tensor of onnxruntime with these elements.
fn give(tensor: &Tensor) -> Result<DynValue, String> {
    let (shape, bytes) = (tensor.shape().to_vec(), tensor.bytes());
    macro_rules! give {
        ($type:ty) => {
            OrtTensor::from_array((shape, pod_collect_to_vec::<u8, $type>(bytes))).map(|t| t.into_dyn())
        };
    }
    let value = match tensor.dtype() {
        DType::F32 => give!(f32),
        DType::F64 => give!(f64),
        DType::F16 => give!(f16),
        DType::Bf16 => give!(bf16),
        DType::I8 => give!(i8),
        DType::I16 => give!(i16),
        DType::I32 => give!(i32),
        DType::I64 => give!(i64),
        DType::U8 => give!(u8),
        DType::U16 => give!(u16),
        DType::U32 => give!(u32),
        DType::U64 => give!(u64),
        DType::Bool => {
            let truth: Vec<bool> = bytes.iter().map(|byte| *byte != 0).collect();
            OrtTensor::from_array((shape, truth)).map(|t| t.into_dyn())
        }
        other => return Err(format!("elements of {other} are not handed over")),
    };
    value.map_err(|e| e.to_string())
}

/// The elements of a tensor of onnxruntime.
fn take(value: &ort::value::ValueRef<'_>) -> Result<Tensor, String> {
    let kind = value.dtype().tensor_type().ok_or_else(|| format!("an output is {}", value.dtype()))?;
    macro_rules! take {
        ($type:ty, $dtype:expr) => {{
            let (shape, data) = value.try_extract_tensor::<$type>().map_err(|e| e.to_string())?;
            (shape.to_vec(), $dtype, bytemuck::cast_slice::<$type, u8>(data).to_vec())
        }};
    }
    let (shape, dtype, bytes) = match kind {
        TensorElementType::Float32 => take!(f32, DType::F32),
        TensorElementType::Float64 => take!(f64, DType::F64),
        TensorElementType::Float16 => take!(f16, DType::F16),
        TensorElementType::Bfloat16 => take!(bf16, DType::Bf16),
        TensorElementType::Int8 => take!(i8, DType::I8),
        TensorElementType::Int16 => take!(i16, DType::I16),
        TensorElementType::Int32 => take!(i32, DType::I32),
        TensorElementType::Int64 => take!(i64, DType::I64),
        TensorElementType::Uint8 => take!(u8, DType::U8),
        TensorElementType::Uint16 => take!(u16, DType::U16),
        TensorElementType::Uint32 => take!(u32, DType::U32),
        TensorElementType::Uint64 => take!(u64, DType::U64),
        TensorElementType::Bool => {
            let (shape, data) = value.try_extract_tensor::<bool>().map_err(|e| e.to_string())?;
            (shape.to_vec(), DType::Bool, data.iter().map(|truth| u8::from(*truth)).collect())
        }
        other => return Err(format!("elements of {other} are not taken")),
    };
    let shape = shape.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    Tensor::new(dtype, &shape, bytes).map_err(|e| e.to_string())
}
