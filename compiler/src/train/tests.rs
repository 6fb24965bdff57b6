//! Steps of training on small models.

use hanc_runtime::View;

use super::objective::{Comparison, Objective};
use super::optimiser::{Optimiser, Rule};
use super::penalty::Orthogonality;
use super::{Settings, Trainer};
use crate::infer::infer;
use crate::ir::Graph;
use crate::ir::text::parse;

const MLP: &str = "in %x: f32[N, 2]
    const %w: f32[2, 3] = {0.5, -0.25, 0.75, 0.1, 0.6, -0.4} const %b: f32[3] = {0.0, 0.0, 0.0}
    const %v: f32[3, 2] = {0.3, -0.2, 0.5, 0.4, -0.6, 0.7} const %c: f32[2] = {0.1, -0.1}
    %h = MatMul(%x, %w) %g = Add(%h, %b) %r = Relu(%g) %k = MatMul(%r, %v) %y = Add(%k, %c) out %y";

fn model(text: &str) -> Graph {
    let mut graph = parse(&format!("graph \"g\"\nopset \"\" 17\n{text}")).unwrap();
    infer(&mut graph).unwrap();
    graph
}

fn settings(batch: usize) -> Settings {
    let sgd = Optimiser::of(Rule::Sgd { momentum: 0.0, nesterov: false }, 0.0);
    Settings::new(vec![("x".into(), vec![batch, 2])], Objective::labels(Comparison::Squared), sgd)
}

const X: [f32; 8] = [0.3, 0.8, -0.4, 0.9, 1.2, -0.7, 0.6, 0.1];
const T: [f32; 8] = [1.0, 0.0, 0.0, 1.0, 0.5, 0.5, 0.2, 0.9];

fn step(trainer: &mut Trainer, x: &[f32], t: &[f32], rate: f64) -> f64 {
    let shape = [x.len() / 2, 2];
    trainer.step(&[("x", View::f32(&shape, x))], Some(View::f32(&shape, t)), rate).unwrap().loss
}

fn state(trainer: &Trainer, name: &str) -> Vec<f32> {
    trainer.states().find(|state| state.name == name).unwrap().f32().unwrap().to_vec()
}

fn close(a: &[f32], b: &[f32]) {
    assert!(a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6), "{a:?} {b:?}");
}

#[test]
fn a_step_makes_the_loss_smaller() {
    let mut trainer = Trainer::new(&model(MLP), None, &settings(4)).unwrap();
    let losses: Vec<f64> = (0..20).map(|_| step(&mut trainer, &X, &T, 0.1)).collect();
    assert!(losses.windows(2).all(|pair| pair[1] < pair[0]), "{losses:?}");
    assert_eq!(trainer.network().count(), 6 + 3 + 6 + 2);
}

#[test]
fn what_was_learned_is_written_into_the_model() {
    let mut trainer = Trainer::new(&model(MLP), None, &settings(4)).unwrap();
    step(&mut trainer, &X, &T, 0.1);
    let learned = state(&trainer, "v");
    let graph = trainer.model();
    let written = graph.constant(graph.find("v").unwrap()).unwrap().reals().unwrap();
    close(&written.iter().map(|x| *x as f32).collect::<Vec<_>>(), &learned);
    assert_ne!(learned, [0.3, -0.2, 0.5, 0.4, -0.6, 0.7]);
}

#[test]
fn gradients_of_several_batches_make_one_step() {
    let mut whole = Trainer::new(&model(MLP), None, &settings(4)).unwrap();
    let mut parts = settings(2);
    parts.optimiser.accumulate = 2;
    let mut parts = Trainer::new(&model(MLP), None, &parts).unwrap();
    for _ in 0..3 {
        step(&mut whole, &X, &T, 0.1);
        step(&mut parts, &X[..4], &T[..4], 0.1);
        step(&mut parts, &X[4..], &T[4..], 0.1);
        close(&state(&whole, "w"), &state(&parts, "w"));
    }
    assert_eq!((whole.steps(), parts.steps()), (3, 3));
}

