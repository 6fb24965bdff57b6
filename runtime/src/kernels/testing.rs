//! Calls a kernel on literal operands, in both precisions.

use crate::dtype::DType;
use crate::kernel::{Arg, Call, Elements, ElementsMut, Fault, Out, Real, find};
use crate::plan::Params;
use crate::reference::decode::wrap;

type Operand = Option<(DType, Vec<usize>, Values)>;

/// Elements of a literal or a result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Values {
    Real(Vec<f64>),
    Int(Vec<i64>),
}

/// A call to make.
pub(crate) struct Case {
    kernel: &'static str,
    operands: Vec<Operand>,
    params: Params,
}

impl Case {
    pub fn new(kernel: &'static str) -> Case {
        Case { kernel, operands: Vec::new(), params: Params::new() }
    }

    pub fn real(mut self, shape: &[usize], data: &[f64]) -> Case {
        self.operands.push(Some((DType::F32, shape.to_vec(), Values::Real(data.to_vec()))));
        self
    }

    pub fn int(mut self, dtype: DType, shape: &[usize], data: &[i64]) -> Case {
        self.operands.push(Some((dtype, shape.to_vec(), Values::Int(data.to_vec()))));
        self
    }

    pub fn absent(mut self) -> Case {
        self.operands.push(None);
        self
    }

    pub fn param(mut self, key: &str, value: impl Into<serde_json::Value>) -> Case {
        self.params = self.params.with(key, value);
        self
    }

    pub fn flag(self, key: &str) -> Case {
        self.param(key, true)
    }

    /// Its one result.
    pub fn result(&self, dtype: DType, shape: &[usize]) -> Values {
        self.run(dtype, shape).unwrap_or_else(|fault| panic!("{}: {fault}", self.kernel))
    }

    /// Its one result, or why there is none.
    pub fn run(&self, dtype: DType, shape: &[usize]) -> Result<Values, Fault> {
        Ok(self.run_all(&[(dtype, shape)])?.swap_remove(0))
    }

    /// Its results, in double precision; single precision has to agree to its rounding.
    pub fn run_all(&self, results: &[(DType, &[usize])]) -> Result<Vec<Values>, Fault> {
        let (double, single) = (self.execute::<f64>(results), self.execute::<f32>(results));
        assert_eq!(double.is_err(), single.is_err(), "{}: the precisions disagree on whether it fails", self.kernel);
        let double = double?;
        for (a, b) in double.iter().zip(single?) {
            match (a, b) {
                (Values::Real(a), Values::Real(b)) => {
                    assert!(a.iter().zip(&b).all(close), "{}: {a:?} {b:?}", self.kernel)
                }
                (a, b) => assert_eq!(*a, b, "{}", self.kernel),
            }
        }
        Ok(double)
    }

    fn execute<R: Real>(&self, results: &[(DType, &[usize])]) -> Result<Vec<Values>, Fault> {
        let rounded: Vec<Vec<R>> = self.operands.iter().map(working).collect();
        let args: Vec<_> = self.operands.iter().zip(&rounded).map(|(o, r)| o.as_ref().map(|o| arg(o, r))).collect();
        let mut stores: Vec<_> = results.iter().map(|(t, shape)| store::<R>(*t, shape)).collect();
        let mut outs: Vec<Out<'_, R>> = stores
            .iter_mut()
            .zip(results)
            .map(|((real, int), &(dtype, shape))| {
                let data = if dtype.is_real() { ElementsMut::Real(real) } else { ElementsMut::Int(int) };
                Out { dtype, shape, data }
            })
            .collect();
        let call = Call { args: &args, params: &self.params };
        R::body(find(self.kernel).ok_or_else(|| Fault::new("no such kernel"))?)(&call, &mut outs)?;
        Ok(stores.into_iter().zip(results).map(|((real, int), (dtype, _))| values(*dtype, real, int)).collect())
    }
}

fn close((a, b): (&f64, &f64)) -> bool {
    (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-5 * (1.0 + a.abs())
}

fn working<R: Real>(operand: &Operand) -> Vec<R> {
    match operand {
        Some((_, _, Values::Real(data))) => data.iter().map(|x| R::of(*x)).collect(),
        _ => Vec::new(),
    }
}

fn arg<'a, R>((dtype, shape, values): &'a (DType, Vec<usize>, Values), rounded: &'a [R]) -> Arg<'a, R> {
    let data = match values {
        Values::Real(_) => Elements::Real(rounded),
        Values::Int(data) => Elements::Int(data),
    };
    Arg { dtype: *dtype, shape, data }
}

/// Room for a result, filled with what no kernel leaves there by chance.
fn store<R: Real>(dtype: DType, shape: &[usize]) -> (Vec<R>, Vec<i64>) {
    let len = shape.iter().product();
    match dtype.is_real() {
        true => (vec![R::of(-77.0); len], Vec::new()),
        false => (Vec::new(), vec![-77; len]),
    }
}

/// A result as the executor would leave it.
fn values<R: Real>(dtype: DType, real: Vec<R>, int: Vec<i64>) -> Values {
    match dtype.is_real() {
        true => Values::Real(real.into_iter().map(R::f64).collect()),
        false => Values::Int(int.into_iter().map(|n| wrap(dtype, n)).collect()),
    }
}

/// The `f32` result of a kernel without parameters on real operands.
pub(crate) fn apply(kernel: &'static str, operands: &[(&[usize], &[f64])], shape: &[usize]) -> Values {
    operands.iter().fold(Case::new(kernel), |case, (shape, data)| case.real(shape, data)).result(DType::F32, shape)
}

/// Whether that call is a fault.
pub(crate) fn fails(kernel: &'static str, operands: &[(&[usize], &[f64])], shape: &[usize]) -> bool {
    let case = operands.iter().fold(Case::new(kernel), |case, (shape, data)| case.real(shape, data));
    case.run(DType::F32, shape).is_err()
}

/// The elements of a real result.
pub(crate) fn reals(values: &Values) -> Vec<f64> {
    match values {
        Values::Real(data) => data.clone(),
        Values::Int(data) => panic!("integers {data:?}"),
    }
}

/// The elements of an integer result.
pub(crate) fn ints(values: &Values) -> Vec<i64> {
    match values {
        Values::Int(data) => data.clone(),
        Values::Real(data) => panic!("reals {data:?}"),
    }
}
