//! Gradients of deep stacks, from the result and the signs: how far they are from those by stored activations, and how much
//! memory they take.
#![allow(clippy::unwrap_used)]

use hanc_runtime::plan::{Extent, Params, Port, Role, Slot, Step, Weights};
use hanc_runtime::{DType, Model, Options, Plan, Session, View};

const ROWS: usize = 24;
const WIDTH: usize = 64;

/// x, g [rows, n], u, b [k n] → y, the signs, and the gradients of g·y by x, u and b, of k layers along the last axis.
fn model(rows: usize, n: usize, layers: usize) -> Model {
    let slot = |name: &str, role, dtype, shape: &[usize]| Slot {
        name: name.into(),
        role,
        dtype,
        shape: shape.iter().map(|&factor| Extent { factor, symbol: None }).collect(),
    };
    let input = |name: &str, shape: &[usize]| slot(name, Role::Input, DType::F32, shape);
    let found = |name: &str, shape: &[usize]| slot(name, Role::Scratch, DType::F32, shape);
    let (each, all) = ([rows, n], [layers * n]);
    let slots = vec![
        input("x", &each),
        input("g", &each),
        input("u", &all),
        input("b", &all),
        found("y", &each),
        slot("signs", Role::Scratch, DType::I64, &[layers * rows * n.div_ceil(64)]),
        found("dx", &each),
        found("du", &all),
        found("db", &all),
    ];
    let step = |kernel: &str, inputs: &[usize], outputs: &[usize]| Step {
        kernel: kernel.into(),
        inputs: inputs.iter().copied().map(Some).collect(),
        outputs: outputs.iter().copied().map(Some).collect(),
        params: Params::new().with("axes", vec![1; layers]).with("abs", vec![1; layers]),
        place: kernel.into(),
    };
    let steps =
        vec![step("han_stack.1", &[0, 2, 3], &[4, 5]), step("han_stack_gradient.1", &[4, 5, 1, 2, 3], &[6, 7, 8])];
    let ports = |range: std::ops::Range<usize>| {
        range.map(|slot| Port { name: slots[slot].name.clone(), slot }).collect::<Vec<_>>()
    };
    let (inputs, outputs) = (ports(0..4), ports(5..9));
    Model::new(Plan { slots, steps, inputs, outputs, ..Plan::default() }, Weights::new()).unwrap()
}

/// Numbers in (−1, 1) that do not repeat.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mix = |x: u64| (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (0..n as u64).map(|i| (mix(mix(i + (seed << 40) + 1)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

struct Given {
    x: Vec<f32>,
    g: Vec<f32>,
    u: Vec<f32>,
    b: Vec<f32>,
    layers: usize,
}

/// dx, du and db.
type Gradients = [Vec<f64>; 3];

impl Given {
    fn new(layers: usize) -> Given {
        let (each, all) = (ROWS * WIDTH, layers * WIDTH);
        let b = noise(all, 4).iter().map(|b| b / 8.0).collect();
        Given { x: noise(each, 1), g: noise(each, 2), u: noise(all, 3), b, layers }
    }

    /// The gradients of the kernels, and the signs.
    fn reversed(&self) -> (Gradients, Vec<i64>) {
        let mut session = Session::new(&model(ROWS, WIDTH, self.layers), Options::default().threads(1)).unwrap();
        let (each, all) = ([ROWS, WIDTH], [self.layers * WIDTH]);
        let (x, g) = (View::f32(&each, &self.x), View::f32(&each, &self.g));
        let (u, b) = (View::f32(&all, &self.u), View::f32(&all, &self.b));
        let outputs = session.run(&[("x", x), ("g", g), ("u", u), ("b", b)]).unwrap();
        let real = |name: &str| outputs.get(name).unwrap().f32().unwrap().iter().map(|x| f64::from(*x)).collect();
        (["dx", "du", "db"].map(real), outputs.get("signs").unwrap().i64().unwrap().to_vec())
    }

