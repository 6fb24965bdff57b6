//! What samples are labelled with.

/// The labels of a set, one a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Labels {
    /// None.
    None,
    /// A class each, from 0.
    Classes(Vec<i64>),
    /// A vector of `width` numbers each, one behind the other.
    Targets {
        /// Numbers of a sample.
        width: usize,
        /// All of them.
        data: Vec<f32>,
    },
}

impl Labels {
    /// Number of labelled samples; `None` where there are no labels.
    pub(crate) fn count(&self) -> Option<usize> {
        match self {
            Labels::None => None,
            Labels::Classes(classes) => Some(classes.len()),
            Labels::Targets { width, data } => Some(data.len().checked_div(*width).unwrap_or(0)),
        }
    }

    /// Class of a sample.
    pub fn class(&self, row: u32) -> Option<i64> {
        let Labels::Classes(classes) = self else { return None };
        classes.get(row as usize).copied()
    }

    /// Targets of a sample.
    pub fn target(&self, row: u32) -> Option<&[f32]> {
        let Labels::Targets { width, data } = self else { return None };
        let from = (row as usize).checked_mul(*width)?;
        data.get(from..from.checked_add(*width)?)
    }

    /// Both, one behind the other; `None` if they are of different kinds.
    pub(crate) fn joined(mut self, other: Labels) -> Option<Labels> {
        match (&mut self, other) {
            (Labels::None, Labels::None) => {}
            (Labels::Classes(all), Labels::Classes(more)) => all.extend(more),
            (Labels::Targets { width, data }, Labels::Targets { width: other, data: more }) if *width == other => {
                data.extend(more);
            }
            _ => return None,
        }
        Some(self)
    }
}