#[test]
fn clipped_gradients_have_the_norm_that_is_allowed() {
    let mut clipped = settings(4);
    clipped.optimiser.clip = Some(1e-3);
    let mut trainer = Trainer::new(&model(MLP), None, &clipped).unwrap();
    let before: Vec<f32> = ["w", "b", "v", "c"].iter().flat_map(|name| state(&trainer, name)).collect();
    step(&mut trainer, &X, &T, 1.0);
    let after: Vec<f32> = ["w", "b", "v", "c"].iter().flat_map(|name| state(&trainer, name)).collect();
    let moved: f32 = before.iter().zip(&after).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
    assert!((moved - 1e-3).abs() < 1e-5, "{moved}");
}

#[test]
fn averages_follow_and_are_what_is_written() {
    let mut averaged = settings(4);
    averaged.optimiser.average = Some(0.75);
    let mut trainer = Trainer::new(&model(MLP), None, &averaged).unwrap();
    let before = state(&trainer, "c");
    step(&mut trainer, &X, &T, 0.1);
    let (now, average) = (state(&trainer, "c"), state(&trainer, "c#average"));
    let wanted: Vec<f32> = before.iter().zip(&now).map(|(old, new)| 0.75 * old + 0.25 * new).collect();
    close(&average, &wanted);
    let graph = trainer.model();
    let written = graph.constant(graph.find("c").unwrap()).unwrap().reals().unwrap();
    close(&written.iter().map(|x| *x as f32).collect::<Vec<_>>(), &average);
}

/// A run that is evaluated more often ends in the same model.
#[test]
fn what_was_written_before_changes_nothing() {
    let mut often = Trainer::new(&model(MLP), None, &settings(4)).unwrap();
    let mut once = Trainer::new(&model(MLP), None, &settings(4)).unwrap();
    for _ in 0..30 {
        step(&mut often, &X, &T, 0.1);
        step(&mut once, &X, &T, 0.1);
        often.model();
    }
    let written = |trainer: &mut Trainer| {
        let graph = trainer.model();
        ["w", "b", "v", "c"].map(|name| graph.constant(graph.find(name).unwrap()).unwrap().reals().unwrap())
    };
    assert_eq!(written(&mut often), written(&mut once));
}

#[test]
fn a_student_that_is_its_teacher_stays_what_it_is() {
    let mut taught = settings(4);
    taught.objective = Objective { labels: 0.0, teacher: 1.0, features: 1.0, ..taught.objective };
    taught.features = vec!["r".into()];
    let mut trainer = Trainer::new(&model(MLP), Some(&model(MLP)), &taught).unwrap();
    let report = trainer.step(&[("x", View::f32(&[4, 2], &X))], None, 0.1).unwrap();
    assert_eq!((report.loss, report.norm), (0.0, 0.0));
    let other = MLP.replace("{0.1, -0.1}", "{0.2, 0.3}");
    let mut trainer = Trainer::new(&model(&other), Some(&model(MLP)), &taught).unwrap();
    let losses: Vec<f64> =
        (0..99).map(|_| trainer.step(&[("x", View::f32(&[4, 2], &X))], None, 0.2).unwrap().loss).collect();
    assert!(losses[98] < 0.05 * losses[0], "{losses:?}");
}

#[test]
fn frozen_parameters_stay() {
    let mut frozen = settings(4);
    let mut set = globset::GlobSetBuilder::new();
    set.add(globset::Glob::new("[wb]").unwrap());
    frozen.trained.freeze = set.build().unwrap();
    let mut trainer = Trainer::new(&model(MLP), None, &frozen).unwrap();
    assert_eq!(trainer.network().count(), 8);
    assert!(step(&mut trainer, &X, &T, 0.1) > step(&mut trainer, &X, &T, 0.1));
}

#[test]
fn merged_zeros_are_learned_apart_and_tied_weights_together() {
    let merged = "in %x: f32[N, 2] const %w: f32[2, 2] = {0.5, -0.25, 0.75, 0.1} const %b: f32[2] = {0.0, 0.0}
        %h = MatMul(%x, %w) %g = Add(%h, %b) %r = Tanh(%g) %k = MatMul(%r, %w) %y = Add(%k, %b) out %y";
    let mut trainer = Trainer::new(&model(merged), None, &settings(4)).unwrap();
    step(&mut trainer, &X, &T, 0.1);
    assert_ne!(state(&trainer, "b"), state(&trainer, "b~2"));
    let tied = "in %x: f32[N, 2] const %w: f32[2, 2] = {0.5, -0.25, 0.75, 0.1}
        %h = MatMul(%x, %w) %r = Tanh(%h) %y = MatMul(%r, %w) out %y";
    let mut trainer = Trainer::new(&model(tied), None, &settings(4)).unwrap();
    step(&mut trainer, &X, &T, 0.1);
    assert_eq!(trainer.network().parameters.len(), 1);
    assert_eq!(trainer.model().values().filter(|(_, v)| v.name.starts_with('w')).count(), 1);
}

