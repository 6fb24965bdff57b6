//! What converted classical models do to their features.

use super::support::{ensure, result};
use crate::kernel::{Call, Elements, ElementsMut, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = &[
    Kernel { name: "pick.1", doc: "elements indices of each row of x [.., n]", f64: pick, f32: pick, cpu: None },
    Kernel {
        name: "scaler.1",
        doc: "(x - offset) scale along the last axis, lists of numbers",
        f64: scaler,
        f32: scaler,
        cpu: None,
    },
    Kernel {
        name: "row_norm.1",
        doc: "rows of x [.., n] over their norm: max (of the elements), l1 or l2; rows of norm 0 stay",
        f64: row_norm,
        f32: row_norm,
        cpu: None,
    },
    Kernel {
        name: "label_encoder.1",
        doc: "the value whose key is x, or the default; keys and values are integers or reals as x and y are",
        f64: encode,
        f32: encode,
        cpu: None,
    },
    Kernel {
        name: "imputer.1",
        doc: "x with elements that equal replaced (a list of one number) by values, one or one along the last axis",
        f64: impute,
        f32: impute,
        cpu: None,
    },
];

fn pick<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, (indices, _), out) = (call.arg(0)?, call.int(1)?, result(out, 0)?);
    let n = x.shape.last().copied().ok_or_else(|| Fault::new("a scalar has no features"))?;
    let bad = indices.iter().find(|i| usize::try_from(**i).map_or(true, |i| i >= n));
    ensure(bad.is_none(), || format!("index {bad:?} of {n} features"))?;
    match (x.data, &mut out.data) {
        (Elements::Real(x), ElementsMut::Real(y)) => rows(x, n, indices, y),
        (Elements::Int(x), ElementsMut::Int(y)) => rows(x, n, indices, y),
        _ => Err(Fault::new("operand and result are not of one class")),
    }
}

fn rows<T: Copy>(x: &[T], n: usize, indices: &[i64], y: &mut [T]) -> Result<(), Fault> {
    let count = x.len().checked_div(n).unwrap_or(0);
    ensure(y.len() == count * indices.len(), || "the result does not have one row for each row".into())?;
    let picked = x.chunks_exact(n.max(1)).flat_map(|row| indices.iter().map(|i| row[*i as usize]));
    y.iter_mut().zip(picked).for_each(|(y, x)| *y = x);
    Ok(())
}

/// Operand 0 as reals, its last size, and result 0 of the same length.
type Rows<'o, R> = (Vec<f64>, usize, &'o mut [R]);

fn real_rows<'o, R: Real>(call: &Call<'_, R>, out: &'o mut [Out<'_, R>]) -> Result<Rows<'o, R>, Fault> {
    let (x, y) = (call.arg(0)?, result(out, 0)?.real()?);
    let n = x.shape.last().copied().unwrap_or(1).max(1);
    let x: Vec<f64> = match x.data {
        Elements::Real(x) => x.iter().map(|x| x.f64()).collect(),
        Elements::Int(x) => x.iter().map(|x| *x as f64).collect(),
    };
    ensure(x.len() == y.len(), || "operand and result are not alike".into())?;
    Ok((x, n, y))
}

/// A list of one number, or of one for each feature, or none.
fn per_feature<R>(call: &Call<'_, R>, key: &str, n: usize, default: f64) -> Result<Vec<f64>, Fault> {
    let list = call.params.floats(key).filter(|list| !list.is_empty()).unwrap_or_else(|| vec![default]);
    ensure(list.len() == 1 || list.len() == n, || format!("{} numbers of {key} for {n} features", list.len()))?;
    Ok(list)
}

fn scaler<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, n, y) = real_rows(call, out)?;
    let (offset, scale) = (per_feature(call, "offset", n, 0.0)?, per_feature(call, "scale", n, 1.0)?);
    for (i, (x, y)) in x.iter().zip(y).enumerate() {
        *y = R::of((x - offset[i % n % offset.len()]) * scale[i % n % scale.len()]);
    }
    Ok(())
}

fn row_norm<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, n, y) = real_rows(call, out)?;
    let norm: fn(&[f64]) -> f64 = match call.params.str("norm").unwrap_or("max") {
        "max" => |row| row.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        "l1" => |row| row.iter().map(|x| x.abs()).sum(),
        "l2" => |row| row.iter().map(|x| x * x).sum::<f64>().sqrt(),
        other => return Err(Fault(format!("no norm {other}"))),
    };
    for (row, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
        let size = if norm(row) == 0.0 { 1.0 } else { norm(row) };
        y.iter_mut().zip(row).for_each(|(y, x)| *y = R::of(x / size));
    }
    Ok(())
}

