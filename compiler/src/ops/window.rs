//! Sliding windows as attributes describe them: kernel, strides, dilations and padding over the spatial axes.

use super::support::text;
use crate::infer::Infer;
use crate::ir::{Dim, Node, Shape};
use crate::lower::{Call, Lowering, list};

/// The attributes of a convolution or pool.
pub(crate) struct Sliding {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    padding: Padding,
    ceil: bool,
}

enum Padding {
    /// All begins, then all ends.
    Explicit(Vec<i64>),
    /// As much as makes the output as large as the input over the stride; the odd one at the end, or at the begin.
    Same { at_end: bool },
}

impl Sliding {
    /// Reads the attributes of a node with this kernel.
    pub fn new(node: &Node, kernel: Vec<i64>) -> Result<Sliding, String> {
        let rank = kernel.len();
        let positive = |name: &str| all(node, name, rank, 1, 1);
        let (strides, dilations) = (positive("strides")?, positive("dilations")?);
        if let Some(size) = kernel.iter().find(|size| **size < 1) {
            return Err(format!("the kernel {kernel:?} has a size of {size}"));
        }
        let padding = match text(node, "auto_pad", "NOTSET") {
            "NOTSET" | "" => Padding::Explicit(all(node, "pads", 2 * rank, 0, i64::MIN)?),
            "VALID" => Padding::Explicit(vec![0; 2 * rank]),
            "SAME_UPPER" => Padding::Same { at_end: true },
            "SAME_LOWER" => Padding::Same { at_end: false },
            other => return Err(format!("auto_pad {other} does not exist")),
        };
        Ok(Sliding { kernel, strides, dilations, padding, ceil: node.int("ceil_mode") == Some(1) })
    }

    /// The kernel's extent along spatial axis `i`, dilation counted.
    fn extent(&self, i: usize) -> i128 {
        (i128::from(self.kernel[i]) - 1) * i128::from(self.dilations[i]) + 1
    }

    /// Output sizes for these input sizes.
    pub fn outputs(&self, cx: &mut Infer<'_>, input: &[Dim]) -> Result<Shape, String> {
        input.iter().enumerate().map(|(i, dim)| Ok(self.output(i, dim)?.unwrap_or_else(|| cx.unknown()))).collect()
    }

    /// The output size along spatial axis `i`; `None` where it depends on a symbol in a way that sizes cannot say.
    fn output(&self, i: usize, input: &Dim) -> Result<Option<Dim>, String> {
        let stride = Dim::known(self.strides[i]);
        let Padding::Explicit(pads) = &self.padding else {
            let known = input.size().map(|n| Dim::known(n.saturating_add(self.strides[i] - 1) / self.strides[i]));
            return Ok(known.or_else(|| input.div(&stride)));
        };
        let room = i128::from(pads[i]) + i128::from(pads[self.kernel.len() + i]) - self.extent(i);
        match input.size() {
            Some(size) => self.count(i, size, i128::from(size) + room, pads[i]).map(Some),
            None if self.ceil => Ok(None),
            None => Ok(shift(input.div(&stride), room.div_euclid(i128::from(self.strides[i])) + 1)),
        }
    }

    /// The number of positions with this much room behind the first one.
    fn count(&self, i: usize, size: i64, room: i128, pad: i64) -> Result<Dim, String> {
        if room < 0 {
            let padded = room + self.extent(i);
            return Err(format!("a window of {} does not fit into a padded size of {padded}", self.extent(i)));
        }
        let stride = i128::from(self.strides[i]);
        let mut count = room / stride + 1;
        if self.ceil {
            count += i128::from(room % stride != 0);
            // A window that would begin behind the input is left out.
            count -= i128::from((count - 1) * stride >= i128::from(size) + i128::from(pad));
        }
        i64::try_from(count).map(Dim::known).map_err(|_| "the output is too large".to_owned())
    }

