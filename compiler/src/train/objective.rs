//! Losses as nodes: what a step of training makes smaller.

use crate::grad::Build;
use crate::ir::{Attr, NewNode, ValueId};

/// What is learned, and from whom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// What results are compared by.
    pub kind: Comparison,
    /// How much the labels count; 0 without labels.
    pub labels: f64,
    /// How much the teacher's results count; 0 without a teacher.
    pub teacher: f64,
    /// By how much logits are divided for the comparison with the teacher.
    pub temperature: f64,
    /// How much the teacher's values at the outputs of replaced blocks count.
    pub features: f64,
}

/// What results are compared by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Comparison {
    /// Logits with a class, −Σ t log softmax(z), mean over the batch, where t is 1 − smoothing for the class plus
    /// smoothing / classes; logits with a teacher's by Kullback–Leibler divergence.
    CrossEntropy {
        /// What is spread over all classes.
        smoothing: f64,
    },
    /// Numbers with numbers: the mean of the squared differences.
    Squared,
}

/// The values that a loss is made of.
#[derive(Clone, Debug)]
pub struct Sides {
    /// The model's result.
    pub result: ValueId,
    /// Classes `i64[N]`, or numbers of the result's shape.
    pub label: Option<ValueId>,
    /// The teacher's result.
    pub teacher: Option<ValueId>,
    /// Values of the model and of the teacher that are to agree.
    pub features: Vec<(ValueId, ValueId)>,
}

impl Objective {
    /// Labels alone.
    pub fn labels(kind: Comparison) -> Objective {
        Objective { kind, labels: 1.0, teacher: 0.0, temperature: 1.0, features: 0.0 }
    }

    /// Adds the loss, one number, to a graph.
    pub fn loss(&self, build: &mut Build<'_>, sides: &Sides) -> Result<ValueId, String> {
        let mut terms = Vec::new();
        if let Some(label) = sides.label.filter(|_| self.labels != 0.0) {
            let term = self.against_label(build, sides.result, label)?;
            terms.push((term, self.labels));
        }
        if let Some(teacher) = sides.teacher.filter(|_| self.teacher != 0.0) {
            let term = self.against_teacher(build, sides.result, teacher)?;
            terms.push((term, self.teacher));
        }
        for &(own, wanted) in sides.features.iter().filter(|_| self.features != 0.0) {
            let term = relative(build, own, wanted)?;
            terms.push((term, self.features / sides.features.len() as f64));
        }
        let weighted: Vec<ValueId> = terms
            .into_iter()
            .map(|(term, weight)| if weight == 1.0 { term } else { build.times(term, weight) })
            .collect();
        let sum = weighted.into_iter().reduce(|sum, term| build.add(sum, term));
        let loss = sum.ok_or("there is neither a label nor a teacher to learn from")?;
        build.finish()?;
        Ok(loss)
    }

    fn against_label(&self, build: &mut Build<'_>, result: ValueId, label: ValueId) -> Result<ValueId, String> {
        let Comparison::CrossEntropy { smoothing } = self.kind else { return squared(build, result, label) };
        let (logits, [rows, classes]) = matrix(build, result)?;
        let spread = smoothing / classes as f64;
        let values = build.numbers(result, &[2], &[spread, 1.0 - smoothing + spread]);
        let (label, depth) = (build.reshape(label, &[rows]), build.integer(classes as i64));
        let target = build.op("OneHot", &[label, depth, values]);
        let log = log_softmax(build, logits);
        Ok(cross_entropy(build, target, log, rows))
    }

    fn against_teacher(&self, build: &mut Build<'_>, result: ValueId, teacher: ValueId) -> Result<ValueId, String> {
        if self.kind == Comparison::Squared {
            return squared(build, result, teacher);
        }
        let (own, [rows, _]) = matrix(build, result)?;
        let (wanted, _) = matrix(build, teacher)?;
        let (own, wanted) = (build.times(own, 1.0 / self.temperature), build.times(wanted, 1.0 / self.temperature));
        let (own, wanted) = (log_softmax(build, own), log_softmax(build, wanted));
        let target = build.op("Exp", &[wanted]);
        let gap = build.sub(own, wanted);
        let divergence = cross_entropy(build, target, gap, rows);
        // Gradients by logits shrink with the square of the temperature.
        Ok(build.times(divergence, self.temperature * self.temperature))
    }
}

/// Logits as a matrix, a row an example.
fn matrix(build: &mut Build<'_>, logits: ValueId) -> Result<(ValueId, [usize; 2]), String> {
    let shape = build.shape(logits)?;
    let Some((&classes, lead)) = shape.split_last().filter(|(_, lead)| !lead.is_empty()) else {
        return Err(format!("logits of shape {shape:?} are no rows of classes"));
    };
    let sizes = [lead.iter().product(), classes];
    Ok((build.reshape(logits, &sizes), sizes))
}

fn log_softmax(build: &mut Build<'_>, logits: ValueId) -> ValueId {
    build.node(NewNode::new("LogSoftmax", [logits]).attr("axis", Attr::Int(-1)))
}

/// −Σ target · log / rows.
fn cross_entropy(build: &mut Build<'_>, target: ValueId, log: ValueId, rows: usize) -> ValueId {
    let product = build.mul(target, log);
    let sum = build.sum(product, &[0, 1], false);
    build.times(sum, -1.0 / rows.max(1) as f64)
}

