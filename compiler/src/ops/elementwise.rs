//! Element by element: one operand.

use crate::lower::Lower;
use crate::op::Op;

pub(super) static OPS: &[Op] = &[Op::new("Identity", Lower::Plain("copy.1")).since(&[1, 13, 14, 16, 19, 21, 23, 24])];
