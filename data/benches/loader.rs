//! What a batch costs.

use std::sync::Arc;

use divan::Bencher;
use hanc_data::{Augment, Batch, Loader, LoaderOptions, OpenOptions, Order, Split, Transform, TransformOptions, Which};

fn main() {
    divan::main();
}

fn set(spec: &str, augment: Vec<Augment>) -> (Split, Arc<Transform>) {
    let data = hanc_data::open(spec, &OpenOptions::default()).expect("the set is generated");
    let split = data.split(Which::Train).expect("it has samples to train on").clone();
    let options = TransformOptions { augment, ..Default::default() };
    let transform = Transform::of_split(&options, &split).expect("the options fit");
    (split, transform)
}

fn batches(bencher: Bencher<'_, '_>, (split, transform): (Split, Arc<Transform>), options: LoaderOptions) {
    let mut loader = Loader::new(&split, &transform, options).expect("the options fit");
    let mut batch = Batch::default();
    bencher.bench_local(|| loader.next_into(&mut batch).expect("every sample can be read"));
}

/// 100 of the 1640 points of the checkerboard.
#[divan::bench]
fn drawn_from_a_table(bencher: Bencher<'_, '_>) {
    let order = Order::Draw { steps_per_epoch: 1000 };
    batches(bencher, set("synth:checkerboard", vec![]), LoaderOptions { batch: 100, order, ..Default::default() });
}

/// 100 of the 1640 points of the checkerboard.
#[divan::bench]
fn shuffled_from_a_table(bencher: Bencher<'_, '_>) {
    batches(bencher, set("synth:checkerboard", vec![]), LoaderOptions { batch: 100, ..Default::default() });
}

/// 32 pictures of 32×32 with the changes of the paper.
#[divan::bench(args = [0, 1, 2])]
fn changed_pictures(bencher: Bencher<'_, '_>, workers: usize) {
    let changes = vec![
        Augment::Crop { padding: 4 },
        Augment::Flip { probability: 0.5 },
        Augment::Autoaugment,
        Augment::Cutout { size: 16 },
    ];
    batches(bencher, set("synth:shapes", changes), LoaderOptions { batch: 32, workers, ..Default::default() });
}

/// 32 pictures of 32×32 as they are.
#[divan::bench]
fn plain_pictures(bencher: Bencher<'_, '_>) {
    batches(bencher, set("synth:shapes", vec![]), LoaderOptions { batch: 32, ..Default::default() });
}