/// The mean of the squared differences.
fn squared(build: &mut Build<'_>, a: ValueId, b: ValueId) -> Result<ValueId, String> {
    let shape = build.shape(a)?;
    let other = build.shape(b)?;
    if shape.iter().product::<usize>() != other.iter().product::<usize>() {
        return Err(format!("a result of shape {shape:?} is not comparable with {other:?}"));
    }
    let b = build.reshape(b, &shape);
    let gap = build.sub(a, b);
    let square = build.square(gap);
    let axes: Vec<usize> = (0..shape.len()).collect();
    Ok(build.mean(square, &axes, false))
}

/// The mean of the squared differences over the mean of the squares of what is wanted.
fn relative(build: &mut Build<'_>, own: ValueId, wanted: ValueId) -> Result<ValueId, String> {
    let gap = squared(build, own, wanted)?;
    let square = build.square(wanted);
    let axes: Vec<usize> = (0..build.rank(wanted)?).collect();
    let size = build.mean(square, &axes, false);
    let size = build.plus(size, 1e-12);
    Ok(build.div(gap, size))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hanc_runtime::{DType, Tensor};

    use super::*;
    use crate::execute::{Precision, execute};
    use crate::ir::{Dim, Graph};

    fn value(objective: &Objective, result: &[f64], label: Option<Tensor>, teacher: Option<&[f64]>) -> f64 {
        let mut graph = Graph::new("g", BTreeMap::from([(String::new(), 17)]));
        let dims = |n: usize| Some(vec![Dim::from(n / 3), Dim::from(3)]);
        let mut inputs = vec![("z".to_owned(), Tensor::from_f64(&[result.len() / 3, 3], result).unwrap())];
        let z = graph.add_input("z", Some(DType::F64), dims(result.len()));
        let label = label.map(|tensor| {
            let shape = tensor.shape().iter().map(|&n| Dim::from(n)).collect();
            let id = graph.add_input("t", Some(tensor.dtype()), Some(shape));
            inputs.push(("t".to_owned(), tensor));
            id
        });
        let teacher = teacher.map(|data| {
            inputs.push(("w".to_owned(), Tensor::from_f64(&[data.len() / 3, 3], data).unwrap()));
            graph.add_input("w", Some(DType::F64), dims(data.len()))
        });
        let sides = Sides { result: z, label, teacher, features: Vec::new() };
        let loss = objective.loss(&mut Build::new(&mut graph, "loss"), &sides).unwrap();
        graph.set_outputs(vec![loss]);
        execute(&graph, &inputs, &[], Precision::F64).unwrap()[0].1.to_f64().unwrap()[0]
    }

    const PLAIN: Objective = Objective {
        kind: Comparison::CrossEntropy { smoothing: 0.0 },
        labels: 1.0,
        teacher: 0.0,
        temperature: 1.0,
        features: 0.0,
    };

    #[test]
    fn cross_entropy_is_the_mean_of_minus_the_logarithm() {
        let label = Tensor::from_i64(&[2], &[0, 2]).unwrap();
        let z = [1.0, 0.0, 0.0, 0.0, 0.0, 2.0];
        let first = -(1f64.exp() / (1f64.exp() + 2.0)).ln();
        let second = -(2f64.exp() / (2f64.exp() + 2.0)).ln();
        assert!((value(&PLAIN, &z, Some(label.clone()), None) - (first + second) / 2.0).abs() < 1e-12);
        let smooth = Objective { kind: Comparison::CrossEntropy { smoothing: 0.3 }, ..PLAIN };
        let log = |z: &[f64], i: usize| z[i] - z.iter().map(|x| x.exp()).sum::<f64>().ln();
        let row = |z: &[f64], class: usize| {
            -(0..3).map(|i| log(z, i) * (0.1 + if i == class { 0.7 } else { 0.0 })).sum::<f64>()
        };
        let wanted = (row(&z[..3], 0) + row(&z[3..], 2)) / 2.0;
        assert!((value(&smooth, &z, Some(label), None) - wanted).abs() < 1e-12);
    }

    #[test]
    fn a_model_that_agrees_with_its_teacher_has_nothing_to_learn() {
        let taught = Objective { labels: 0.0, teacher: 1.0, temperature: 3.0, ..PLAIN };
        let z = [1.0, -2.0, 0.5];
        assert!(value(&taught, &z, None, Some(&z)).abs() < 1e-12);
        // Logits count up to a shift.
        assert!(value(&taught, &z, None, Some(&[2.0, -1.0, 1.5])).abs() < 1e-12);
        let share = |z: &[f64], i: usize| (z[i] / 3.0).exp() / z.iter().map(|x| (x / 3.0).exp()).sum::<f64>();
        let w = [0.0, 1.0, 0.0];
        let wanted: f64 = (0..3).map(|i| share(&w, i) * (share(&w, i) / share(&z, i)).ln()).sum::<f64>() * 9.0;
        assert!((value(&taught, &z, None, Some(&w)) - wanted).abs() < 1e-12);
    }

    #[test]
    fn numbers_are_compared_by_their_squared_differences() {
        let squared = Objective { kind: Comparison::Squared, ..PLAIN };
        let label = Tensor::from_f64(&[1, 3], &[0.0, 1.0, 2.0]).unwrap();
        assert!((value(&squared, &[1.0, 1.0, 0.0], Some(label), None) - 5.0 / 3.0).abs() < 1e-12);
    }
}
