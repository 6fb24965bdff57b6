//! Attacks on models whose weak points are known.

use hanc_models::Stream;

use super::*;
use crate::infer::infer;
use crate::ir::text::parse;

/// Two classes, apart by w·x + b with w = (1.5, −0.5, 0.25) and b = 0.1.
const LINEAR: &str = "in %x: f32[N, 3]
    const %w: f32[3, 2] = {1.0, -0.5, 0.0, 0.5, 0.5, 0.25} const %b: f32[2] = {0.2, 0.1}
    %k = MatMul(%x, %w) %y = Add(%k, %b) out %y";
const W: [f64; 3] = [1.5, -0.5, 0.25];

const MLP: &str = "in %x: f32[N, 1, 2, 2]
    const %w: f32[4, 5] = {0.9, -0.7, 0.3, 0.4, -1.1, 0.2, 1.3, -0.8, 0.6, 0.5, -0.6, 0.1, 1.2, -0.9, 0.7, 0.8, -0.3, -0.2, 1.0, -0.5}
    const %b: f32[5] = {0.1, -0.2, 0.3, 0.0, 0.2}
    const %v: f32[5, 3] = {1.1, -0.9, 0.2, -0.4, 1.5, -0.7, 0.8, -0.2, -1.2, 0.3, 0.9, -0.6, -1.3, 0.4, 1.0}
    const %c: f32[3] = {0.1, 0.0, -0.1}
    %f = Flatten(%x) %h = MatMul(%f, %w) %g = Add(%h, %b) %r = Tanh(%g) %k = MatMul(%r, %v) %y = Add(%k, %c) out %y";

fn model(text: &str) -> Graph {
    let mut graph = parse(&format!("graph \"g\"\nopset \"\" 17\n{text}")).unwrap();
    infer(&mut graph).unwrap();
    graph
}

fn anywhere(shape: &[usize]) -> Space {
    Space { shape: shape.to_vec(), normalisation: None, bounds: None }
}

fn pixels() -> Space {
    let normalisation = Some((vec![0.4], vec![0.5]));
    Space { shape: vec![1, 2, 2], normalisation, bounds: Some([0.0, 1.0]) }
}

fn attacker(text: &str, space: &Space, attack: &Attack, (batch, threads): (usize, usize)) -> Attacker {
    let model = model(text);
    let port = Port::of(&model).unwrap();
    let victim = Victim { model: &model, port: &port, space, batch, options: Options::default().threads(threads) };
    Attacker::new(&victim, attack, 5).unwrap()
}

/// Points in [0, 1] with the classes that the model gives them.
fn points(text: &str, space: &Space, count: usize) -> (Vec<f32>, Vec<i64>, Vec<u32>) {
    let mut stream = Stream::new(1, "points");
    let x: Vec<f32> = (0..count * space.width()).map(|_| (stream.symmetric() / 2.0 + 0.5) as f32).collect();
    let nothing = Attack::Pgd(Pgd { random_start: false, ..Pgd::new(Norm::Linf, vec![0.0], 0) });
    let indices: Vec<u32> = (0..count as u32).collect();
    let mut attacker = attacker(text, space, &nothing, (count, 1));
    let mut right = |class: i64| {
        let classes = vec![class; count];
        attacker.attack(&Points { x: &x, classes: &classes, indices: &indices }).unwrap().right
    };
    let by_class: Vec<Vec<bool>> = (0..if text == LINEAR { 2 } else { 3 }).map(&mut right).collect();
    let class = |i: usize| by_class.iter().position(|right| right[i]).unwrap() as i64;
    ((0..count * space.width()).map(|k| x[k]).collect(), (0..count).map(class).collect(), indices)
}

fn examples(text: &str, space: &Space, attack: &Attack, threads: usize) -> Vec<Vec<Option<Example>>> {
    let (x, classes, indices) = points(text, space, 40);
    let points = Points { x: &x, classes: &classes, indices: &indices };
    let found = attacker(text, space, attack, (40, threads)).attack(&points).unwrap();
    assert!(found.right.iter().all(|right| *right));
    found.examples
}

fn fooled(examples: &[Option<Example>]) -> usize {
    examples.iter().flatten().count()
}

/// How far a linear model is from being wrong.
fn distance(x: &[f32], norm: f64) -> f64 {
    let gap = x.iter().zip(W).map(|(x, w)| f64::from(*x) * w).sum::<f64>() + 0.1;
    gap.abs() / norm
}

