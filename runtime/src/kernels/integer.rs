//! Element by element: integers and truth values, one operand.

use super::{rows, unary::integers};
use crate::kernel::Kernel;

pub(super) static KERNELS: &[Kernel] = rows! {
    "not.1", "y = 1 where x is 0, else 0", integers, |x| i64::from(x == 0);
    "bitnot.1", "y = x with every bit of its type flipped", integers, |x: i64| !x;
};

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, ints};
    use crate::dtype::DType;

    #[test]
    fn bits_flip_within_the_type() {
        let case = |t| Case::new("bitnot.1").int(t, &[2], &[0, 5]).result(t, &[2]);
        assert_eq!(ints(&case(DType::I32)), [-1, -6]);
        assert_eq!(ints(&case(DType::U8)), [255, 250]);
        let not = Case::new("not.1").int(DType::Bool, &[2], &[0, 1]).result(DType::Bool, &[2]);
        assert_eq!(ints(&not), [1, 0]);
    }
}
