//! Results against the formula, in double precision.

use super::*;

/// The weights that a conversion wrote, by the names that it gave them.
fn weights(graph: &Graph, prefix: &str, reflections: usize) -> Vec<init::Weights> {
    let read = |k: usize, what: &str| {
        let id = graph.find(&format!("{prefix}/{k}/{what}"))?;
        graph.constant(id).unwrap().reals()
    };
    (0..reflections).map(|k| init::Weights { u: read(k, "u").unwrap(), b: read(k, "b") }).collect()
}

/// y = |H(u) x + b| of one vector, layer by layer.
fn formula(layers: &[init::Weights], x: &[f64], outer_abs: bool) -> Vec<f64> {
    let mut x = x.to_vec();
    for (k, layer) in layers.iter().enumerate() {
        let norm: f64 = layer.u.iter().map(|u| u * u).sum();
        let dot: f64 = layer.u.iter().zip(&x).map(|(u, x)| u * x).sum();
        let z = |i: usize| x[i] - 2.0 * dot / norm * layer.u[i] + layer.b.as_ref().map_or(0.0, |b| b[i]);
        let abs = layer.b.is_some() && (outer_abs || k + 1 < layers.len());
        x = (0..x.len()).map(z).map(|z| if abs { z.abs() } else { z }).collect();
    }
    x
}

/// The formula on every slice along the axes.
fn along(sizes: &[usize], axes: &Range<usize>, x: &[f64], f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let n: usize = sizes[axes.clone()].iter().product();
    let inner: usize = sizes[axes.end..].iter().product();
    let mut y = vec![0.0; x.len()];
    for outer in (0..x.len()).step_by(n * inner) {
        for i in 0..inner {
            let places: Vec<_> = (0..n).map(|k| outer + k * inner + i).collect();
            let slice: Vec<_> = places.iter().map(|p| x[*p]).collect();
            f(&slice).into_iter().zip(places).for_each(|(value, place)| y[place] = value);
        }
    }
    y
}

fn check(sizes: &[usize], axes: Range<usize>, kind: Kind, options: &Options) {
    let model = Model::of(&Spec { shape: shape(sizes), axes: axes.clone(), kind, dtype: DType::F64 });
    let converted = model.convert(options).unwrap();
    let layers = weights(
        &converted.graph,
        &format!("hanc/{kind}.0"),
        options.depth * options.rank.min(sizes[axes.clone()].iter().product()),
    );
    let x = input(sizes);
    let data = x.to_f64().unwrap();
    let read: Vec<f64> = data.iter().map(|x| if options.keep_norm { 0.5 * x } else { *x }).collect();
    let mut wanted = along(sizes, &axes, &read, |x| formula(&layers, x, kind != Kind::Ffn));
    if options.keep_residual {
        wanted.iter_mut().zip(&data).for_each(|(y, x)| *y += x);
    }
    let got = run(&converted.graph, &x);
    let worst = got.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(got.len() == wanted.len() && worst < 1e-12, "{sizes:?} {axes:?} {kind} {options:?}: {worst}");
}

const PLACES: &[(&[usize], Range<usize>)] = &[
    (&[2, 3, 4], 2..3),
    (&[2, 3, 4], 1..2),
    (&[2, 3, 4], 0..1),
    (&[2, 3, 4, 5], 1..2),
    (&[2, 3, 4, 5], 2..4),
    (&[2, 3, 4, 5], 1..3),
    (&[2, 3, 4, 5], 0..4),
    (&[6], 0..1),
    (&[3, 4], 0..1),
    (&[3, 4], 1..2),
    (&[2, 1, 3], 1..2),
];

#[test]
fn stacks_compute_the_formula_along_every_axis() {
    for (sizes, axes) in PLACES {
        for (kind, depth) in [(Kind::Ffn, 2), (Kind::MixerToken, 2), (Kind::Ffn, 1), (Kind::Linear, 3)] {
            check(sizes, axes.clone(), kind, &Options { depth, ..Options::default() });
        }
    }
}

#[test]
fn layers_of_several_reflections_compute_the_formula() {
    for (sizes, axes) in PLACES {
        for (kind, rank) in [(Kind::Ffn, 2), (Kind::MixerToken, 2)] {
            check(sizes, axes.clone(), kind, &Options { rank, ..Options::default() });
        }
    }
    let options = Options { rank: 2, emit: Emit::Function, ..Options::default() };
    let model = Model::of(&Spec { shape: shape(&[2, 3, 4]), axes: 2..3, kind: Kind::Ffn, dtype: DType::F64 });
    assert_eq!(model.convert(&options).unwrap_err(), ConvertError::Function(2));
}

#[test]
fn norm_and_residual_stay_where_asked() {
    for (keep_norm, keep_residual) in [(true, false), (false, true), (true, true)] {
        let options = Options { keep_norm, keep_residual, ..Options::default() };
        for (sizes, axes) in PLACES {
            check(sizes, axes.clone(), Kind::MixerChannel, &options);
            check(sizes, axes.clone(), Kind::Ffn, &options);
        }
    }
}

#[test]
fn identity_start_hands_the_input_through() {
    for (sizes, axes) in PLACES {
        let model = Model::of(&Spec { shape: shape(sizes), axes: axes.clone(), kind: Kind::Ffn, dtype: DType::F64 });
        let converted = model.convert(&Options { init: Init::Identity, ..Options::default() }).unwrap();
        let x = input(sizes);
        let got = run(&converted.graph, &x);
        let worst = got.iter().zip(x.to_f64().unwrap()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-12, "{sizes:?} {axes:?}: {worst}");
    }
}

#[test]
fn blocks_in_sequence_read_each_other() {
    let spec = Spec { shape: shape(&[2, 3, 4]), axes: 2..3, kind: Kind::Ffn, dtype: DType::F64 };
    let mut model = Model::of(&spec);
    model.block(&Spec { axes: 1..2, kind: Kind::MixerToken, shape: spec.shape.clone(), dtype: DType::F64 });
    let converted = model.convert(&Options::default()).unwrap();
    let x = input(&[2, 3, 4]);
    let first = weights(&converted.graph, "hanc/ffn.0", 2);
    let second = weights(&converted.graph, "hanc/mixer-token.0", 2);
    let y = along(&[2, 3, 4], &(2..3), &x.to_f64().unwrap(), |x| formula(&first, x, false));
    let wanted = along(&[2, 3, 4], &(1..2), &y, |x| formula(&second, x, true));
    let got = run(&converted.graph, &x);
    assert!(got.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-12));
}

#[test]
fn functions_compute_the_formula_along_every_axis() {
    for (sizes, axes) in PLACES {
        for (kind, depth) in [(Kind::Ffn, 2), (Kind::MixerToken, 1)] {
            let options = Options { depth, emit: Emit::Function, ..Options::default() };
            check(sizes, axes.clone(), kind, &options);
        }
    }
}