#[test]
fn steps_find_what_is_wrong_of_a_linear_model_and_nothing_else() {
    let space = anywhere(&[3]);
    let (x, ..) = points(LINEAR, &space, 40);
    let lengths =
        [(Norm::Linf, W.iter().map(|w| w.abs()).sum::<f64>()), (Norm::L2, W.map(|w| w * w).iter().sum::<f64>().sqrt())];
    for (norm, length) in lengths {
        let radii = vec![0.1, 0.2, 0.3, 0.5];
        let found = examples(LINEAR, &space, &Attack::Pgd(Pgd::fgsm(norm, radii.clone())), 1);
        // The gradient has one direction everywhere: many steps from the sample end where one long one does.
        let many = Pgd { random_start: false, ..Pgd::new(norm, radii.clone(), 30) };
        let often = examples(LINEAR, &space, &Attack::Pgd(many), 1);
        assert!(found.iter().zip(&often).all(|(once, often)| fooled(once) == fooled(often)));
        for (radius, found) in radii.iter().zip(&found) {
            for (point, found) in x.chunks_exact(3).zip(found) {
                let distance = distance(point, length);
                assert!(
                    (distance - radius).abs() < 1e-4 || found.is_some() == (distance < *radius),
                    "{distance} {radius}"
                );
            }
        }
        assert!(fooled(&found[0]) < fooled(&found[3]) && fooled(&found[3]) > 5);
    }
}

#[test]
fn carlini_and_wagner_come_near_the_smallest_change() {
    let space = anywhere(&[3]);
    let (x, ..) = points(LINEAR, &space, 40);
    let cw = CarliniWagner { constants: vec![1.0], search: 6, steps: 300, ..CarliniWagner::default() };
    let found = examples(LINEAR, &space, &Attack::CarliniWagner(cw), 1);
    let length = W.map(|w| w * w).iter().sum::<f64>().sqrt();
    assert_eq!(fooled(&found[0]), 40);
    for (point, found) in x.chunks_exact(3).zip(&found[0]) {
        let (norm, least) = (found.as_ref().unwrap().norm, distance(point, length));
        assert!(norm >= least - 1e-6 && norm < 1.05 * least + 0.02, "{norm} {least}");
    }
}

#[test]
fn confidence_asks_for_a_lead() {
    let space = anywhere(&[3]);
    let cw = CarliniWagner { constants: vec![50.0], steps: 300, confidence: 0.5, ..CarliniWagner::default() };
    let found = examples(LINEAR, &space, &Attack::CarliniWagner(cw), 1);
    for example in found[0].iter().flatten() {
        // w·x + b changes its sign, and goes on by the confidence.
        assert!(distance(&example.point, 1.0) > 0.5 - 1e-5, "{example:?}");
    }
    assert_eq!(fooled(&found[0]), 40);
}

#[test]
fn changes_stay_within_radius_and_bounds() {
    let radii = vec![0.05, 0.1, 0.2, 0.3];
    for norm in [Norm::Linf, Norm::L2] {
        let pgd = Pgd { restarts: 2, ..Pgd::new(norm, radii.clone(), 12) };
        let found = examples(MLP, &pixels(), &Attack::Pgd(pgd), 1);
        let (x, ..) = points(MLP, &pixels(), 40);
        assert!(fooled(&found[3]) > 10);
        for (radius, found) in radii.iter().zip(&found) {
            for (origin, example) in x.chunks_exact(4).zip(found) {
                let Some(example) = example else { continue };
                let change = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).abs();
                let most = example.point.iter().zip(origin).map(change).fold(0.0, f64::max);
                let size = if norm == Norm::Linf { most } else { example.norm };
                assert!(size <= *radius, "{size} {radius}");
                assert!(example.point.iter().all(|x| (0.0..=1.0).contains(x)), "{example:?}");
            }
        }
    }
}

