//! One run: a model of the zoo learns from samples in memory, in one thread.

use globset::{Glob, GlobSetBuilder};
use hanc_runtime::{Options, View};

use super::samples::{Picker, Samples, Sampling};
use crate::error::Failure;
use crate::infer::infer;
use crate::ir::Graph;
use crate::onnx;
use crate::train::evaluate::{EvaluateError, Judge};
use crate::train::objective::{Comparison, Objective};
use crate::train::optimiser::{Optimiser, Rule};
use crate::train::penalty::Orthogonality;
use crate::train::{Settings, StepError, Trainer};

/// What a run may differ in from others of the same model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The rule of the optimiser.
    pub rule: Rule,
    /// The learning rate at first.
    pub rate: f64,
    /// Weight decay.
    pub decay: f64,
}

impl Choice {
    /// SGD with momentum 0.9.
    pub fn momentum(rate: f64) -> Choice {
        Choice { rule: Rule::Sgd { momentum: 0.9, nesterov: false }, rate, decay: 0.0 }
    }

    /// Adam.
    pub fn adam(rate: f64) -> Choice {
        let rule = Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decoupled: false };
        Choice { rule, rate, decay: 0.0 }
    }
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rule = if matches!(self.rule, Rule::Adam { .. }) { "adam" } else { "sgd" };
        write!(f, "{rule} {}", self.rate)?;
        if self.decay != 0.0 { write!(f, ", decay {}", self.decay) } else { Ok(()) }
    }
}

/// What the runs of an experiment have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Course {
    /// Samples of a step.
    pub batch: usize,
    /// Steps.
    pub steps: u64,
    /// Which samples a step takes.
    pub sampling: Sampling,
    /// Shares of the run at which the learning rate falls to a fifth.
    pub falls: &'static [f64],
    /// What ‖WᵀW − I‖² of the hidden layers counts in the loss.
    pub orthogonality: f64,
}

impl Course {
    /// The learning rate of a step, as a share of the first.
    fn factor(&self, step: u64) -> f64 {
        let passed = self.falls.iter().filter(|fall| (*fall * self.steps as f64).round() as u64 <= step).count();
        0.2f64.powi(passed as i32)
    }
}

/// A freshly drawn model of the zoo.
pub fn fresh(spec: &str) -> Result<Graph, Failure> {
    let file = hanc_models::build(spec).map_err(|e| Failure::at(format!("zoo:{spec}"), &e))?;
    let mut graph = onnx::import(&file).map_err(|e| Failure::at(format!("zoo:{spec}"), &e))?;
    infer(&mut graph).map_err(|e| Failure::at(format!("zoo:{spec}"), &e))?;
    Ok(graph)
}

/// What `model` becomes by learning from `set`; of the states at the ends of epochs the one with the least error on
/// `validation` where there are such samples. None where the run computed no finite number.
pub fn learn(
    model: &Graph,
    set: &Samples,
    validation: &Samples,
    course: &Course,
    choice: &Choice,
    seed: u64,
) -> Result<Option<Graph>, Failure> {
    let batch = course.batch.min(set.len());
    let mut trainer = Trainer::new(model, None, &settings(set, batch, course, choice)?).map_err(failed)?;
    let mut picker = Picker::new(course.sampling, set.len(), seed);
    let (mut x, mut y, mut best) = (Vec::new(), Vec::new(), None);
    let epoch = (set.len() / batch.max(1)).max(1) as u64;
    for step in 0..course.steps {
        set.gather(picker.next(batch), &mut x, &mut y);
        let (inputs, targets) = ([batch, set.inputs], [batch, set.outputs]);
        let rate = choice.rate * course.factor(step);
        match trainer.step(&[("input", View::f32(&inputs, &x))], Some(View::f32(&targets, &y)), rate) {
            Err(StepError::NotFinite { .. }) => return Ok(None),
            other => other.map_err(failed)?,
        };
        if !validation.is_empty() && ((step + 1) % epoch == 0 || step + 1 == course.steps) {
            keep_best(&mut best, trainer.model(), validation)?;
        }
    }
    Ok(Some(best.map_or_else(|| trainer.model().clone(), |(_, model)| model)))
}

fn keep_best(best: &mut Option<(f64, Graph)>, model: &Graph, validation: &Samples) -> Result<(), Failure> {
    let error = rmse(&results(model, validation)?, &validation.y);
    if best.as_ref().is_none_or(|(least, _)| error < *least) {
        *best = Some((error, model.clone()));
    }
    Ok(())
}

fn settings(set: &Samples, batch: usize, course: &Course, choice: &Choice) -> Result<Settings, Failure> {
    let hidden = Glob::new("hidden.*.weight").and_then(|glob| GlobSetBuilder::new().add(glob).build());
    let parameters = hidden.map_err(|e| Failure::new("E811", "hidden.*.weight", e.to_string()))?;
    let (shapes, optimiser) =
        (vec![("input".to_owned(), vec![batch, set.inputs])], Optimiser::of(choice.rule, choice.decay));
    let orthogonality = Orthogonality { weight: course.orthogonality, parameters };
    Ok(Settings {
        orthogonality: (course.orthogonality > 0.0).then_some(orthogonality),
        ..Settings::new(shapes, Objective::labels(Comparison::Squared), optimiser)
    })
}

