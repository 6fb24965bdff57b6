//! The search for the longest beginning of a ranking that passes.

/// How many tries it takes to tell `count + 1` outcomes apart.
fn tries(open: usize) -> u32 {
    usize::BITS - open.leading_zeros()
}

/// The largest number up to `count` that passes, 0 if none does, provided that whatever is below a number that passes
/// does too. `passes` gets the number and how many tries are left, this one included; it ends the search by `None`,
/// with the largest number that passed so far.
///
/// The middle of what is open is tried, so that n numbers take ⌈log₂(n + 1)⌉ tries at most.
pub fn largest<E>(count: usize, passes: &mut dyn FnMut(usize, u32) -> Result<Option<bool>, E>) -> Result<usize, E> {
    let (mut most, mut open) = (0, count);
    while open > 0 {
        let middle = most + open.div_ceil(2);
        match passes(middle, tries(open))? {
            None => break,
            Some(true) => (most, open) = (middle, most + open - middle),
            Some(false) => open = middle - most - 1,
        }
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(count: usize, answer: usize) -> (usize, Vec<(usize, u32)>) {
        let mut asked = Vec::new();
        let found = largest::<()>(count, &mut |number, left| {
            asked.push((number, left));
            Ok(Some(number <= answer))
        });
        (found.unwrap(), asked)
    }

    #[test]
    fn every_answer_is_found_in_the_tries_that_were_announced() {
        for count in 0..40 {
            for answer in 0..=count {
                let (found, asked) = search(count, answer);
                assert_eq!(found, answer, "of {count}");
                let left = |i: usize| asked[i].1 as usize;
                assert!((0..asked.len()).all(|i| left(i) >= asked.len() - i), "{count} {answer}: {asked:?}");
                assert!(asked.len() <= tries(count) as usize);
            }
        }
    }

    #[test]
    fn a_search_that_is_ended_keeps_what_passed() {
        let mut left = 2;
        let found = largest::<()>(8, &mut |number, _| {
            left -= 1;
            Ok((left >= 0).then_some(number <= 6))
        });
        assert_eq!(found, Ok(6));
        assert_eq!(largest(8, &mut |_, _| Err("broken")), Err("broken"));
    }
}
