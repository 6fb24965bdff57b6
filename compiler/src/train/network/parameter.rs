//! What is trained, and where in the model it stands.

use std::ops::Range;

use hanc_runtime::DType;

use crate::ir::{Constant, Graph, NewNode, ValueId};
use crate::optimise::han::{Made, Numbers};

/// A tensor that is trained.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name: the initializer's; of a stack of Han layers the first layer's.
    pub name: String,
    /// The input of the graph.
    pub value: ValueId,
    /// What it is.
    pub kind: Kind,
    /// What it is at first, in single precision.
    pub initial: Constant,
    /// Where in the model its numbers stand.
    pub parts: Vec<Part>,
    /// Numbers that stay as they are: stretches of biases that the model does not have.
    pub fixed: Vec<Range<usize>>,
}

/// What a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A weight, bias, scale or shift.
    Weight,
    /// The vectors of reflections.
    Reflection,
}

/// A stretch of a parameter and where it stands.
#[derive(Clone, Debug)]
pub struct Part {
    /// The numbers.
    pub range: Range<usize>,
    /// The initializer's name.
    pub name: String,
    /// Constants of the model that are these numbers times a factor.
    pub places: Vec<(ValueId, f64)>,
    /// Whether only the direction counts: the length of each constant stays what it was.
    pub direction: bool,
}

/// A running statistic of a batch norm.
#[derive(Clone, Debug)]
pub struct Statistic {
    /// Its name: the initializer's.
    pub name: String,
    /// The input of the graph.
    pub value: ValueId,
    /// The statistic of the batch.
    pub batch: ValueId,
    /// What the statistic of the batch counts in the running one.
    pub weight: f64,
    /// What the statistic of the batch is multiplied by first.
    pub factor: f64,
    /// What it is at first.
    pub initial: Constant,
    /// The constant of the model.
    pub place: ValueId,
}

/// The parameter of a constant.
pub(super) fn leaf(graph: &mut Graph, value: ValueId, constant: &Constant) -> Option<Parameter> {
    let name = graph.value(value).name.to_string();
    let initial = single(constant)?;
    let range = 0..constant.len();
    let parts = vec![Part { range, name: name.clone(), places: vec![(value, 1.0)], direction: false }];
    let value = input(graph, value, &name, constant);
    Some(Parameter { name, value, kind: Kind::Weight, initial, parts, fixed: Vec::new() })
}

/// The value that is to be the input. One of another type is a single precision one behind a Cast.
fn input(graph: &mut Graph, value: ValueId, name: &str, constant: &Constant) -> ValueId {
    if constant.dtype == DType::F32 {
        return value;
    }
    let shape = constant.shape.iter().map(|&n| crate::ir::Dim::from(n)).collect();
    let wide = graph.add_given(&format!("{name}/f32"), Some(DType::F32), Some(shape));
    let zero = Constant::of_reals(constant.dtype, &[], &[0.0]);
    if let Some(zero) = zero {
        let like = graph.add_constant("", zero);
        graph.redefine(value, NewNode::new("CastLike", [wide, like]).opset(15));
    }
    wide
}

fn single(constant: &Constant) -> Option<Constant> {
    if constant.dtype == DType::F32 {
        return Some(Constant { origin: None, ..constant.clone() });
    }
    Constant::of_reals(DType::F32, &constant.shape, &constant.reals()?)
}

/// The vectors of a stack; `before` is the graph that its layers were gathered from.
pub(super) fn vectors(graph: &mut Graph, before: &Graph, made: &Made) -> Option<Parameter> {
    let mut numbers = graph.constant(made.u)?.reals()?;
    let mut parts = Vec::new();
    for (range, layer) in ranges(&made.layers) {
        let direction = numbers[range.clone()].to_vec();
        let places = layer.vectors.iter().flat_map(|vector| sources(before, *vector, &direction));
        let mut places: Vec<(ValueId, f64)> = places.collect();
        places.dedup_by_key(|place| place.0);
        // The numbers are those of the first constant, whatever its length.
        if let Some(&(first, factor)) = places.first() {
            numbers[range.clone()].copy_from_slice(&before.literal(first)?.reals()?);
            places.iter_mut().for_each(|place| place.1 /= factor);
        }
        let name = places.first().map_or(String::new(), |place| before.value(place.0).name.to_string());
        parts.push(Part { range, name, places, direction: true });
    }
    parameter(graph, made.u, &numbers, parts, Kind::Reflection)
}

/// The biases of a stack.
pub(super) fn biases(graph: &mut Graph, before: &Graph, made: &Made) -> Option<Parameter> {
    let numbers = graph.constant(made.b)?.reals()?;
    let mut parts = Vec::new();
    for (range, layer) in ranges(&made.layers) {
        let own = &numbers[range.clone()];
        let places: Vec<_> = layer.shift.iter().flat_map(|shift| signed(before, *shift, own)).collect();
        let name = places.first().map_or(String::new(), |place| before.value(place.0).name.to_string());
        parts.push(Part { range, name, places, direction: false });
    }
    parameter(graph, made.b, &numbers, parts, Kind::Weight)
}

fn ranges(layers: &[Numbers]) -> impl Iterator<Item = (Range<usize>, &Numbers)> {
    layers.iter().scan(0, |start, layer| {
        let range = *start..*start + layer.width;
        *start = range.end;
        Some((range, layer))
    })
}