fn failed(error: StepError) -> Failure {
    Failure::at("", &error)
}

/// What a model gives for samples, one row behind the other.
pub fn results(model: &Graph, set: &Samples) -> Result<Vec<f32>, Failure> {
    const ROWS: usize = 1024;
    let fail = |error: EvaluateError| Failure::at("", &error);
    let mut judge = Judge::new(model, &[set.inputs], None, Options::default().threads(1)).map_err(fail)?;
    let mut all = Vec::new();
    for x in set.x.chunks(ROWS * set.inputs.max(1)) {
        let (found, _) = judge.results(x, x.len() / set.inputs.max(1)).map_err(fail)?;
        all.extend_from_slice(found);
    }
    Ok(all)
}

/// The root of the mean of the squared differences.
pub fn rmse(found: &[f32], wanted: &[f32]) -> f64 {
    let square: f64 = found.iter().zip(wanted).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    (square / wanted.len().max(1) as f64).sqrt()
}

/// The share of rows whose mean is on the same side of 1/2 as their target's, in percent; NaN where a number is none.
pub fn accuracy(found: &[f32], wanted: &[f32], outputs: usize) -> f64 {
    if found.iter().any(|x| !x.is_finite()) {
        return f64::NAN;
    }
    let black = |row: &[f32]| row.iter().sum::<f32>() > 0.5 * row.len() as f32;
    let rows = || found.chunks_exact(outputs).zip(wanted.chunks_exact(outputs));
    let right = rows().filter(|(found, wanted)| black(found) == black(wanted)).count();
    100.0 * right as f64 / rows().len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_those_of_their_formulas() {
        assert_eq!(rmse(&[1.0, 3.0], &[1.0, 1.0]), 2f64.sqrt());
        assert_eq!(accuracy(&[0.9, 0.3, 0.1, 0.2], &[1.0, 1.0, 1.0, 1.0], 2), 50.0);
        assert!(accuracy(&[f32::NAN, 0.0], &[0.0, 0.0], 2).is_nan());
    }

    #[test]
    fn the_rate_falls_where_the_course_says() {
        let course = Course { batch: 1, steps: 10, sampling: Sampling::Draw, falls: &[0.5, 0.9], orthogonality: 0.0 };
        let found = [0, 4, 5, 8, 9].map(|step| course.factor(step));
        assert!(found.iter().zip([1.0, 1.0, 0.2, 0.2, 0.04]).all(|(a, b): (&f64, f64)| (a - b).abs() < 1e-12));
    }

    #[test]
    fn a_run_that_diverges_is_no_error() {
        let set = Samples { x: vec![1.0, 2.0, -1.0, 0.5], y: vec![1.0, 0.0], inputs: 2, outputs: 1 };
        let course = Course { batch: 2, steps: 200, sampling: Sampling::Draw, falls: &[], orthogonality: 0.0 };
        let model = fresh("fcnet,in=2,out=1,width=4,depth=2,activation=abs").unwrap();
        let run = |rate| learn(&model, &set, &Samples::default(), &course, &Choice::momentum(rate), 0).unwrap();
        assert!(run(1e6).is_none());
        let learned = results(&run(0.02).unwrap(), &set).unwrap();
        assert!(rmse(&learned, &set.y) < rmse(&results(&model, &set).unwrap(), &set.y));
    }

    /// Channels i and i + 2 of four are a pair; of ten, i, i + 2, … i + 8 are a group.
    #[test]
    fn sorting_activations_sort_their_groups() {
        for (name, size, width) in [("maxmin", 2, 4), ("groupsort", 5, 10)] {
            let text = format!("fcnet,in=3,out=1,width={width},depth=1,activation={name}");
            let mut sorted = fresh(&text).unwrap();
            let (z, head) = (first(&sorted, "Gemm"), first(&sorted, "Concat"));
            sorted.set_outputs(vec![z, head]);
            let x = hanc_runtime::Tensor::from_f32(&[2, 3], &[0.3, -1.0, 2.0, 0.1, 0.7, -0.4]).unwrap();
            let inputs = vec![("input".to_owned(), x)];
            let found = crate::execute::execute(&sorted, &inputs, &[], crate::execute::Precision::F32).unwrap();
            let [z, y] = [0, 1].map(|i| found[i].1.to_f64().unwrap());
            let groups = width / size;
            for (z, y) in z.chunks(width).zip(y.chunks(width)) {
                for group in 0..groups {
                    let mut wanted: Vec<f64> = (0..size).map(|i| z[group + i * groups]).collect();
                    wanted.sort_by(f64::total_cmp);
                    assert_eq!((0..size).map(|i| y[group + i * groups]).collect::<Vec<_>>(), wanted, "{name}");
                }
            }
        }
    }

    fn first(graph: &Graph, op: &str) -> crate::ir::ValueId {
        let node = graph.nodes().find(|(_, node)| node.is(op)).unwrap();
        node.1.outputs[0].unwrap()
    }
}