    /// The paddings for these input sizes, all begins, then all ends. `same` is the rule of `SAME_UPPER` and its kin.
    pub fn pads(&self, input: &[Dim]) -> Result<Vec<i64>, String> {
        let Padding::Same { at_end } = &self.padding else {
            let Padding::Explicit(pads) = &self.padding else { return Ok(Vec::new()) };
            return Ok(pads.clone());
        };
        let total = input.iter().enumerate().map(|(i, dim)| {
            let size = i128::from(dim.size().ok_or("padding to the same size needs a known size")?);
            let stride = i128::from(self.strides[i]);
            let count = (size + stride - 1) / stride;
            i64::try_from(((count - 1) * stride + self.extent(i) - size).max(0)).map_err(|e| e.to_string())
        });
        let total = total.collect::<Result<Vec<_>, String>>()?;
        Ok(split(&total, *at_end))
    }

    /// The kernel parameters for these spatial input sizes.
    pub fn call(&self, kernel: &'static str, input: &[Dim]) -> Result<Call, String> {
        Ok(self.parameters(kernel, self.pads(input)?))
    }

    fn parameters(&self, kernel: &'static str, pads: Vec<i64>) -> Call {
        let call = Call::new(kernel).with("strides", self.strides.clone());
        call.with("dilations", self.dilations.clone()).with("pads", list(pads))
    }

    /// Of a transposed convolution: output sizes and paddings along every axis, where the input sizes are known.
    pub fn transposed<'n>(&self, node: &'n Node, input: &[Dim]) -> Result<Vec<Option<(i64, i64)>>, String> {
        let extra = all(node, "output_padding", self.kernel.len(), 0, 0)?;
        // Some exporters list batch and channels as well.
        let spatial = |shape: &'n [i64]| shape.get(shape.len().saturating_sub(input.len())..).unwrap_or_default();
        let wanted = node.ints("output_shape").map(spatial);
        if wanted.is_some_and(|shape| shape.len() != input.len()) {
            return Err(format!("output_shape has to list {} sizes", input.len()));
        }
        let axis = |(i, dim): (usize, &Dim)| match dim.size() {
            None => Ok(None),
            Some(size) => self.stretch(i, size, extra[i], wanted.map(|shape| shape[i])).map(Some),
        };
        input.iter().enumerate().map(axis).collect()
    }

    /// Output size and total padding of a transposed convolution along axis `i`.
    fn stretch(&self, i: usize, size: i64, extra: i64, wanted: Option<i64>) -> Result<(i64, i64), String> {
        let stride = i128::from(self.strides[i]);
        let full = (i128::from(size) - 1) * stride + i128::from(extra) + self.extent(i);
        let output = match (wanted, &self.padding) {
            (Some(wanted), _) => i128::from(wanted),
            (None, Padding::Same { .. }) => i128::from(size) * stride,
            (None, Padding::Explicit(pads)) => full - i128::from(pads[i]) - i128::from(pads[self.kernel.len() + i]),
        };
        if output < 0 {
            return Err(format!("the output of spatial axis {i} would have a size of {output}"));
        }
        let narrow = |x: i128| i64::try_from(x).map_err(|_| "the output is too large".to_owned());
        Ok((narrow(output)?, narrow(full - output)?))
    }

    /// The kernel parameters of a transposed convolution.
    pub fn transposed_call(&self, cx: &Lowering<'_>, kernel: &'static str, input: &[Dim]) -> Result<Call, String> {
        Ok(self.parameters(kernel, self.transposed_pads(cx.node(), input)?))
    }

    /// The paddings of a transposed convolution for these input sizes, all begins, then all ends.
    pub fn transposed_pads(&self, node: &Node, input: &[Dim]) -> Result<Vec<i64>, String> {
        let explicit = match &self.padding {
            Padding::Explicit(pads) if node.ints("output_shape").is_none() => Some(pads.clone()),
            _ => None,
        };
        if let Some(pads) = explicit {
            return Ok(pads);
        }
        let known = self.transposed(node, input)?.into_iter().map(|axis| axis.map(|(_, total)| total));
        let total = known.collect::<Option<Vec<_>>>().ok_or("padding to an output size needs a known input size")?;
        Ok(split(&total, matches!(self.padding, Padding::Same { at_end: true })))
    }
}

