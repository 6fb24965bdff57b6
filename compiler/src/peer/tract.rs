//! tract.

use std::path::Path;
use std::time::{Duration, Instant};

use bytemuck::pod_collect_to_vec;
use half::f16;
use hanc_runtime::{DType, Tensor};
use tract_onnx::prelude::{
    Datum, DatumType, Framework, InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable, IntoTValue, TValue,
    TVec, Tensor as Held, tvec,
};

use super::{Peer, PeerError};
use crate::tensors::Named;

const ENGINE: &str = "tract";

/// A model in tract.
pub(super) struct Tract {
    model: InferenceModel,
}

impl Tract {
    pub fn load(path: &Path) -> Result<Tract, PeerError> {
        let model = tract_onnx::onnx().model_for_path(path);
        let model = model.map_err(|e| PeerError::Load { engine: ENGINE, reason: format!("{e:#}") })?;
        Ok(Tract { model })
    }

    /// Settles the shapes and optimises; the inputs in the model's order.
    fn settle(&self, inputs: &Named) -> Result<Settled, String> {
        let text = |e: tract_onnx::prelude::TractError| format!("{e:#}");
        let mut model = self.model.clone();
        let mut values = tvec![];
        for (index, outlet) in self.model.inputs.iter().enumerate() {
            let name = &self.model.node(outlet.node).name;
            let given = inputs.iter().find(|(other, _)| other == name);
            let (_, tensor) = given.ok_or_else(|| format!("input {name} is not given"))?;
            let held = give(tensor)?;
            let fact = InferenceFact::dt_shape(held.datum_type(), held.shape());
            model.set_input_fact(index, fact).map_err(text)?;
            values.push(held.into_tvalue());
        }
        let names: Vec<_> = model.outputs.iter().map(|o| label(&model, *o)).collect();
        let plan = model.into_optimized().map_err(text)?.into_runnable().map_err(text)?;
        let run = move |values| plan.run(values).map_err(text);
        Ok(Settled { names, values, run: Box::new(run) })
    }

    fn compute(&self, inputs: &Named) -> Result<Named, String> {
        let Settled { names, values, run } = self.settle(inputs)?;
        let outputs = run(values)?;
        names.into_iter().zip(&outputs).map(|(name, value)| Ok((name, take(value)?))).collect()
    }
}

/// A model whose shapes are settled.
struct Settled {
    names: Vec<String>,
    values: TVec<TValue>,
    run: Box<dyn Fn(TVec<TValue>) -> Result<TVec<TValue>, String>>,
}

impl Peer for Tract {
    fn name(&self) -> String {
        ENGINE.to_owned()
    }

    fn run(&mut self, inputs: &Named) -> Result<Named, PeerError> {
        self.compute(inputs).map_err(|reason| PeerError::Run { engine: ENGINE, reason })
    }

    fn time(&mut self, inputs: &Named, runs: usize) -> Result<Vec<Duration>, PeerError> {
        let failed = |reason: String| PeerError::Run { engine: ENGINE, reason };
        let settled = self.settle(inputs).map_err(failed)?;
        let run = |_| {
            let values = settled.values.clone();
            let start = Instant::now();
            let outputs = (settled.run)(values).map_err(failed)?;
            let time = start.elapsed();
            drop(outputs);
            Ok(time)
        };
        (0..runs).map(run).collect()
    }
}

fn label(model: &InferenceModel, outlet: tract_onnx::prelude::OutletId) -> String {
    model.outlet_label(outlet).map_or_else(|| model.node(outlet.node).name.clone(), str::to_owned)
}

/// A tensor of tract with these elements.
fn give(tensor: &Tensor) -> Result<Held, String> {
    let (shape, bytes) = (tensor.shape(), tensor.bytes());
    fn held<T: Datum + bytemuck::AnyBitPattern + bytemuck::NoUninit>(
        shape: &[usize],
        bytes: &[u8],
    ) -> Result<Held, String> {
        Held::from_shape(shape, &pod_collect_to_vec::<u8, T>(bytes)).map_err(|e| format!("{e:#}"))
    }
    match tensor.dtype() {
        DType::F32 => held::<f32>(shape, bytes),
        DType::F64 => held::<f64>(shape, bytes),
        DType::F16 => held::<f16>(shape, bytes),
        DType::I8 => held::<i8>(shape, bytes),
        DType::I16 => held::<i16>(shape, bytes),
        DType::I32 => held::<i32>(shape, bytes),
        DType::I64 => held::<i64>(shape, bytes),
        DType::U8 => held::<u8>(shape, bytes),
        DType::U16 => held::<u16>(shape, bytes),
        DType::U32 => held::<u32>(shape, bytes),
        DType::U64 => held::<u64>(shape, bytes),
        DType::Bool => {
            let truth: Vec<bool> = bytes.iter().map(|byte| *byte != 0).collect();
            Held::from_shape(shape, &truth).map_err(|e| format!("{e:#}"))
        }
        other => Err(format!("elements of {other} are not handed over")),
    }
}

/// The elements of a tensor of tract.
fn take(value: &TValue) -> Result<Tensor, String> {
    let dtype = match value.datum_type() {
        DatumType::F32 => DType::F32,
        DatumType::F64 => DType::F64,
        DatumType::F16 => DType::F16,
        DatumType::I8 => DType::I8,
        DatumType::I16 => DType::I16,
        DatumType::I32 => DType::I32,
        DatumType::I64 => DType::I64,
        DatumType::U8 => DType::U8,
        DatumType::U16 => DType::U16,
        DatumType::U32 => DType::U32,
        DatumType::U64 => DType::U64,
        DatumType::Bool => DType::Bool,
        other => return Err(format!("elements of {other:?} are not taken")),
    };
    Tensor::new(dtype, value.shape(), value.as_bytes().to_vec()).map_err(|e| e.to_string())
}
