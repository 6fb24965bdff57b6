//! How stacks of layers lie on a tensor.

use std::ops::Range;

use super::super::{Frame, Isa, Memory, Target};
use super::layers::{Layers, Spans};
use super::signs::Signs;
use super::{columns, rows};

/// Layers along one axis of a tensor [outer, n, inner].
#[derive(Clone)]
pub(super) struct Stack {
    pub layers: Range<usize>,
    pub outer: usize,
    pub n: usize,
    pub inner: usize,
}

impl Stack {
    /// The tiles that it is done in.
    pub fn tiles(&self) -> usize {
        if self.inner == 1 { rows::count(self.outer) } else { self.outer * columns::count(self.inner) }
    }

    /// The signs of sample number `sample`.
    pub fn signs(&self, memory: Memory, sample: usize) -> Signs {
        match self.inner {
            1 => Signs::new(memory, self.n, sample * self.outer),
            _ => Signs::new(memory, self.inner, sample * self.outer * self.n),
        }
    }
}

/// Stacks that follow each other, on each of `samples` parts of a tensor.
pub(super) struct Stacks {
    pub isa: Isa,
    pub spans: Spans,
    pub list: Vec<Stack>,
    pub samples: usize,
    /// Elements of a part.
    pub each: usize,
}

impl Stacks {
    /// Layers along `axes` of a shape, each with or without abs, whose numbers are `width` altogether; `None` where that
    /// does not fit, or there are no layers.
    pub fn new(isa: Isa, shape: &[usize], (axes, abs): (&[usize], &[i64]), width: usize) -> Option<Stacks> {
        let inside = axes.len() == abs.len() && axes.iter().all(|axis| *axis < shape.len());
        let first = *axes.iter().min().filter(|_| inside)?;
        if axes.iter().try_fold(0usize, |sum, axis| sum.checked_add(shape[*axis])) != Some(width) {
            return None;
        }
        let mut stacks: Vec<(usize, Range<usize>)> = Vec::new();
        for (i, axis) in axes.iter().enumerate() {
            match stacks.last_mut() {
                Some((last, range)) if last == axis => range.end = i + 1,
                _ => stacks.push((*axis, i..i + 1)),
            }
        }
        // One stack needs no parts: all of its tiles are alike.
        let first = if stacks.len() == 1 { 0 } else { first };
        let size = |range: &[usize]| range.iter().product::<usize>();
        let stack = |(axis, layers): (usize, Range<usize>)| Stack {
            layers,
            outer: size(&shape[first..axis]),
            n: shape[axis],
            inner: size(&shape[axis + 1..]),
        };
        let list = stacks.into_iter().map(stack).collect();
        let spans = Spans::new(isa, shape, axes, abs);
        Some(Stacks { isa, spans, list, samples: size(&shape[..first]), each: size(&shape[first..]) })
    }

    /// The layers of a stack, given the numbers of all.
    pub fn layers<'a>(&'a self, stack: &Stack, packed: &'a [f32]) -> Layers<'a> {
        Layers::new(&self.spans.list[stack.layers.clone()], packed)
    }

    /// Packs the numbers of all layers, which are operands `u` and `b`, in this memory.
    pub fn packed<'a>(&self, frame: &Frame<'_>, (u, b): (usize, usize), room: Target) -> &'a [f32] {
        // SAFETY: scratch memory of this run, which nobody else writes or reads.
        #[allow(unsafe_code)]
        let packed = unsafe { room.slice(0..self.spans.len) };
        self.spans.pack(frame.real(u), frame.opt(b), packed);
        packed
    }
}
