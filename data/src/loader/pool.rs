//! Threads that prepare batches ahead.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::fill::Filler;
use crate::batch::Batch;
use crate::error::DataError;
use crate::order::Sampler;

/// Batches that one thread may be ahead.
const AHEAD: u64 = 2;

/// Threads that take the steps of one sampler; batches come out in its order.
pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// Signalled when a batch is complete.
    complete: Condvar,
    /// Signalled when a batch was taken, or all is over.
    taken: Condvar,
    /// Most batches that are prepared but not handed out.
    window: u64,
}

struct State {
    sampler: Sampler,
    /// Steps given to threads, and steps handed out.
    begun: u64,
    handed: u64,
    /// The number of steps that there are, once that is known.
    end: Option<u64>,
    ready: BTreeMap<u64, Result<Batch, DataError>>,
    spare: Vec<Batch>,
    over: bool,
}

impl Pool {
    pub fn new(sampler: Sampler, filler: &Filler, workers: usize) -> Result<Pool, DataError> {
        let state =
            State { sampler, begun: 0, handed: 0, end: None, ready: BTreeMap::new(), spare: Vec::new(), over: false };
        let window = AHEAD * workers as u64;
        let shared = Arc::new(Shared { state: state.into(), complete: Condvar::new(), taken: Condvar::new(), window });
        let mut pool = Pool { shared, threads: Vec::new() };
        for number in 0..workers {
            let (shared, filler) = (Arc::clone(&pool.shared), filler.clone());
            let builder = thread::Builder::new().name(format!("data-{number}"));
            let thread = builder.spawn(move || shared.work(filler));
            pool.threads.push(thread.map_err(|e| DataError::Worker { message: e.to_string() })?);
        }
        Ok(pool)
    }

    /// Waits for the next batch; false at the end.
    pub fn next_into(&mut self, batch: &mut Batch) -> Result<bool, DataError> {
        let shared = &*self.shared;
        let mut state = shared.lock();
        loop {
            let turn = state.handed;
            if state.end == Some(turn) {
                return Ok(false);
            }
            if let Some(done) = state.ready.remove(&turn) {
                state.handed += 1;
                shared.taken.notify_one();
                let old = std::mem::replace(batch, done?);
                state.spare.push(old);
                return Ok(true);
            }
            state = shared.complete.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.taken.notify_all();
        for thread in self.threads.drain(..) {
            // A panic in a sample is caught and reported with the batch.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Nothing that can panic runs under the lock, so that what a poisoned one guards is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, mut filler: Filler) {
        while let Some((turn, mut batch)) = self.begin() {
            let filled = catch_unwind(AssertUnwindSafe(|| filler.fill(&mut batch)));
            let result = filled.unwrap_or_else(|panic| Err(DataError::Worker { message: said(&*panic) }));
            self.lock().ready.insert(turn, result.map(|()| batch));
            self.complete.notify_one();
        }
    }

    /// The next step, when there is room for it; `None` when all is over.
    fn begin(&self) -> Option<(u64, Batch)> {
        let mut state = self.lock();
        while !state.over && state.end.is_none() && state.begun >= state.handed + self.window {
            state = self.taken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.over || state.end.is_some() {
            return None;
        }
        let mut batch = state.spare.pop().unwrap_or_default();
        let turn = state.begun;
        if state.sampler.next(&mut batch) {
            state.begun += 1;
            return Some((turn, batch));
        }
        state.end = Some(turn);
        self.complete.notify_one();
        self.taken.notify_all();
        None
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}