#[test]
fn many_steps_are_stronger_than_one_and_smaller_changes_need_a_search() {
    let radii = vec![0.1, 0.2, 0.4];
    let of = |pgd: Pgd| examples(MLP, &pixels(), &Attack::Pgd(pgd), 1);
    let (once, often) = (of(Pgd::fgsm(Norm::Linf, radii.clone())), of(Pgd::new(Norm::Linf, radii.clone(), 30)));
    assert!(once.iter().zip(&often).all(|(once, often)| fooled(often) >= fooled(once)));
    assert!(often.windows(2).all(|pair| fooled(&pair[0]) <= fooled(&pair[1])));
    let l2 = of(Pgd::new(Norm::L2, vec![0.5], 30));
    let cw = CarliniWagner { constants: vec![1.0], search: 6, steps: 300, ..CarliniWagner::default() };
    let cw = examples(MLP, &pixels(), &Attack::CarliniWagner(cw), 1);
    assert!(cw[0].iter().flatten().all(|example| example.point.iter().all(|x| (0.0..=1.0).contains(x))));
    let both: Vec<_> =
        l2[0].iter().zip(&cw[0]).filter_map(|(a, b)| Some((a.as_ref()?.norm, b.as_ref()?.norm))).collect();
    assert!(both.len() > 10 && fooled(&cw[0]) >= fooled(&l2[0]));
    let mean = |side: &dyn Fn(&(f64, f64)) -> f64| both.iter().map(side).sum::<f64>() / both.len() as f64;
    assert!(mean(&|pair| pair.1) < mean(&|pair| pair.0));
    assert!(both.iter().all(|(pgd, cw)| *cw < pgd + 1e-3), "{both:?}");
}

#[test]
fn what_is_found_depends_on_seed_and_sample_alone() {
    let pgd = || Attack::Pgd(Pgd::new(Norm::Linf, vec![0.1, 0.2], 10));
    let cw = || Attack::CarliniWagner(CarliniWagner { steps: 50, ..CarliniWagner::default() });
    for attack in [pgd(), cw()] {
        let whole = examples(MLP, &pixels(), &attack, 1);
        assert_eq!(whole, examples(MLP, &pixels(), &attack, 2));
        let (x, classes, indices) = points(MLP, &pixels(), 40);
        let mut parts = attacker(MLP, &pixels(), &attack, (7, 1));
        for (k, ((x, classes), indices)) in x.chunks(28).zip(classes.chunks(7)).zip(indices.chunks(7)).enumerate() {
            let found = parts.attack(&Points { x, classes, indices }).unwrap();
            for (part, whole) in found.examples.iter().zip(&whole) {
                assert_eq!(part[..], whole[7 * k..][..classes.len()]);
            }
        }
    }
    let other = |seed: u64| {
        let (model, space) = (model(MLP), pixels());
        let port = Port::of(&model).unwrap();
        let victim =
            Victim { model: &model, port: &port, space: &space, batch: 40, options: Options::default().threads(1) };
        let (x, classes, indices) = points(MLP, &space, 40);
        Attacker::new(&victim, &pgd(), seed)
            .unwrap()
            .attack(&Points { x: &x, classes: &classes, indices: &indices })
            .unwrap()
    };
    assert_ne!(other(5), other(6));
}

#[test]
fn what_cannot_be_attacked_is_said() {
    let pgd = Attack::Pgd(Pgd::fgsm(Norm::Linf, vec![0.1]));
    let refused = |text: &str, shape: &[usize]| {
        let model = model(text);
        let port = Port::of(&model).unwrap();
        let space = anywhere(shape);
        let victim =
            Victim { model: &model, port: &port, space: &space, batch: 4, options: Options::default().threads(1) };
        Attacker::new(&victim, &pgd, 0).err().map(|error| error.to_string()).unwrap()
    };
    let number = "in %x: f32[N, 2] const %w: f32[2, 1] = {1.0, 2.0} %y = MatMul(%x, %w) out %y";
    assert_eq!(refused(number, &[2]), "an attack is on classes, the model's result has the shape [4, 1]");
    let blocked = "in %x: f32[N, 2] const %s: f32[] = {0.1} const %w: f32[2, 2] = {1.0, 2.0, 3.0, 4.0}
        %q = QuantizeLinear(%x, %s) %d = DequantizeLinear(%q, %s) %y = MatMul(%d, %w) out %y";
    let message = refused(blocked, &[2]);
    assert!(message.contains("QuantizeLinear: ") && message.contains("DequantizeLinear: "), "{message}");
    let mut all = attacker(LINEAR, &Space { bounds: Some([0.0, 1.0]), ..anywhere(&[3]) }, &pgd, (4, 1));
    let outside = all.attack(&Points { x: &[0.5, 1.5, 0.0], classes: &[0], indices: &[0] }).unwrap_err().to_string();
    assert_eq!(outside, "a sample holds 1.5, which is not from 0 to 1");
    let unknown = all.attack(&Points { x: &[0.5, 0.5, 0.0], classes: &[2], indices: &[0] }).unwrap_err().to_string();
    assert_eq!(unknown, "the model knows 2 classes, a label is 2");
}