#[test]
fn what_has_no_gradient_is_listed_before_anything_starts() {
    let text = "in %x: f32[N, 2] const %w: f32[2, 2] = {0.5, -0.25, 0.75, 0.1}
        %h = MatMul(%x, %w) %q = com.other.Secret(%h) %r = com.other.Secret(%q) %y = MatMul(%r, %w) out %y";
    let error = Trainer::new(&model(text), None, &settings(4)).map(drop).unwrap_err().to_string();
    assert!(error.contains("Secret") || error.contains("shape"), "{error}");
}

#[test]
fn what_is_not_finite_stops_the_run() {
    let mut trainer = Trainer::new(&model(MLP), None, &settings(4)).unwrap();
    let mut x = X;
    x[0] = f32::NAN;
    let shape = [4, 2];
    let error = trainer.step(&[("x", View::f32(&shape, &x))], Some(View::f32(&shape, &T)), 0.1).unwrap_err();
    assert_eq!(error.to_string(), "step 1: the loss, NaN, is not finite, first in x");
    let wide = MLP.replace("Relu(%g)", "Exp(%g)");
    let mut trainer = Trainer::new(&model(&wide), None, &settings(4)).unwrap();
    step(&mut trainer, &X, &T, 1e-3);
    let far = X.map(|x| x * 500.0);
    let error = trainer.step(&[("x", View::f32(&shape, &far))], Some(View::f32(&shape, &T)), 0.1).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("step 2: the loss, ") && message.contains(", first at node \"Exp:r\""), "{message}");
}

#[test]
fn threads_change_no_bit() {
    let run = |threads: usize| {
        let mut settings = settings(4);
        settings.threads = threads;
        let mut trainer = Trainer::new(&model(MLP), None, &settings).unwrap();
        for _ in 0..10 {
            step(&mut trainer, &X, &T, 0.1);
        }
        state(&trainer, "w")
    };
    assert_eq!(run(1), run(2));
}

/// A loss of the penalty alone: ‖wᵀw − 1‖² falls to 0, and rows of a wide matrix become orthonormal.
#[test]
fn penalised_matrices_become_orthogonal() {
    let mut penalised = settings(4);
    penalised.objective.labels = 1e-9;
    let parameters = globset::GlobSetBuilder::new().add(globset::Glob::new("[wv]").unwrap()).build().unwrap();
    penalised.orthogonality = Some(Orthogonality { weight: 0.5, parameters });
    let mut trainer = Trainer::new(&model(MLP), None, &penalised).unwrap();
    let w = [0.5, -0.25, 0.75, 0.1, 0.6, -0.4];
    let v = [0.3, -0.2, 0.5, 0.4, -0.6, 0.7];
    let dot = |m: &[f32], a: [usize; 3], b: [usize; 3]| (0..3).map(|k| m[a[k]] * m[b[k]]).sum::<f32>();
    let gap =
        |m: &[f32], a, b| (dot(m, a, a) - 1.0).powi(2) + (dot(m, b, b) - 1.0).powi(2) + 2.0 * dot(m, a, b).powi(2);
    let wanted = 0.5 * (gap(&w, [0, 1, 2], [3, 4, 5]) + gap(&v, [0, 2, 4], [1, 3, 5]));
    assert!((step(&mut trainer, &X, &T, 0.1) - f64::from(wanted)).abs() < 1e-5);
    for _ in 0..200 {
        step(&mut trainer, &X, &T, 0.1);
    }
    assert!(gap(&state(&trainer, "w"), [0, 1, 2], [3, 4, 5]) < 1e-6);
    assert!(gap(&state(&trainer, "v"), [0, 2, 4], [1, 3, 5]) < 1e-6);
}
