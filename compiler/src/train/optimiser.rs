//! Optimisers as nodes: what the parameters become in a step.

use super::network::{Kind, Parameter};
use crate::grad::Build;
use crate::ir::{Attr, Constant, NewNode, ValueId};
use crate::lower::Kept;
use crate::op::HAN_DOMAIN;
use hanc_runtime::DType;

/// The input `f32[3]` of a step: the learning rate, the number of the step from 1, whether parameters change.
pub const HYPER: &str = "hanc.hyper";
/// The input `f32[1]` of a step where gradients of several batches are averaged: whether this is the first of them.
pub const FRESH: &str = "hanc.fresh";

/// How parameters change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimiser {
    /// The rule.
    pub rule: Rule,
    /// Weights, biases, scales and shifts.
    pub weights: Group,
    /// Vectors of reflections.
    pub reflections: Group,
    /// The norm of all gradients together that is not to be passed.
    pub clip: Option<f64>,
    /// Batches whose gradients are averaged for one step.
    pub accumulate: usize,
    /// What an average of the parameters keeps of itself in a step.
    pub average: Option<f64>,
}

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Rule {
    /// m = momentum m + g; p = p − rate m, or p − rate (g + momentum m) of Nesterov's.
    Sgd { momentum: f64, nesterov: bool },
    /// Adam; weight decay is added to the gradient, or (`decoupled`, AdamW) taken from the parameter.
    Adam { beta1: f64, beta2: f64, epsilon: f64, decoupled: bool },
}

/// What parameters of a kind have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// What the learning rate is multiplied by.
    pub rate: f64,
    /// Weight decay.
    pub decay: f64,
}

/// What a step gets from outside, and the nodes that all parameters share.
pub struct Control {
    /// `f32[3]`: the learning rate, the number of the step from 1, whether parameters change.
    pub hyper: ValueId,
    /// The sum of the squares of each gradient.
    pub squares: ValueId,
    /// What gradients are multiplied by.
    scale: Option<ValueId>,
}

impl Optimiser {
    /// A rule alone: one learning rate and decay for all, a step a batch, gradients as they are.
    pub fn of(rule: Rule, decay: f64) -> Optimiser {
        let group = Group { rate: 1.0, decay };
        Optimiser { rule, weights: group, reflections: group, clip: None, accumulate: 1, average: None }
    }

    /// Adds the steps of all parameters, given their gradients, to a graph. Nothing changes where the loss is not finite.
    pub fn steps(
        &self,
        build: &mut Build<'_>,
        loss: ValueId,
        parameters: &[Parameter],
        gradients: &[ValueId],
    ) -> Result<(Control, Vec<Kept>), String> {
        let (hyper, zero) = (input(build, HYPER, 3), build.times(loss, 0.0));
        let hyper = build.op("Add", &[hyper, zero]);
        let fresh = (self.accumulate > 1).then(|| input(build, FRESH, 1));
        let mut kept = Vec::new();
        let gradients: Vec<ValueId> =
            parameters.iter().zip(gradients).map(|(p, g)| self.gathered(build, p, *g, fresh, &mut kept)).collect();
        let squares = build.own("SumSquares", &gradients);
        let scale = self.scale(build, squares);
        let control = Control { hyper, squares, scale };
        for (parameter, gradient) in parameters.iter().zip(gradients) {
            self.step(build, parameter, gradient, &control, &mut kept);
        }
        build.finish()?;
        Ok((control, kept))
    }

    /// The gradient of numbers that are trained, summed over batches where there are several to a step.
    fn gathered(
        &self,
        build: &mut Build<'_>,
        parameter: &Parameter,
        mut gradient: ValueId,
        fresh: Option<ValueId>,
        kept: &mut Vec<Kept>,
    ) -> ValueId {
        if let Some(mask) = parameter.mask() {
            let mask = build.numbers(parameter.value, &parameter.initial.shape, &mask);
            gradient = build.mul(gradient, mask);
        }
        let Some(fresh) = fresh else { return gradient };
        let sum = moment(build, parameter, "sum");
        let new = build.own("Accumulate", &[sum, gradient, fresh]);
        kept.push(keep(parameter, sum, new));
        new
    }

