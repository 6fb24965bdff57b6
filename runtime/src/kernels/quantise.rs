//! Between reals and integers with a scale and a zero point.

use super::support::{around, axis, ensure, result};
use crate::dtype::DType;
use crate::kernel::{Arg, Call, Elements, Fault, Kernel, Out, Real};

pub(super) static KERNELS: &[Kernel] = &[
    Kernel {
        name: "quantize.1",
        doc: "y = x / scale rounded to even, plus zero?, kept within y's type; scale and zero are scalars, or have one \
              number along axis, or one for each block elements along it",
        f64: quantize,
        f32: quantize,
        cpu: None,
    },
    Kernel {
        name: "dequantize.1",
        doc: "y = (x - zero?) scale; scale and zero as of quantize.1",
        f64: dequantize,
        f32: dequantize,
        cpu: None,
    },
    Kernel {
        name: "dynamic_quantize.1",
        doc: "y, scale, zero of x with a scale that fits its range and 0 into u8",
        f64: dynamic,
        f32: dynamic,
        cpu: None,
    },
];

/// Smallest and largest number of a type of at most 32 bits.
fn range(dtype: DType) -> Result<(f64, f64), Fault> {
    Ok(match dtype {
        DType::I8 => (-128.0, 127.0),
        DType::U8 => (0.0, 255.0),
        DType::I16 => (-32768.0, 32767.0),
        DType::U16 => (0.0, 65535.0),
        DType::I32 => (-2147483648.0, 2147483647.0),
        _ => return Err(Fault(format!("nothing is quantised to {dtype}"))),
    })
}

/// Which scale each element has: element `i` has the one at `index(i)`.
fn index<R>(call: &Call<'_, R>, shape: &[usize], scale: &[usize]) -> Result<Box<dyn Fn(usize) -> usize>, Fault> {
    let count: usize = scale.iter().product();
    if count == 1 {
        return Ok(Box::new(|_| 0));
    }
    let (_, n, inner) = around(shape, axis(call.params, "axis", shape.len())?);
    let block = call.params.int("block").and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    if block == 0 {
        ensure(count == n, || format!("{count} scales along an axis of {n}"))?;
        return Ok(Box::new(move |i| i / inner % n));
    }
    let blocks = n.div_ceil(block);
    ensure(count * n == shape.iter().product::<usize>() * blocks, || format!("scales {scale:?} in blocks of {block}"))?;
    Ok(Box::new(move |i| (i / inner / n * blocks + i / inner % n / block) * inner + i % inner))
}

/// Elements as numbers of the working precision.
fn numbers<R: Real>(arg: Arg<'_, R>) -> Vec<f64> {
    match arg.data {
        Elements::Real(data) => data.iter().map(|x| x.f64()).collect(),
        Elements::Int(data) => data.iter().map(|x| *x as f64).collect(),
    }
}

/// The zero points; all zero where they are not given.
fn zeros<R: Real>(call: &Call<'_, R>, count: usize) -> Result<Vec<f64>, Fault> {
    let Some(zero) = call.opt(2) else { return Ok(vec![0.0; count]) };
    let zeros = numbers(zero);
    ensure(zeros.len() == count, || format!("{} zero points and {count} scales", zeros.len()))?;
    Ok(zeros)
}

fn quantize<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, scale, out) = (call.arg(0)?, call.arg(1)?, result(out, 0)?);
    let (low, high) = range(out.dtype)?;
    let of = index(call, x.shape, scale.shape)?;
    let (x, scale) = (numbers(x), numbers(scale));
    let zero = zeros(call, scale.len())?;
    let y = out.int()?;
    ensure(y.len() == x.len(), || "operand and result are not alike".into())?;
    for (i, (x, y)) in x.iter().zip(y).enumerate() {
        // In single precision, which decides how ties fall.
        let steps = f64::from(*x as f32 / scale[of(i)] as f32).round_ties_even();
        *y = (steps + zero[of(i)]).clamp(low, high) as i64;
    }
    Ok(())
}

fn dequantize<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, scale, out) = (call.arg(0)?, call.arg(1)?, result(out, 0)?);
    let of = index(call, x.shape, scale.shape)?;
    let (x, scale) = (numbers(x), numbers(scale));
    let zero = zeros(call, scale.len())?;
    let y = out.real()?;
    ensure(y.len() == x.len(), || "operand and result are not alike".into())?;
    y.iter_mut().zip(&x).enumerate().for_each(|(i, (y, x))| *y = R::of((x - zero[of(i)]) * scale[of(i)]));
    Ok(())
}

fn dynamic<R: Real>(call: &Call<'_, R>, out: &mut [Out<'_, R>]) -> Result<(), Fault> {
    let (x, _) = call.real(0)?;
    let [y, scale_out, zero_out] = out else { return Err(Fault::new("three results are handed out")) };
    let low = x.iter().fold(0.0f32, |m, x| m.min(x.f64() as f32));
    let high = x.iter().fold(0.0f32, |m, x| m.max(x.f64() as f32));
    let scale = if high == low { 1.0 } else { (high - low) / 255.0 };
    let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0);
    let y = y.int()?;
    ensure(y.len() == x.len(), || "operand and result are not alike".into())?;
    for (x, y) in x.iter().zip(y) {
        *y = ((x.f64() as f32 / scale).round_ties_even() + zero).clamp(0.0, 255.0) as i64;
    }
    scale_out.real()?.fill(R::of(f64::from(scale)));
    zero_out.int()?.fill(zero as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{int, real, run, run_types};
    use crate::dtype::DType;
    use crate::plan::Params;

    #[test]
    fn halves_go_to_even_and_ends_are_kept() {
        let given = [real(&[5], &[1., 3., 5., 1000., -9.]), real(&[], &[2.]), int(DType::U8, &[], &[1])];
        let y = run_types("quantize.1", &given, Params::new(), &[(DType::U8, &[5])]).unwrap();
        assert_eq!(y[0], [1., 3., 3., 255., 0.]);
    }

    #[test]
    fn scales_along_an_axis_and_in_blocks() {
        let x = int(DType::I8, &[2, 2], &[1, 2, 3, 4]);
        let given = [x.clone(), real(&[2], &[1., 10.]), int(DType::I8, &[2], &[0, 1])];
        let along = |axis: i64| Params::new().with("axis", axis);
        assert_eq!(run("dequantize.1", &given, along(1), &[&[2, 2]]).unwrap()[0], [1., 10., 3., 30.]);
        assert_eq!(run("dequantize.1", &given, along(0), &[&[2, 2]]).unwrap()[0], [1., 2., 20., 30.]);
        let given = [int(DType::I8, &[1, 4], &[1, 2, 3, 4]), real(&[1, 2], &[1., 10.])];
        let y = run("dequantize.1", &given, along(1).with("block", 2), &[&[1, 4]]).unwrap();
        assert_eq!(y[0], [1., 2., 30., 40.]);
        assert!(run("dequantize.1", &given[..2], along(1), &[&[1, 4]]).is_err());
    }

    #[test]
    fn a_range_is_found() {
        let results: &[(DType, &[usize])] = &[(DType::U8, &[3]), (DType::F32, &[]), (DType::U8, &[])];
        let y = run_types("dynamic_quantize.1", &[real(&[3], &[-1., 0., 4.1])], Params::new(), results).unwrap();
        assert_eq!(y[0], [0., 50., 255.]);
        assert!((y[1][0] - 0.02).abs() < 1e-7);
        assert_eq!(y[2], [50.]);
    }
}
