//! Functions on the 81×81 grid of [−1, 1]², two equal outputs each; a quarter of the points is for training.

use std::f64::consts::TAU;

use crate::error::DataError;
use crate::labels::Labels;
use crate::store::{Loaded, Samples, Store};
use crate::table::Table;

/// Points along an axis.
const SIDE: usize = 81;
/// Points along an axis of a cell of the board, and cells of the board, which begins at point `MARGIN`. The paper's own files have
/// cells of 6 points.
const CELL: usize = 6;
const CELLS: usize = 12;
const MARGIN: usize = 4;

/// 0 and 1 in turn on twelve by twelve cells, 0 on the margin.
pub(super) fn checkerboard() -> Result<Loaded, DataError> {
    sampled("checkerboard", |i, j| {
        let inside = MARGIN..MARGIN + CELLS * CELL;
        let black = inside.contains(&i) && inside.contains(&j) && ((i - MARGIN) / CELL + (j - MARGIN) / CELL) % 2 == 1;
        f64::from(u8::from(black))
    })
}

/// sin(2πx₁) sin(2πx₂) + sin(10πx₁) sin(10πx₂).
pub(super) fn sine() -> Result<Loaded, DataError> {
    sampled("sine", |i, j| {
        let wave = |cycles: f64| (cycles * TAU * coordinate(i)).sin() * (cycles * TAU * coordinate(j)).sin();
        wave(1.0) + wave(5.0)
    })
}

fn coordinate(index: usize) -> f64 {
    (index as f64 - 40.0) / 40.0
}

fn sampled(name: &str, f: impl Fn(usize, usize) -> f64) -> Result<Loaded, DataError> {
    let points = || (0..SIDE).flat_map(|i| (0..SIDE).map(move |j| (i, j)));
    let x = points().flat_map(|(i, j)| [coordinate(i) as f32, coordinate(j) as f32]).collect();
    let y = points().flat_map(|(i, j)| [f(i, j) as f32; 2]).collect();
    let table = Table::new(vec![2], x).ok_or_else(|| DataError::inconsistent(name, "its rows are not whole"))?;
    let store = Store::new(name, Samples::Table(table), Labels::Targets { width: 2, data: y })?;
    Ok(Loaded { split: Some([0.25, 0.0, 0.75]), ..Loaded::one(store) })
}

#[cfg(test)]
mod tests {
    use crate::{Loader, LoaderOptions, OpenOptions, Order, Transform, Which, open};

    /// `[x₁, x₂, y]` of all points of a split.
    fn points(name: &str, which: Which) -> Vec<[f32; 3]> {
        let data = open(name, &OpenOptions::default()).unwrap();
        let split = data.split(which).unwrap();
        let transform = Transform::new(&Default::default(), &data).unwrap();
        let options = LoaderOptions { batch: split.len(), order: Order::Sequential, ..Default::default() };
        let batch = Loader::new(split, &transform, options).unwrap().next_batch().unwrap().unwrap();
        let targets = batch.targets.unwrap();
        let pairs = batch.x.chunks(2).zip(targets.chunks(2));
        pairs.map(|(x, y)| [x[0], x[1], y[0]]).collect()
    }

    #[test]
    fn the_board_alternates_inside_of_its_margin() {
        let (train, test) = (points("synth:checkerboard", Which::Train), points("synth:checkerboard", Which::Test));
        assert_eq!((train.len(), test.len()), (1640, 4921));
        let all = [train, test].concat();
        let at = |i: i32, j: i32| {
            let x = |index: i32| (index - 40) as f32 / 40.0;
            all.iter().find(|point| point[0] == x(i) && point[1] == x(j)).unwrap()[2]
        };
        // The first cell is 0, its neighbours 1; the margin ends with point 3 and begins again with point 76.
        assert_eq!([at(4, 4), at(9, 9), at(10, 9), at(9, 10), at(10, 10)], [0.0, 0.0, 1.0, 1.0, 0.0]);
        assert_eq!([at(70, 4), at(75, 9), at(76, 9), at(3, 10), at(75, 75)], [1.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(all.iter().filter(|point| point[2] == 1.0).count(), 72 * 36);
    }

    #[test]
    fn waves_have_their_values() {
        let all = [points("synth:sine", Which::Train), points("synth:sine", Which::Test)].concat();
        let at = |x: f32, y: f32| all.iter().find(|point| point[0] == x && point[1] == y).unwrap()[2];
        // sin(π/2)² + sin(5π/2)² at a quarter, sin(π/10)² + sin(π/2)² at a twentieth.
        assert!((at(0.25, 0.25) - 2.0).abs() < 1e-6);
        assert!((at(0.05, 0.05) - 1.095_491_5).abs() < 1e-6);
        assert!((at(-0.25, 0.25) + 2.0).abs() < 1e-6);
        assert!(at(0.0, 0.5).abs() < 1e-6);
    }
}
