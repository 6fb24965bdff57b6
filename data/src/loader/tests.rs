use std::sync::Arc;

use super::*;
use crate::labels::Labels;
use crate::picture::{Picture, Pictures};
use crate::store::{Samples, Store};
use crate::table::Table;
use crate::transform::TransformOptions;
use crate::{OpenOptions, Which};

/// Pictures of 2×2 grey pixels that have the value of their index; `broken` cannot be read, `panics` panics.
#[derive(Debug)]
struct Numbered {
    broken: Option<usize>,
    panics: Option<usize>,
}

impl Pictures for Numbered {
    fn len(&self) -> usize {
        50
    }

    fn shape(&self) -> Option<[usize; 3]> {
        Some([1, 2, 2])
    }

    fn read(&self, index: usize, into: &mut Picture) -> Result<(), DataError> {
        assert_ne!(Some(index), self.panics, "picture {index} panics");
        if Some(index) == self.broken {
            return Err(DataError::inconsistent("numbered", format!("picture {index} is broken")));
        }
        *into = Picture::filled(2, 2, 1, index as u8);
        Ok(())
    }
}

fn split(pictures: Numbered) -> Split {
    let labels = Labels::Classes((0..50).map(|index| index * 2).collect());
    let store = Store::new("numbered", Samples::Pictures(Arc::new(pictures)), labels).unwrap();
    Split { store: Arc::new(store), rows: (0..50).collect() }
}

fn batches(loader: &mut Loader, count: usize) -> Vec<Batch> {
    (0..count).map_while(|_| loader.next_batch().unwrap()).collect()
}

fn loader(split: &Split, workers: usize, order: Order) -> Loader {
    let transform = Transform::of_split(&TransformOptions::default(), split).unwrap();
    Loader::new(split, &transform, LoaderOptions { batch: 7, workers, order, seed: 3, ..Default::default() }).unwrap()
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let split = split(Numbered { broken: None, panics: None });
    for order in [Order::Shuffled, Order::Draw { steps_per_epoch: 4 }, Order::Sequential] {
        let alone = batches(&mut loader(&split, 0, order), 20);
        for workers in [1, 2, 5] {
            assert_eq!(batches(&mut loader(&split, workers, order), 20), alone, "{workers} workers, {order:?}");
        }
        assert_eq!(alone.len(), if order == Order::Sequential { 8 } else { 20 });
        let good = |batch: &Batch| batch.x.chunks(4).zip(&batch.indices).all(|(x, i)| x == [*i as f32 / 255.0; 4]);
        assert!(alone.iter().all(good));
        let labelled =
            |batch: &Batch| batch.indices.iter().map(|i| i64::from(*i) * 2).eq(batch.classes.clone().unwrap());
        assert!(alone.iter().all(labelled));
    }
}

#[test]
fn a_broken_sample_is_an_error_of_its_batch_and_no_other() {
    for workers in [0, 1, 3] {
        let split = split(Numbered { broken: Some(10), panics: None });
        let mut loader = loader(&split, workers, Order::Sequential);
        assert!(loader.next_batch().unwrap().is_some());
        assert!(loader.next_batch().unwrap_err().to_string().contains("picture 10 is broken"));
        assert_eq!(loader.next_batch().unwrap().unwrap().step_in_epoch, 2);
    }
}

#[test]
fn a_panic_in_a_worker_is_an_error() {
    let split = split(Numbered { broken: None, panics: Some(9) });
    let mut loader = loader(&split, 2, Order::Sequential);
    assert!(loader.next_batch().unwrap().is_some());
    let error = loader.next_batch().unwrap_err();
    assert!(matches!(&error, DataError::Worker { message } if message.contains("picture 9 panics")), "{error}");
    assert!(loader.next_batch().unwrap().is_some());
}

#[test]
fn a_loader_can_be_dropped_at_any_time() {
    let split = split(Numbered { broken: None, panics: None });
    for taken in 0..5 {
        batches(&mut loader(&split, 3, Order::Shuffled), taken);
    }
}

#[test]
fn tables_are_gathered_with_their_targets() {
    let table = Table::new(vec![2], (0..10).map(|v| v as f32).collect()).unwrap();
    let labels = Labels::Targets { width: 1, data: vec![0.5, 1.5, 2.5, 3.5, 4.5] };
    let store = Arc::new(Store::new("table", Samples::Table(table), labels).unwrap());
    let split = Split { store, rows: vec![4, 2, 0].into() };
    let batch = loader(&split, 2, Order::Sequential).next_batch().unwrap().unwrap();
    assert_eq!(batch.indices, [0, 1, 2]);
    assert_eq!(batch.x, [8.0, 9.0, 4.0, 5.0, 0.0, 1.0]);
    assert_eq!((batch.targets, batch.classes), (Some(vec![4.5, 2.5, 0.5]), None));
}

#[test]
fn buffers_are_used_again() {
    let data = crate::open("synth:checkerboard", &OpenOptions::default()).unwrap();
    let mut loader = loader(data.split(Which::Train).unwrap(), 0, Order::Shuffled);
    let mut batch = Batch::default();
    loader.next_into(&mut batch).unwrap();
    let place = batch.x.as_ptr();
    assert!(loader.next_into(&mut batch).unwrap());
    assert_eq!(batch.x.as_ptr(), place);
}