    /// 1 / batches, less where that is needed to keep the norm below its bound.
    fn scale(&self, build: &mut Build<'_>, squares: ValueId) -> Option<ValueId> {
        let share = 1.0 / self.accumulate.max(1) as f64;
        let Some(clip) = self.clip else {
            return (share != 1.0).then(|| build.numbers(squares, &[1], &[share]));
        };
        let sum = build.sum(squares, &[0], true);
        let norm = build.op("Sqrt", &[sum]);
        let norm = build.times(norm, share);
        let norm = build.plus(norm, 1e-6);
        let bound = build.numbers(squares, &[1], &[clip]);
        let ratio = build.div(bound, norm);
        let one = build.numbers(squares, &[1], &[1.0]);
        let factor = build.op("Min", &[ratio, one]);
        Some(build.times(factor, share))
    }

    fn step(
        &self,
        build: &mut Build<'_>,
        parameter: &Parameter,
        gradient: ValueId,
        control: &Control,
        kept: &mut Vec<Kept>,
    ) {
        let (names, new): (&[&str], _) = match self.rule {
            Rule::Sgd { .. } => (&["momentum"], "SgdStep"),
            Rule::Adam { .. } => (&["mean", "square"], "AdamStep"),
        };
        let moments: Vec<ValueId> = names.iter().map(|name| moment(build, parameter, name)).collect();
        let old: Vec<ValueId> = std::iter::once(parameter.value).chain(moments).collect();
        let operands = old.iter().copied().chain([gradient, control.hyper]).chain(control.scale);
        let node = self.attributes(NewNode::new(new, operands).domain(HAN_DOMAIN), parameter.kind);
        let becomes = build.nodes(node, old.len());
        if let Some(average) = self.average {
            self.follow(build, parameter, becomes[0], average, control, kept);
        }
        let states = old.into_iter().zip(becomes).enumerate();
        kept.extend(states.map(|(i, (value, becomes))| match i {
            0 => Kept { value, becomes: Some(becomes), initial: parameter.initial.clone() },
            _ => keep(parameter, value, becomes),
        }));
    }

    fn attributes(&self, node: NewNode, kind: Kind) -> NewNode {
        let group = match kind {
            Kind::Weight => self.weights,
            Kind::Reflection => self.reflections,
        };
        let float = |x: f64| Attr::Float(x as f32);
        let node = node.attr("weight_decay", float(group.decay)).attr("rate_factor", float(group.rate));
        match self.rule {
            Rule::Sgd { momentum, nesterov } => {
                node.attr("momentum", float(momentum)).attr("nesterov", Attr::Int(i64::from(nesterov)))
            }
            Rule::Adam { beta1, beta2, epsilon, decoupled } => node
                .attr("beta1", float(beta1))
                .attr("beta2", float(beta2))
                .attr("epsilon", float(epsilon))
                .attr("decoupled", Attr::Int(i64::from(decoupled))),
        }
    }

    /// An average that follows the parameter.
    fn follow(
        &self,
        build: &mut Build<'_>,
        parameter: &Parameter,
        new: ValueId,
        average: f64,
        control: &Control,
        kept: &mut Vec<Kept>,
    ) {
        let old = moment(build, parameter, "average");
        let node = NewNode::new("Blend", [old, new, control.hyper]).domain(HAN_DOMAIN);
        let becomes = build.node(node.attr("weight", Attr::Float((1.0 - average) as f32)));
        kept.push(Kept { value: old, becomes: Some(becomes), initial: parameter.initial.clone() });
    }
}

/// An input of single precision numbers.
fn input(build: &mut Build<'_>, name: &str, count: usize) -> ValueId {
    build.graph.add_input(name, Some(DType::F32), Some(vec![crate::ir::Dim::from(count)]))
}

/// An input like a parameter, for what the optimiser remembers of it.
fn moment(build: &mut Build<'_>, parameter: &Parameter, what: &str) -> ValueId {
    let shape = parameter.initial.shape.iter().map(|&n| crate::ir::Dim::from(n)).collect();
    build.graph.add_input(&state_name(&parameter.name, what), Some(DType::F32), Some(shape))
}

/// The name of what the optimiser remembers of a parameter: `momentum`, `mean`, `square`, `sum`, `average`.
pub fn state_name(parameter: &str, what: &str) -> String {
    format!("{parameter}#{what}")
}

/// What the optimiser remembers is 0 at first.
fn keep(parameter: &Parameter, value: ValueId, becomes: ValueId) -> Kept {
    let initial = Constant::f32(&parameter.initial.shape, &vec![0.0; parameter.initial.len()]);
    Kept { value, becomes: Some(becomes), initial }
}
