//! Measures models: hanc against other engines in turns, each in a process of its own.
//!
//! Every engine runs in a child process, so that its memory and its waiting threads are its own. The parent lets them run
//! some times each, one after the other, over and over: what disturbs the machine disturbs all of them. See [`serve`] for
//! what they say to each other.

mod contest;
mod roof;
mod serve;

pub use contest::{Contest, Contestant, Figures, measure};
pub use roof::{Roof, roof};
pub use serve::{Runner, serve};

/// The number that a part of the sorted numbers, 0.5 for half of them, is at most.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(at.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_numbers_of_the_list() {
        let numbers: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((quantile(&numbers, 0.5), quantile(&numbers, 0.99), quantile(&numbers, 1.0)), (50.0, 99.0, 100.0));
        assert_eq!(quantile(&[7.0], 0.5), 7.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
