//! The sets beside the checkout, and generated ones against them.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::Path;

use hanc_data::{Batch, Dataset, Loader, LoaderOptions, OpenOptions, Order, Transform, TransformOptions, Which, open};
use hanc_tests::shared;

/// The whole of a split in one batch.
fn all(data: &Dataset, which: Which) -> Batch {
    let split = data.split(which).expect("it has the split");
    let transform = Transform::new(&TransformOptions::default(), data).unwrap();
    let options = LoaderOptions { batch: split.len(), order: Order::Sequential, ..Default::default() };
    Loader::new(split, &transform, options).unwrap().next_batch().unwrap().unwrap()
}

/// Targets by place on the grid, over training and test.
fn points(data: &Dataset) -> HashMap<[i32; 2], Vec<f32>> {
    let batches = [Which::Train, Which::Test].map(|which| all(data, which));
    let of_batch = |batch: &Batch| {
        let places: Vec<_> = batch.x.chunks(2).map(|x| [x[0], x[1]].map(|x| (x * 40.0).round() as i32)).collect();
        let targets = batch.targets.clone().expect("points have targets");
        places.into_iter().zip(targets.chunks(2).map(<[f32]>::to_vec).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    batches.iter().flat_map(of_batch).collect()
}

#[test]
fn the_generated_checkerboard_is_that_of_the_paper() {
    let Some(folder) = shared("data/checkerboard") else { return };
    let options = OpenOptions { target: Some("-2,-1".into()), ..Default::default() };
    let theirs = open(folder.to_str().unwrap(), &options).unwrap();
    let ours = open("synth:checkerboard", &OpenOptions::default()).unwrap();
    for which in [Which::Train, Which::Test] {
        assert_eq!(ours.split(which).unwrap().len(), theirs.split(which).unwrap().len());
    }
    let (ours, theirs) = (points(&ours), points(&theirs));
    assert_eq!(ours.len(), 81 * 81);
    let wrong = theirs.iter().filter(|(place, targets)| ours.get(*place) != Some(*targets)).count();
    assert_eq!((wrong, theirs.len()), (0, 81 * 81));
}

#[test]
fn the_regression_sets_are_read_as_the_protocol_says() {
    let Some(folder) = shared("data/regression") else { return };
    let sets = [
        ("bikesharing", 17379, 15),
        ("calhousing", 20640, 8),
        ("elevators", 16599, 18),
        ("parkinsons", 5875, 20),
        ("skillcraft", 3338, 19),
    ];
    for (name, rows, inputs) in sets {
        let path = folder.join(name).with_extension("csv");
        let plain = open(path.to_str().unwrap(), &OpenOptions::default()).unwrap();
        assert_eq!((plain.shape(), plain.split(Which::Train).unwrap().len()), (Some(vec![inputs]), rows), "{name}");
        standardised(&path, rows, inputs);
    }
}

/// Every column has mean 0 and deviation 1 (with n − 1) over all splits.
fn standardised(path: &Path, rows: usize, inputs: usize) {
    let options = OpenOptions { standardise: true, fractions: Some([0.8, 0.08, 0.12]), ..Default::default() };
    let data = open(path.to_str().unwrap(), &options).unwrap();
    let width = data.shape().unwrap()[0];
    assert!(width <= inputs, "{width} of {inputs} columns");
    let x: Vec<f32> = Which::ALL.iter().flat_map(|which| all(&data, *which).x).collect();
    assert_eq!(x.len(), rows * width);
    for column in 0..width {
        let values = || x.iter().skip(column).step_by(width).map(|value| f64::from(*value));
        let mean = values().sum::<f64>() / rows as f64;
        let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / (rows - 1) as f64;
        assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-4, "column {column}: {mean}, {variance}");
    }
}

#[test]
fn fashion_mnist_is_read_where_it_is_installed() {
    let folder = Path::new("/usr/share/datasets/fashion-mnist");
    if !folder.exists() {
        hanc_tests::skipped("Fashion-MNIST is not installed (Debian package dataset-fashion-mnist)");
        return;
    }
    let data = open(folder.to_str().unwrap(), &OpenOptions::default()).unwrap();
    let sizes = [Which::Train, Which::Test].map(|which| data.split(which).unwrap().len());
    assert_eq!((sizes, data.shape(), data.classes().len()), ([60000, 10000], Some(vec![1, 28, 28]), 10));
    let test = all(&data, Which::Test);
    assert!((0..10).all(|class| test.classes.as_ref().unwrap().iter().filter(|c| **c == class).count() == 1000));
}