/// Halves of each total, all begins, then all ends; the odd one goes to the end or to the begin. What is negative, an
/// output past the last window, goes to the end.
fn split(total: &[i64], at_end: bool) -> Vec<i64> {
    let begin = |total: i64| if at_end || total < 0 { total.max(0) / 2 } else { total - total / 2 };
    let begins = total.iter().map(|t| begin(*t));
    begins.chain(total.iter().map(|t| t - begin(*t))).collect()
}

/// A size plus a number.
fn shift(dim: Option<Dim>, by: i128) -> Option<Dim> {
    dim?.add(&Dim::known(i64::try_from(by).ok()?))
}

/// An attribute that is a list of `len` integers, each at least `least`.
fn all(node: &Node, name: &str, len: usize, default: i64, least: i64) -> Result<Vec<i64>, String> {
    let Some(list) = node.ints(name) else { return Ok(vec![default; len]) };
    if list.len() != len || list.iter().any(|x| *x < least) {
        return Err(format!(
            "{name} {list:?} does not fit {} spatial axes",
            if name == "pads" { len / 2 } else { len }
        ));
    }
    Ok(list.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Attr, Graph, NewNode};

    fn sliding(kernel: &[i64], attrs: &[(&str, Attr)]) -> Result<Sliding, String> {
        let mut graph = Graph::default();
        let new = attrs.iter().fold(NewNode::new("Conv", []), |new, (name, value)| new.attr(name, value.clone()));
        let (id, _) = graph.add_node(new, &["y"]);
        Sliding::new(graph.node(id), kernel.to_vec())
    }

    fn output(kernel: i64, attrs: &[(&str, Attr)], input: &str) -> Option<String> {
        let input = Dim::parse(input).unwrap();
        sliding(&[kernel], attrs).unwrap().output(0, &input).unwrap().map(|dim| dim.to_string())
    }

    fn ints(list: &[i64]) -> Attr {
        Attr::Ints(list.to_vec())
    }

    #[test]
    fn sizes_that_are_known() {
        assert_eq!(output(3, &[("pads", ints(&[1, 1])), ("strides", ints(&[2]))], "7").as_deref(), Some("4"));
        assert_eq!(output(3, &[("dilations", ints(&[2]))], "7").as_deref(), Some("3"));
        assert_eq!(
            output(3, &[("auto_pad", Attr::text("SAME_LOWER")), ("strides", ints(&[2]))], "7").as_deref(),
            Some("4")
        );
        assert_eq!(output(3, &[("strides", ints(&[2])), ("ceil_mode", Attr::Int(1))], "6").as_deref(), Some("3"));
        let past = [("strides", ints(&[3])), ("pads", ints(&[0, 1])), ("ceil_mode", Attr::Int(1))];
        assert_eq!(output(1, &past, "3").as_deref(), Some("1"));
    }

    #[test]
    fn sizes_with_a_symbol() {
        assert_eq!(output(3, &[("pads", ints(&[1, 1]))], "H").as_deref(), Some("H"));
        assert_eq!(output(3, &[("pads", ints(&[1, 1])), ("strides", ints(&[2]))], "32*H").as_deref(), Some("16*H"));
        assert_eq!(output(2, &[("strides", ints(&[2]))], "4*H").as_deref(), Some("2*H"));
        assert_eq!(output(3, &[("strides", ints(&[2]))], "H"), None);
        assert_eq!(output(3, &[], "H"), None);
    }

    #[test]
    fn what_cannot_be() {
        assert!(sliding(&[3], &[("strides", ints(&[0]))]).is_err());
        assert!(sliding(&[3], &[("pads", ints(&[1]))]).is_err());
        assert!(sliding(&[3, 3], &[("dilations", ints(&[1]))]).is_err());
        let small = sliding(&[5], &[]).unwrap().output(0, &Dim::known(3)).unwrap_err();
        assert_eq!(small, "a window of 5 does not fit into a padded size of 3");
        let huge = sliding(&[i64::MAX], &[("dilations", ints(&[i64::MAX]))]).unwrap();
        assert!(huge.output(0, &Dim::known(3)).is_err());
    }
}