fn parameter(graph: &mut Graph, value: ValueId, numbers: &[f64], parts: Vec<Part>, kind: Kind) -> Option<Parameter> {
    let named = parts.iter().find(|part| !part.places.is_empty())?;
    let name = match parts.len() {
        1 => named.name.clone(),
        count => format!("{}+{}", named.name, count - 1),
    };
    let fixed = parts.iter().filter(|part| part.places.is_empty()).map(|part| part.range.clone()).collect();
    let initial = Constant::of_reals(DType::F32, &[numbers.len()], numbers)?;
    let constant = graph.constant(value)?.clone();
    let taken = graph.find(&name).is_some();
    let own = graph.add_constant(if taken { "" } else { &name }, constant.clone());
    graph.replace_uses(value, own);
    let value = input(graph, own, &name, &constant);
    let name = graph.value(value).name.to_string();
    Some(Parameter { name, value, kind, initial, parts, fixed })
}

/// The constants that a value is computed from and that are multiples of a vector, with the factors.
fn sources(graph: &Graph, value: ValueId, vector: &[f64]) -> Vec<(ValueId, f64)> {
    let square: f64 = vector.iter().map(|v| v * v).sum();
    let multiple = |data: &[f64]| {
        let factor = data.iter().zip(vector).map(|(d, v)| d * v).sum::<f64>() / square;
        let gap: f64 = data.iter().zip(vector).map(|(d, v)| (d - factor * v).powi(2)).sum();
        (factor.is_finite() && factor != 0.0 && gap <= 1e-8 * factor * factor * square).then_some(factor)
    };
    constants(graph, value, vector.len()).into_iter().filter_map(|(id, data)| Some((id, multiple(&data)?))).collect()
}

/// The constant that a value is computed from and that is a bias or its negative, with the sign.
fn signed(graph: &Graph, value: ValueId, bias: &[f64]) -> Option<(ValueId, f64)> {
    let same = |data: &[f64], sign: f64| data.iter().zip(bias).all(|(d, b)| (d * sign - b).abs() <= 1e-6 * b.abs());
    let mut found = constants(graph, value, bias.len()).into_iter();
    found.find_map(|(id, data)| [1.0, -1.0].into_iter().find(|sign| same(&data, *sign)).map(|sign| (id, sign)))
}

/// Constants of so many elements that a value is computed from.
fn constants(graph: &Graph, value: ValueId, width: usize) -> Vec<(ValueId, Vec<f64>)> {
    let (mut open, mut seen, mut found) = (vec![value], Vec::new(), Vec::new());
    while let Some(id) = open.pop() {
        if seen.contains(&id) || seen.len() > 64 {
            continue;
        }
        seen.push(id);
        match graph.literal(id).filter(|_| graph.constant(id).is_some() || is_constant_node(graph, id)) {
            Some(constant) if constant.len() == width && constant.dtype.is_real() => {
                found.extend(constant.reals().map(|data| (id, data)));
            }
            Some(_) => (),
            None => {
                let producer = graph.producer(id).map(|(node, _)| graph.node(node));
                open.extend(producer.into_iter().flat_map(|node| node.inputs.iter().flatten().copied()));
            }
        }
    }
    found
}

fn is_constant_node(graph: &Graph, id: ValueId) -> bool {
    graph.producer(id).is_some_and(|(node, _)| graph.node(node).is("Constant"))
}

impl Parameter {
    /// Writes the numbers into the model. What was written before changes nothing.
    pub fn write(&self, model: &mut Graph, data: &[f32]) {
        let initial = self.initial.reals().unwrap_or_default();
        for part in &self.parts {
            let (Some(own), Some(first)) = (data.get(part.range.clone()), initial.get(part.range.clone())) else {
                continue;
            };
            let own: Vec<f64> = own.iter().map(|x| f64::from(*x)).collect();
            let scale = Some(length(first) / length(&own)).filter(|scale| part.direction && scale.is_finite());
            for &(place, factor) in &part.places {
                let numbers: Vec<f64> = own.iter().map(|x| x * factor * scale.unwrap_or(1.0)).collect();
                put(model, place, &numbers);
            }
        }
    }

    /// 1 for numbers that are trained, 0 for those that stay; none where all are trained.
    pub fn mask(&self) -> Option<Vec<f64>> {
        let mut mask = vec![1.0; self.initial.len()];
        self.fixed.iter().for_each(|range| mask[range.clone()].fill(0.0));
        (!self.fixed.is_empty()).then_some(mask)
    }
}

fn length(vector: &[f64]) -> f64 {
    vector.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Writes numbers into a constant of the model, in its type.
pub(super) fn put<T: Copy + Into<f64>>(model: &mut Graph, place: ValueId, data: &[T]) {
    let Some(old) = model.literal(place) else { return };
    let numbers: Vec<f64> = data.iter().map(|x| (*x).into()).collect();
    let Some(new) = Constant::of_reals(old.dtype, &old.shape, &numbers).filter(|new| new.len() == numbers.len()) else {
        return;
    };
    let maker = model.producer(place).map(|(node, _)| node);
    model.redefine_constant(place, new);
    if let Some(node) = maker {
        model.remove_node(node);
    }
}
