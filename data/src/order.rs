//! Which samples a step takes.

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::error::DataError;
use crate::loader::LoaderOptions;
use crate::random::{Draws, Stream};

/// The order of samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Every epoch takes each sample once, in an order of its own; without an end.
    #[default]
    Shuffled,
    /// Every step draws different samples out of all, whatever the step before took; without an end.
    Draw {
        /// Steps that are called an epoch.
        steps_per_epoch: u64,
    },
    /// The samples in their order, once.
    Sequential,
}

/// Chooses the samples of one step after the other. What a step takes depends on the options and its number alone.
#[derive(Debug)]
pub(crate) struct Sampler {
    order: Order,
    seed: u64,
    batch: usize,
    len: u32,
    steps_per_epoch: u64,
    next: u64,
    /// The samples in the order of the epoch; in their own order between two draws.
    permutation: Vec<u32>,
    permuted: Option<u64>,
}

impl Sampler {
    /// Refuses a batch of nothing, and steps that no split of `len` samples has.
    pub fn new(len: usize, options: &LoaderOptions) -> Result<Sampler, DataError> {
        let refuse = |message: String| Err(DataError::option(format!("batch {}", options.batch), message));
        let steps_per_epoch = match options.order {
            _ if options.batch == 0 => return refuse("a batch has at least one sample".into()),
            Order::Draw { .. } if options.batch > len => {
                return refuse(format!("different samples are drawn, but there are only {len}"));
            }
            Order::Draw { steps_per_epoch } => steps_per_epoch.max(1),
            _ if options.drop_last => (len / options.batch) as u64,
            _ => len.div_ceil(options.batch) as u64,
        };
        if steps_per_epoch == 0 {
            return refuse(format!("there are only {len} samples, and the last batch is dropped unless it is full"));
        }
        let start = options.start;
        Ok(Sampler {
            order: options.order,
            seed: options.seed,
            batch: options.batch,
            // A store holds at most u32::MAX samples.
            len: len as u32,
            steps_per_epoch,
            next: start.epoch.saturating_mul(steps_per_epoch).saturating_add(start.step),
            permutation: (0..len as u32).collect(),
            permuted: None,
        })
    }

    pub fn steps_per_epoch(&self) -> u64 {
        self.steps_per_epoch
    }

    /// Sets a batch's indices, epoch and step to those of the next step; false at the end.
    pub fn next(&mut self, batch: &mut Batch) -> bool {
        let (epoch, step) = (self.next / self.steps_per_epoch, self.next % self.steps_per_epoch);
        if self.order == Order::Sequential && epoch > 0 {
            return false;
        }
        (batch.epoch, batch.step_in_epoch) = (epoch, step);
        batch.indices.clear();
        match self.order {
            Order::Draw { .. } => self.draw(&mut batch.indices),
            _ => self.cut(epoch, step, &mut batch.indices),
        }
        self.next = self.next.saturating_add(1);
        true
    }

    fn cut(&mut self, epoch: u64, step: u64, indices: &mut Vec<u32>) {
        if self.order == Order::Shuffled && self.permuted != Some(epoch) {
            self.permutation.iter_mut().zip(0..).for_each(|(item, index)| *item = index);
            Draws::new(self.seed, Stream::Shuffle, epoch, 0).shuffle(&mut self.permutation);
            self.permuted = Some(epoch);
        }
        let from = step as usize * self.batch;
        let to = (from + self.batch).min(self.permutation.len());
        indices.extend_from_slice(&self.permutation[from..to]);
    }

    /// The first steps of a shuffle, taken back afterwards in time that depends on the batch alone.
    fn draw(&mut self, indices: &mut Vec<u32>) {
        let mut draws = Draws::new(self.seed, Stream::Draw, self.next, 0);
        let items = &mut self.permutation;
        for at in 0..self.batch as u32 {
            let other = at + draws.below(self.len - at);
            items.swap(at as usize, other as usize);
            indices.push(items[at as usize]);
        }
        // An item that stood at `index` was swapped away from there, and only places of the batch or drawn ones were touched.
        items[..self.batch].iter_mut().zip(0..).for_each(|(item, at)| *item = at);
        indices.iter().for_each(|index| items[*index as usize] = *index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loader::Position;

    fn sampler(len: usize, batch: usize, order: Order) -> Sampler {
        Sampler::new(len, &LoaderOptions { batch, order, seed: 7, ..Default::default() }).unwrap()
    }

    fn steps(sampler: &mut Sampler, count: usize) -> Vec<Vec<u32>> {
        let mut batch = Batch::default();
        (0..count).map_while(|_| sampler.next(&mut batch).then(|| batch.indices.clone())).collect()
    }

    fn sorted(parts: &[Vec<u32>]) -> Vec<u32> {
        let mut all = parts.concat();
        all.sort_unstable();
        all
    }

    #[test]
    fn an_epoch_takes_every_sample_once_in_an_order_of_its_own() {
        let mut sampler = sampler(10, 4, Order::Shuffled);
        let (one, two) = (steps(&mut sampler, 3), steps(&mut sampler, 3));
        assert_eq!(one.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
        assert_eq!((sorted(&one), sorted(&two)), ((0..10).collect(), (0..10).collect::<Vec<_>>()));
        assert_ne!(one, two);
    }

    #[test]
    fn draws_are_different_samples_and_leave_no_trace() {
        let order = Order::Draw { steps_per_epoch: 5 };
        let mut sampler = sampler(20, 15, order);
        let mut seen = [0; 20];
        for _ in 0..2000 {
            let step = steps(&mut sampler, 1);
            let all = sorted(&step);
            assert!(all.windows(2).all(|pair| pair[0] < pair[1]) && all.len() == 15);
            assert!(sampler.permutation.is_sorted(), "{:?}", sampler.permutation);
            all.iter().for_each(|index| seen[*index as usize] += 1);
        }
        assert!(seen.iter().all(|count: &i32| (count - 1500).abs() < 100), "{seen:?}");
    }

    #[test]
    fn a_run_can_be_taken_up_anywhere() {
        for order in [Order::Shuffled, Order::Draw { steps_per_epoch: 3 }, Order::Sequential] {
            let all = steps(&mut sampler(10, 4, order), 8);
            let start = Position { epoch: 0, step: 2 };
            let later = LoaderOptions { batch: 4, order, seed: 7, start, ..Default::default() };
            assert_eq!(steps(&mut Sampler::new(10, &later).unwrap(), 6), all[2..]);
        }
    }

    #[test]
    fn sequences_end_and_short_batches_can_be_dropped() {
        assert_eq!(steps(&mut sampler(5, 2, Order::Sequential), 9), [vec![0, 1], vec![2, 3], vec![4]]);
        let options = LoaderOptions { batch: 2, order: Order::Sequential, drop_last: true, ..Default::default() };
        assert_eq!(steps(&mut Sampler::new(5, &options).unwrap(), 9), [vec![0, 1], vec![2, 3]]);
        assert!(Sampler::new(1, &options).is_err());
        assert!(Sampler::new(5, &LoaderOptions { batch: 0, ..Default::default() }).is_err());
        let draw = LoaderOptions { batch: 6, order: Order::Draw { steps_per_epoch: 1 }, ..Default::default() };
        assert!(Sampler::new(5, &draw).is_err());
    }
}
