//! How long a candidate learns.

/// Epochs, unless they are given.
const EPOCHS: f64 = 4.0;
/// Steps of a set so small that these epochs have fewer.
const SMALL: u64 = 400;
/// Multiply-adds of the original for all samples of all steps, beyond which there are fewer steps: minutes on two cores.
const WORK: f64 = 2e12;
/// Steps of a model so large that this work is done sooner.
const LARGE: u64 = 100;

/// Steps that a candidate learns: the epochs that are given, each of `per_epoch` steps; otherwise 4 epochs, more where
/// the set is small, fewer where set and model are large. The clock decides nothing.
///
/// `macs` are the original's multiply-adds for one sample, `batch` the samples of a step.
pub fn planned(epochs: Option<f64>, per_epoch: u64, macs: u64, batch: usize) -> u64 {
    let steps = |epochs: f64| ((epochs * per_epoch as f64).round() as u64).max(1);
    let affordable = (WORK / (macs.max(1) as f64 * batch.max(1) as f64)) as u64;
    epochs.map_or_else(|| steps(EPOCHS).max(SMALL).min(affordable.max(LARGE)), steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_sets_have_more_epochs_and_large_models_fewer() {
        assert_eq!(planned(None, 421, 4_867_712, 128), 1684);
        assert_eq!(planned(None, 5, 4_867_712, 128), SMALL);
        assert_eq!(planned(None, 421, 40_000_000, 128), 390);
        assert_eq!(planned(None, 10_000, 4_000_000_000, 128), LARGE);
    }

    #[test]
    fn epochs_that_are_given_hold() {
        assert_eq!([0.5, 0.001, 20.0].map(|epochs| planned(Some(epochs), 10_000, u64::MAX, 128)), [5000, 10, 200_000]);
        assert_eq!(planned(Some(0.001), 5, 1, 1), 1);
    }
}
