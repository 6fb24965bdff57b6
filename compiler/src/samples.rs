//! Random inputs for a model.

use hanc_models::Stream;
use hanc_runtime::reference::decode;
use hanc_runtime::{DType, Tensor};

use crate::ir::{Dim, Graph, NodeId, ValueId};
use crate::tensors::Named;

/// What random inputs are made of.
#[derive(Clone, Debug)]
pub struct Samples {
    /// Seed.
    pub seed: u64,
    /// Size of a free first axis.
    pub batch: usize,
    /// Sizes of symbols, by name.
    pub sizes: Vec<(String, usize)>,
}

/// Values that an input may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Range {
    /// Standard normal numbers.
    Normal,
    /// Integers from the first up to and without the second, and why.
    Integers(i64, i64, String),
}

/// Elements of one random input.
const LIMIT: usize = 1 << 28;
/// Size of a free axis behind the first two of a picture.
const PICTURE: usize = 64;
/// Size of another free axis.
const SEQUENCE: usize = 8;

impl Samples {
    /// A random tensor for each input that `given` does not hold, with what its values are.
    pub fn draw(&self, graph: &Graph, given: &Named, sample: u64) -> Result<Vec<(String, Tensor, Range)>, String> {
        let open = graph.inputs().iter().filter(|id| !given.iter().any(|(name, _)| **name == *graph.value(**id).name));
        open.map(|id| self.input(graph, *id, sample)).collect()
    }

    fn input(&self, graph: &Graph, id: ValueId, sample: u64) -> Result<(String, Tensor, Range), String> {
        let value = graph.value(id);
        let dtype = value.dtype.ok_or_else(|| format!("the element type of input {} is not known", value.name))?;
        let shape = value.shape.as_ref().ok_or_else(|| format!("the rank of input {} is not known", value.name))?;
        let shape: Vec<_> = shape.iter().enumerate().map(|(axis, dim)| self.size(axis, shape.len(), dim)).collect();
        let count = hanc_runtime::tensor::elements(&shape).filter(|count| *count <= LIMIT);
        let count = count.ok_or_else(|| format!("input {} of {shape:?} is too large to be drawn", value.name))?;
        let range = range(graph, id, dtype);
        let bytes = self.fill(&format!("{}#{sample}", value.name), dtype, count, &range);
        let bytes = bytes.ok_or_else(|| format!("no values are drawn for input {} of type {dtype}", value.name))?;
        let tensor = Tensor::new(dtype, &shape, bytes).map_err(|e| e.to_string())?;
        Ok((value.name.to_string(), tensor, range))
    }

    fn size(&self, axis: usize, rank: usize, dim: &Dim) -> usize {
        let free = match (axis, rank) {
            (0, _) => self.batch,
            (2.., 4..) => PICTURE,
            _ => SEQUENCE,
        };
        let named = |name: &str| self.sizes.iter().find(|(other, _)| other == name).map(|(_, size)| *size);
        let size = dim.bind(|name| i64::try_from(named(name).unwrap_or(free)).ok());
        size.and_then(|size| usize::try_from(size).ok()).unwrap_or(free)
    }

    fn fill(&self, name: &str, dtype: DType, count: usize, range: &Range) -> Option<Vec<u8>> {
        let mut stream = Stream::new(self.seed, name);
        match range {
            Range::Normal => {
                let data: Vec<f64> = (0..count).map(|_| stream.normal()).collect();
                decode::encode_reals(dtype, &data)
            }
            Range::Integers(low, high, _) => {
                let span = (high - low) as f64;
                let draw = |stream: &mut Stream| low + ((stream.symmetric() + 1.0) / 2.0 * span) as i64;
                let data: Vec<i64> = (0..count).map(|_| draw(&mut stream)).collect();
                decode::encode_integers(dtype, &data)
            }
        }
    }
}

fn range(graph: &Graph, id: ValueId, dtype: DType) -> Range {
    if !dtype.is_int() {
        return Range::Normal;
    }
    match (indexed(graph, id, 0), dtype) {
        (Some((size, place)), _) => Range::Integers(0, size.max(1), format!("indices of {place}")),
        (None, DType::U8) => Range::Integers(0, 256, "bytes".into()),
        (None, _) => Range::Integers(0, 2, "zeros and ones".into()),
    }
}

/// The smallest axis that a value indexes, directly or behind operators that keep its elements, and the node.
fn indexed(graph: &Graph, id: ValueId, depth: usize) -> Option<(i64, String)> {
    let users = graph.users(id).iter().filter_map(|user| Some((*user, graph.get(*user)?)));
    let found = users.filter_map(|(user, node)| match &*node.op_type {
        "Gather" | "GatherElements" if node.input(1) == Some(id) => Some((gathered(graph, user)?, node.place(graph))),
        "Cast" | "Reshape" | "Unsqueeze" | "Squeeze" | "Identity" | "Flatten" | "Transpose" | "Slice" | "Expand"
            if depth < 16 && node.input(0) == Some(id) =>
        {
            indexed(graph, node.output(0)?, depth + 1)
        }
        _ => None,
    });
    found.min_by_key(|(size, _)| *size)
}

/// Size of the axis that a Gather indexes.
fn gathered(graph: &Graph, gather: NodeId) -> Option<i64> {
    let node = graph.get(gather)?;
    let shape = graph.value(node.input(0)?).shape.as_ref()?;
    let axis = node.int("axis").unwrap_or(0);
    let axis = if axis < 0 { axis.checked_add(shape.len() as i64)? } else { axis };
    shape.get(usize::try_from(axis).ok()?)?.size()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ir::{Constant, NewNode};

    fn graph() -> Graph {
        let mut g = Graph::new("g", BTreeMap::from([(String::new(), 17)]));
        let ids = g.add_input("ids", Some(DType::I64), Some(vec![Dim::symbol("N"), Dim::symbol("T")]));
        g.add_input("x", Some(DType::F32), Some(vec![Dim::symbol("N"), Dim::known(3)]));
        let table = g.add_constant("table", Constant::f32(&[5, 2], &[0.0; 10]));
        let ids = g.add(NewNode::new("Identity", [ids]));
        g.add(NewNode::new("Gather", [table, ids]).named("embed"));
        g
    }

    #[test]
    fn indices_stay_in_range_and_free_sizes_are_settled() {
        let samples = Samples { seed: 1, batch: 100, sizes: vec![("T".into(), 7)] };
        let drawn = samples.draw(&graph(), &Named::new(), 0).unwrap();
        let (name, ids, range) = &drawn[0];
        assert_eq!((name.as_str(), ids.shape()), ("ids", &[100, 7][..]));
        assert_eq!(*range, Range::Integers(0, 5, "indices of embed".into()));
        let values = ids.to_f64().unwrap();
        assert!((0..5).all(|i| values.contains(&f64::from(i))) && values.iter().all(|v| (0.0..5.0).contains(v)));
        assert_eq!((drawn[1].1.shape(), &drawn[1].2), (&[100, 3][..], &Range::Normal));
    }

    #[test]
    fn values_depend_on_seed_and_sample() {
        let draw = |seed, sample| {
            let samples = Samples { seed, batch: 2, sizes: Vec::new() };
            samples.draw(&graph(), &Named::new(), sample).unwrap()[1].1.clone()
        };
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(2, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
    }

    #[test]
    fn huge_inputs_are_not_drawn() {
        let samples = Samples { seed: 0, batch: usize::MAX, sizes: Vec::new() };
        assert!(samples.draw(&graph(), &Named::new(), 0).unwrap_err().contains("too large"));
    }
}