    /// The gradients from stored activations, in the precision that `round` rounds every number to.
    fn stored(&self, signs: &[i64], round: fn(f64) -> f64) -> Gradients {
        let negative = |layer: usize, row: usize, i: usize| signs[layer * ROWS + row] >> i & 1 == 1;
        let mut found = [Vec::new(), vec![0.0; self.u.len()], vec![0.0; self.u.len()]];
        for row in 0..ROWS {
            let part = |data: &[f32]| -> Vec<f64> {
                data[row * WIDTH..(row + 1) * WIDTH].iter().map(|x| f64::from(*x)).collect()
            };
            let (mut x, mut d, mut kept) = (part(&self.x), part(&self.g), Vec::new());
            for layer in 0..self.layers {
                kept.push(x.clone());
                let (v, b) = (self.direction(layer), &self.b[layer * WIDTH..]);
                reflect(&mut x, &v, round);
                for i in 0..WIDTH {
                    let z = round(x[i] + f64::from(b[i]));
                    x[i] = if negative(layer, row, i) { -z } else { z };
                }
            }
            for layer in (0..self.layers).rev() {
                let (v, x) = (self.direction(layer), &kept[layer]);
                (0..WIDTH).filter(|i| negative(layer, row, *i)).for_each(|i| d[i] = -d[i]);
                let (vx, vd) = (dot(&v, x, round), dot(&v, &d, round));
                for i in 0..WIDTH {
                    let at = layer * WIDTH + i;
                    found[1][at] = round(found[1][at] - 2.0 * (vx * d[i] + vd * x[i]));
                    found[2][at] = round(found[2][at] + d[i]);
                }
                reflect(&mut d, &v, round);
            }
            found[0].extend(d);
        }
        for layer in 0..self.layers {
            let (v, dv) = (self.direction(layer), &mut found[1][layer * WIDTH..(layer + 1) * WIDTH]);
            let (along, norm) = (dot(&v, dv, round), self.norm(layer));
            dv.iter_mut().zip(&v).for_each(|(dv, v)| *dv = round((*dv - along * v) / norm));
        }
        found
    }

    fn norm(&self, layer: usize) -> f64 {
        let u = &self.u[layer * WIDTH..(layer + 1) * WIDTH];
        u.iter().map(|u| f64::from(*u).powi(2)).sum::<f64>().sqrt()
    }

    fn direction(&self, layer: usize) -> Vec<f64> {
        self.u[layer * WIDTH..(layer + 1) * WIDTH].iter().map(|u| f64::from(*u) / self.norm(layer)).collect()
    }
}

fn dot(a: &[f64], b: &[f64], round: fn(f64) -> f64) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| round(sum + a * b))
}

fn reflect(x: &mut [f64], v: &[f64], round: fn(f64) -> f64) {
    let along = dot(v, x, round);
    x.iter_mut().zip(v).for_each(|(x, v)| *x = round(*x - 2.0 * along * v));
}

/// |a − b| as a part of |b|.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

#[test]
fn going_back_costs_few_digits_however_deep_the_stack() {
    for layers in [1, 16, 64, 256] {
        let given = Given::new(layers);
        let (reversed, signs) = given.reversed();
        let exact = given.stored(&signs, |x| x);
        let single = given.stored(&signs, |x| f64::from(x as f32));
        for (i, name) in ["dx", "du", "db"].into_iter().enumerate() {
            let (off, stored) = (distance(&reversed[i], &exact[i]), distance(&single[i], &exact[i]));
            println!("{layers} layers, {name}: {off:.1e} reversed, {stored:.1e} stored in single precision");
            // Rounding adds up with the number of layers, at most; it never doubles from layer to layer.
            let bound = 1e-7 * (2.0 + (layers as f64).sqrt());
            let near = off < bound && off < 2.0 * stored + 1e-7;
            assert!(near, "{layers} layers, {name}: {off:.1e} reversed, {stored:.1e} stored");
        }
    }
}

/// Bytes of activations of a step on a stack.
fn memory(layers: usize) -> usize {
    let (rows, n) = (2048, WIDTH);
    let mut session = Session::new(&model(rows, n, layers), Options::default().threads(2)).unwrap();
    let (each, all) = (noise(rows * n, 1), noise(layers * n, 2));
    let (shape, width) = ([rows, n], [layers * n]);
    let (x, u) = (View::f32(&shape, &each), View::f32(&width, &all));
    session.run(&[("x", x), ("g", x), ("u", u), ("b", u)]).unwrap();
    session.activation_bytes()
}

#[test]
fn a_deep_stack_takes_a_bit_for_an_activation() {
    let (bits, tensor) = (2048 * WIDTH / 8, 2048 * WIDTH * 4);
    let (few, many) = (memory(4), memory(64));
    // For each of a layer's numbers there are the number, its gradient, the packed number and the sums of 16 shares; a few
    // layers have fewer shares.
    let more = 60 * (bits + 3 * 2 * 4 * WIDTH) + 64 * 16 * 2 * 4 * WIDTH;
    assert!(many - few <= more, "{} bytes more for 60 layers, {more} expected", many - few);
    assert!(many < 64 * tensor / 8, "{many} bytes, {} in stored activations", 64 * tensor);
}