fn impute<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, n, y) = real_rows(call, out)?;
    let (replaced, values) = (per_feature(call, "replaced", 1, 0.0)?, per_feature(call, "values", n, 0.0)?);
    let missing = |x: f64| x == replaced[0] || (x.is_nan() && replaced[0].is_nan());
    for (i, (x, y)) in x.iter().zip(y).enumerate() {
        *y = R::of(if missing(*x) { values[i % n % values.len()] } else { *x });
    }
    Ok(())
}

fn encode<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, out) = (call.arg(0)?, result(out, 0)?);
    let places = match x.data {
        Elements::Real(x) => {
            let keys = call.params.floats("keys").unwrap_or_default();
            let is = |x: f64, key: f64| x == R::of(key).f64() || (x.is_nan() && key.is_nan());
            x.iter().map(|x| keys.iter().position(|key| is(x.f64(), *key))).collect::<Vec<_>>()
        }
        Elements::Int(x) => {
            let keys = call.params.ints("keys").unwrap_or_default();
            x.iter().map(|x| keys.iter().position(|key| key == x)).collect()
        }
    };
    match &mut out.data {
        ElementsMut::Real(y) => {
            let [values, default] = ["values", "default"].map(|key| call.params.floats(key).unwrap_or_default());
            let values: Vec<_> = values.into_iter().map(R::of).collect();
            look_up(&places, &values, default.first().copied().map(R::of), y)
        }
        ElementsMut::Int(y) => {
            let [values, default] = ["values", "default"].map(|key| call.params.ints(key).unwrap_or_default());
            look_up(&places, &values, default.first().copied(), y)
        }
    }
}

fn look_up<T: Copy>(places: &[Option<usize>], values: &[T], default: Option<T>, y: &mut [T]) -> Result<(), Fault> {
    ensure(places.len() == y.len(), || "operand and result are not alike".into())?;
    for (place, y) in places.iter().zip(y) {
        let value = place.and_then(|place| values.get(place).copied()).or(default);
        *y = value.ok_or_else(|| Fault::new("a key has no value and there is no default"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{close, int, one, real, run, run_types};
    use crate::dtype::DType;
    use crate::plan::Params;

    #[test]
    fn features_are_picked() {
        let given = [real(&[2, 3], &[1., 2., 3., 4., 5., 6.]), int(DType::I64, &[2], &[2, 0])];
        close(&one("pick.1", &given, Params::new(), &[2, 2]), &[3., 1., 6., 4.]);
        let beyond = [given[0].clone(), int(DType::I64, &[1], &[3])];
        assert!(run("pick.1", &beyond, Params::new(), &[&[2, 1]]).is_err());
    }

    #[test]
    fn features_are_scaled_and_rows_normalised() {
        let x = [real(&[1, 2], &[3., 4.])];
        let params = Params::new().with("offset", vec![1.0, 2.0]).with("scale", vec![10.0]);
        close(&one("scaler.1", &x, params, &[1, 2]), &[20., 20.]);
        for (norm, wanted) in [("max", [0.75, 1.]), ("l1", [3. / 7., 4. / 7.]), ("l2", [0.6, 0.8])] {
            close(&one("row_norm.1", &x, Params::new().with("norm", norm), &[1, 2]), &wanted);
        }
    }

    #[test]
    fn labels_are_looked_up() {
        let params = Params::new().with("keys", vec![7, 9]).with("values", vec![0.5, 1.5]).with("default", vec![-1.0]);
        close(&one("label_encoder.1", &[int(DType::I64, &[3], &[9, 7, 8])], params, &[3]), &[1.5, 0.5, -1.]);
        let params = Params::new().with("keys", vec![None, Some(0.1)]).with("values", vec![3, 4]);
        let given = [real(&[2], &[0.1, f64::NAN])];
        let y = run_types("label_encoder.1", &given, params, &[(DType::I64, &[2])]).unwrap();
        close(&y[0], &[4., 3.]);
    }

    #[test]
    fn missing_features_are_replaced() {
        let params = Params::new().with("replaced", vec![None::<f64>]).with("values", vec![5.0, 6.0]);
        close(&one("imputer.1", &[real(&[2, 2], &[1., f64::NAN, f64::NAN, 2.])], params, &[2, 2]), &[1., 6., 5., 2.]);
    }
}
