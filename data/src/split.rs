//! Which samples are for training, validation and test.

use crate::error::DataError;
use crate::options::OpenOptions;
use crate::random::{Draws, Stream};
use crate::store::Rows;

/// The rows of the splits. The user's fractions come first, then what the files say, then the fractions `own` of the format.
pub(crate) fn rows(parts: &[Rows], own: Option<[f64; 3]>, options: &OpenOptions) -> Result<[Vec<u32>; 3], DataError> {
    let mut rows = match options.fractions.or(own) {
        Some(fractions) => drawn(parts, fractions, options.seed)?,
        None => given(parts),
    };
    if let Some(shares) = options.shares {
        share(&mut rows, shares, options.seed)?;
    }
    Ok(rows)
}

fn given(parts: &[Rows]) -> [Vec<u32>; 3] {
    let mut rows: [Vec<u32>; 3] = Default::default();
    parts.iter().for_each(|(which, range)| rows[*which as usize].extend(range.clone()));
    rows
}

/// All samples in a random order, cut at the rounded sums of the fractions.
fn drawn(parts: &[Rows], fractions: [f64; 3], seed: u64) -> Result<[Vec<u32>; 3], DataError> {
    checked("fractions", fractions)?;
    let sums = [fractions[0], fractions[0] + fractions[1], fractions.iter().sum()];
    let mut all: Vec<u32> = parts.iter().flat_map(|(_, range)| range.clone()).collect();
    Draws::new(seed, Stream::Split, 0, 0).shuffle(&mut all);
    let ends = sums.map(|sum: f64| ((sum * all.len() as f64).round() as usize).min(all.len()));
    Ok([all[..ends[0]].to_vec(), all[ends[0]..ends[1]].to_vec(), all[ends[1]..ends[2]].to_vec()])
}

/// Splits without samples take their shares of the training samples; what stays keeps its order.
fn share(rows: &mut [Vec<u32>; 3], shares: [f64; 3], seed: u64) -> Result<(), DataError> {
    checked("shares", shares)?;
    let [train, validation, test] = rows;
    let mut asked = [validation, test].map(|split| if split.is_empty() { Some(split) } else { None });
    let total: f64 =
        shares[0] + asked.iter().zip(&shares[1..]).filter_map(|(split, s)| split.as_ref().map(|_| s)).sum::<f64>();
    let mut order: Vec<u32> = (0..train.len() as u32).collect();
    Draws::new(seed, Stream::Split, 1, 0).shuffle(&mut order);
    let (mut taken, all) = (vec![false; train.len()], train.len() as f64);
    let mut free = order.into_iter();
    for (split, share) in asked.iter_mut().zip(&shares[1..]) {
        let Some(split) = split else { continue };
        let mut chosen: Vec<_> = free.by_ref().take((share / total * all).round() as usize).collect();
        chosen.sort_unstable();
        chosen.iter().for_each(|index| taken[*index as usize] = true);
        split.extend(chosen.iter().map(|index| train[*index as usize]));
    }
    let mut stays = taken.iter().map(|taken| !taken);
    train.retain(|_| stays.next().unwrap_or(true));
    Ok(())
}

fn checked(option: &str, parts: [f64; 3]) -> Result<(), DataError> {
    let sum: f64 = parts.iter().sum();
    if parts.iter().all(|part| (0.0..=1.0).contains(part)) && parts[0] > 0.0 && sum <= 1.0 + 1e-9 {
        return Ok(());
    }
    let [train, validation, test] = parts;
    let message = "each is between 0 and 1, the first above 0, their sum at most 1";
    Err(DataError::option(format!("{option} {train},{validation},{test}"), message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Which;

    fn parts() -> Vec<Rows> {
        vec![(Which::Train, 0..60), (Which::Test, 60..100)]
    }

    #[test]
    fn files_decide_unless_fractions_are_given() {
        let rows = rows(&parts(), None, &OpenOptions::default()).unwrap();
        assert_eq!(rows, [(0..60).collect(), vec![], (60..100).collect::<Vec<_>>()]);
    }

    #[test]
    fn fractions_draw_from_all_samples_by_seed() {
        let draw = |seed| {
            let options = OpenOptions { fractions: Some([0.8, 0.12, 0.08]), seed, ..Default::default() };
            rows(&parts(), None, &options).unwrap()
        };
        let [train, validation, test] = draw(3);
        assert_eq!((train.len(), validation.len(), test.len()), (80, 12, 8));
        let mut all = [train, validation, test].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }

    #[test]
    fn missing_splits_take_their_shares_of_the_training_samples() {
        let options = |shares| OpenOptions { shares: Some(shares), ..Default::default() };
        let [train, validation, test] = rows(&parts(), None, &options([0.9, 0.1, 0.0])).unwrap();
        assert_eq!((train.len(), validation.len(), test.len()), (54, 6, 40));
        assert!(train.is_sorted() && validation.iter().all(|row| !train.contains(row)));
        // The test split is there: its share has no say.
        let [train, validation, test] = rows(&parts(), None, &options([0.4, 0.2, 0.4])).unwrap();
        assert_eq!((train.len(), validation.len(), test.len()), (40, 20, 40));
        let all = [(Which::Train, 0..10)];
        let [train, validation, test] = rows(&all, None, &options([0.6, 0.2, 0.2])).unwrap();
        assert_eq!((train.len(), validation.len(), test.len()), (6, 2, 2));
    }

    #[test]
    fn bad_fractions_are_refused() {
        for parts in [[0.9, 0.2, 0.0], [-0.1, 0.5, 0.5], [f64::NAN, 0.0, 0.0], [0.0; 3], [0.0, 0.0, 1.0]] {
            let all = [(Which::Train, 0..10)];
            let fractions = OpenOptions { fractions: Some(parts), ..Default::default() };
            assert!(matches!(rows(&all, None, &fractions), Err(DataError::Option { .. })), "{parts:?}");
            let shares = OpenOptions { shares: Some(parts), ..Default::default() };
            assert!(matches!(rows(&all, None, &shares), Err(DataError::Option { .. })), "{parts:?}");
        }
    }
}
