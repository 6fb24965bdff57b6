//! Settles a plan for certain sizes on the device: the commands of every step, and where every tensor lies.

use super::Cuda;
use super::driver::{Address, Command, Launch, Matrix, Product};
use super::job::{At, Call, Job, Of, Site, Value};
use super::kernels;
use crate::cpu::bind::{kernel_error, spec};
use crate::cpu::{Reuse, Spec};
use crate::error::RunError;
use crate::layout::{Claim, Placement, lay_out, shapes};
use crate::model::Model;
use crate::sizes::Sizes;

/// A plan that is settled for certain sizes.
pub(crate) struct Binding {
    /// The shapes of the inputs that it is for.
    pub inputs: Vec<Vec<usize>>,
    /// The shape of every slot.
    pub shapes: Vec<Vec<usize>>,
    /// How every step runs.
    pub jobs: Vec<Job>,
    /// Where everything lies.
    pub layout: Placement,
}

/// Settles a model for these shapes of its inputs. An error that lists them all where some calls have no body.
pub(crate) fn bind(model: &Model, inputs: Vec<Vec<usize>>, cuda: &Cuda) -> Result<Binding, RunError> {
    let sizes = Sizes::bind(model.plan(), inputs.iter().map(Vec::as_slice))?;
    let shapes = shapes(model.plan(), &sizes)?;
    let (mut jobs, mut claims, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..model.plan().steps.len() {
        match settle(model, index, &shapes, cuda)? {
            Ok((job, claim)) => {
                jobs.push(job);
                claims.push(claim);
            }
            Err(call) => missing.push(call),
        }
    }
    if !missing.is_empty() {
        return Err(RunError::NoBody { device: "CUDA", calls: missing });
    }
    let layout = lay_out(model, &shapes, &claims)?;
    Ok(Binding { inputs, shapes, jobs, layout })
}

/// The job of a step, or a description of it where no body takes it.
fn settle(
    model: &Model,
    index: usize,
    shapes: &[Vec<usize>],
    cuda: &Cuda,
) -> Result<Result<(Job, Claim), String>, RunError> {
    let step = &model.plan().steps[index];
    let spec = |slot: &Option<usize>| slot.map(|slot| spec(model, slot, &shapes[slot]));
    let args: Vec<_> = step.inputs.iter().map(spec).collect();
    let outs: Vec<_> = step.outputs.iter().map(spec).collect();
    let describe = || format!("{} ({}, operands {})", step.place, step.kernel, operands(&args));
    let Some(body) = kernels::find(&step.kernel) else { return Ok(Err(describe())) };
    let device = cuda.properties();
    let site =
        Site { kernel: body.kernel, formula: body.formula, params: &step.params, args: &args, outs: &outs, device };
    let job = (body.bind)(&site).map_err(|fault| kernel_error(step, &args, fault.0))?;
    Ok(job.ok_or_else(describe).map(|job| {
        let reuse = if job.apart { Reuse::Nothing } else { body.reuse };
        let claim = Claim { reuse, scratch: job.scratch, absorbed: Vec::new() };
        (job, claim)
    }))
}

fn operands(args: &[Option<Spec<'_>>]) -> String {
    args.iter().flatten().map(|a| format!("{}{:?}", a.dtype, a.shape)).collect::<Vec<_>>().join(", ")
}

/// The addresses of a step's operands, results and scratch memory.
pub(crate) struct Places<'a> {
    pub args: &'a [Address],
    pub outs: &'a [Address],
    pub scratch: Address,
}

impl Places<'_> {
    fn address(&self, at: At) -> Address {
        let base = match at.of {
            Of::Arg(i) => self.args.get(i).copied().unwrap_or(0),
            Of::Out(i) => self.outs.get(i).copied().unwrap_or(0),
            Of::Scratch => self.scratch,
        };
        base + at.offset as Address
    }

    /// An argument as it lies in memory.
    fn words(&self, value: &Value) -> Vec<u64> {
        match value {
            Value::At(at) => vec![at.map_or(0, |at| self.address(at))],
            Value::Int(n) => vec![u64::from(*n as u32)],
            Value::Long(n) => vec![*n as u64],
            Value::Float(x) => vec![u64::from(x.to_bits())],
            Value::Bytes(words) => words.clone(),
        }
    }

    fn matrix(&self, matrix: Matrix<At>) -> Matrix<Address> {
        let Matrix { at, row, next, transposed } = matrix;
        Matrix { at: self.address(at), row, next, transposed }
    }

    fn product(&self, p: &Product<At>) -> Product<Address> {
        let &Product { batch, m, n, k, a, b, y, alpha, beta, bias } = p;
        let bias = bias.map(|bias| self.address(bias));
        Product { batch, m, n, k, a: self.matrix(a), b: self.matrix(b), y: self.matrix(y), alpha, beta, bias }
    }

    /// A command of a job on these addresses, its kernel compiled.
    pub fn command(&self, call: &Call, cuda: &Cuda) -> Result<Command, RunError> {
        Ok(match call {
            Call::Launch { source, kernel, grid, block, shared, args } => {
                let function = cuda.driver().function(source, kernel, *shared).map_err(RunError::device)?;
                let args = args.iter().map(|value| self.words(value)).collect();
                Command::Launch(Launch { function, grid: *grid, block: *block, shared: *shared, args })
            }
            Call::Product(product) => Command::Product(self.product(product)),
            Call::Copy(to, from, bytes) => {
                Command::Copy { to: self.address(*to), from: self.address(*from), bytes: *bytes }
            }
            Call::Zero(at, bytes) => Command::Zero { at: self.address(*at), bytes: *bytes },
        })
    }
}
