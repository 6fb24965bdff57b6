//! Which samples are for training, validation and test.

use std::ops::Range;

use crate::dataset::Which;
use crate::error::DataError;
use crate::options::OpenOptions;
use crate::random::{Draws, Stream};

/// The rows of the splits. The user's fractions come first, then what the files say, then the fractions `own` of the format.
pub(crate) fn rows(
    parts: &[(Which, Range<u32>)],
    own: Option<[f64; 3]>,
    options: &OpenOptions,
) -> Result<[Vec<u32>; 3], DataError> {
    let mut rows = match options.fractions.or(own) {
        Some(fractions) => drawn(parts, fractions, options.seed)?,
        None => given(parts),
    };
    if let Some(fraction) = options.validation {
        hold_out(&mut rows, fraction, options.seed)?;
    }
    Ok(rows)
}

fn given(parts: &[(Which, Range<u32>)]) -> [Vec<u32>; 3] {
    let mut rows: [Vec<u32>; 3] = Default::default();
    parts.iter().for_each(|(which, range)| rows[*which as usize].extend(range.clone()));
    rows
}

/// All samples in a random order, cut at the rounded sums of the fractions.
fn drawn(parts: &[(Which, Range<u32>)], fractions: [f64; 3], seed: u64) -> Result<[Vec<u32>; 3], DataError> {
    let sums = [fractions[0], fractions[0] + fractions[1], fractions.iter().sum()];
    if !fractions.iter().all(|part| (0.0..=1.0).contains(part)) || sums[2] > 1.0 + 1e-9 || sums[2] == 0.0 {
        let [train, validation, test] = fractions;
        let option = format!("fractions {train},{validation},{test}");
        return Err(DataError::option(option, "fractions are between 0 and 1, their sum above 0 and at most 1"));
    }
    let mut all: Vec<u32> = parts.iter().flat_map(|(_, range)| range.clone()).collect();
    Draws::new(seed, Stream::Split, 0, 0).shuffle(&mut all);
    let ends = sums.map(|sum| ((sum * all.len() as f64).round() as usize).min(all.len()));
    Ok([all[..ends[0]].to_vec(), all[ends[0]..ends[1]].to_vec(), all[ends[1]..ends[2]].to_vec()])
}

/// Moves a fraction of the training samples to validation; what stays keeps its order.
fn hold_out(rows: &mut [Vec<u32>; 3], fraction: f64, seed: u64) -> Result<(), DataError> {
    let refuse = |message: &str| Err(DataError::option(format!("validation {fraction}"), message));
    let [train, validation, _] = rows;
    if !(fraction > 0.0 && fraction < 1.0) {
        return refuse("it is a fraction between 0 and 1");
    }
    if !validation.is_empty() {
        return refuse("the set has a validation split already");
    }
    let count = (fraction * train.len() as f64).round() as usize;
    let mut order: Vec<u32> = (0..train.len() as u32).collect();
    Draws::new(seed, Stream::Split, 1, 0).shuffle(&mut order);
    let mut held = vec![false; train.len()];
    order[..count].iter().for_each(|index| held[*index as usize] = true);
    let of = |which: bool| train.iter().zip(&held).filter(move |(_, held)| **held == which).map(|(row, _)| *row);
    (*validation, *train) = (of(true).collect(), of(false).collect());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Vec<(Which, Range<u32>)> {
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
    fn validation_is_held_out_of_training() {
        let options = OpenOptions { validation: Some(0.1), ..Default::default() };
        let [train, validation, test] = rows(&parts(), None, &options).unwrap();
        assert_eq!((train.len(), validation.len(), test.len()), (54, 6, 40));
        assert!(train.is_sorted() && validation.iter().all(|row| !train.contains(row)));
    }

    #[test]
    fn bad_fractions_are_refused() {
        for fractions in [[0.9, 0.2, 0.0], [-0.1, 0.5, 0.5], [f64::NAN, 0.0, 0.0], [0.0; 3]] {
            let options = OpenOptions { fractions: Some(fractions), ..Default::default() };
            assert!(matches!(rows(&parts(), None, &options), Err(DataError::Option { .. })), "{fractions:?}");
        }
        let options = OpenOptions { validation: Some(1.5), ..Default::default() };
        assert!(rows(&parts(), None, &options).is_err());
    }
}
