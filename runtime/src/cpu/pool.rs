//! A small pool of threads that share out numbered tasks.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};

/// Threads that run tasks: the runtime's own [`Pool`], or a caller's (a few lines over rayon, say). How tasks are shared
/// out never changes a result.
pub trait Workers: Send + Sync {
    /// How many tasks run at a time.
    fn threads(&self) -> usize;
    /// Calls `task` with each number below `tasks` once, on any threads, and returns when all calls have.
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync));
}

/// Spins before a thread that waits goes to sleep: some tens of microseconds, longer than the gap between two kernels.
const SPINS: usize = 20_000;

/// The runtime's own threads, the caller's among them. They sleep between runs.
pub struct Pool {
    shared: Arc<Shared>,
    /// Held while a job runs: a second caller does its tasks alone.
    turn: Mutex<()>,
    workers: Vec<(JoinHandle<()>, Thread)>,
}

struct Shared {
    /// Number of the job (upper half), [`OPEN`], and how many workers are at it (the rest).
    state: AtomicU64,
    job: UnsafeCell<Job>,
    /// The next task of the job.
    next: AtomicUsize,
    /// How many workers sleep.
    asleep: AtomicUsize,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Whether workers may join the job.
const OPEN: u64 = 1 << 31;
const JOINED: u64 = OPEN - 1;

#[derive(Clone, Copy)]
struct Job {
    task: *const (dyn Fn(usize) + Sync),
    tasks: usize,
}

// SAFETY: `job` is written only while no job is open and nobody is at one, and read only between joining and leaving an
// open one; the task that it points to is `Sync` and outlives the job, which `run` does not leave before all have left.
#[allow(unsafe_code)]
unsafe impl Sync for Shared {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Pool {
    /// `threads` threads, of which the one that calls [`Workers::run`] is one.
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(Job { task: &|_| {}, tasks: 0 }),
            next: AtomicUsize::new(0),
            asleep: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let start = |i: usize| {
            let shared = shared.clone();
            let spawned = std::thread::Builder::new().name(format!("hanc-{i}")).spawn(move || shared.work());
            // Without memory for another thread there are fewer.
            spawned.ok().map(|handle| (handle.thread().clone(), handle)).map(|(thread, handle)| (handle, thread))
        };
        let workers = (1..threads).map_while(start).collect();
        Pool { shared, turn: Mutex::new(()), workers }
    }

    /// As many threads as this process may use at a time.
    pub fn all() -> Pool {
        Pool::new(std::thread::available_parallelism().map_or(1, usize::from))
    }
}

impl Workers for Pool {
    fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let turn = if self.workers.is_empty() || tasks < 2 { None } else { self.turn.try_lock().ok() };
        match turn {
            None => (0..tasks).for_each(task),
            Some(_turn) => self.share(tasks, task),
        }
    }
}

impl Pool {
    fn share(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.open(tasks, task);
        let mine = catch_unwind(AssertUnwindSafe(|| self.shared.take(task, tasks)));
        self.shared.close();
        let theirs = self.shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = mine.err().or(theirs) {
            resume_unwind(panic);
        }
    }

    #[allow(unsafe_code)]
    fn open(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        // SAFETY: only the lifetime changes; `share` does not return before `close` has seen every worker leave.
        let task: *const (dyn Fn(usize) + Sync + 'static) =
            unsafe { std::mem::transmute(task as *const (dyn Fn(usize) + Sync + '_)) };
        // SAFETY: no job is open and nobody is at one: `turn` is held, and the last holder has closed its job.
        unsafe { *self.shared.job.get() = Job { task, tasks } };
        self.shared.next.store(0, Ordering::Relaxed);
        let number = self.shared.state.load(Ordering::Relaxed) >> 32;
        self.shared.state.store(number.wrapping_add(1) << 32 | OPEN, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) > 0 {
            self.workers.iter().for_each(|(_, thread)| thread.unpark());
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for (handle, thread) in self.workers.drain(..) {
            thread.unpark();
            let _ = handle.join();
        }
    }
}

impl Shared {
    /// Does tasks until none is left.
    fn take(&self, task: &(dyn Fn(usize) + Sync), tasks: usize) {
        loop {
            match self.next.fetch_add(1, Ordering::Relaxed) {
                i if i < tasks => task(i),
                _ => return,
            }
        }
    }

    /// Lets nobody join any more and waits for those who have.
    fn close(&self) {
        self.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0;
        while self.state.load(Ordering::Acquire) & JOINED != 0 {
            spins += 1;
            if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }

    fn work(&self) {
        let mut seen = 0;
        while let Some(state) = self.wait(seen) {
            if self.state.compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            seen = state >> 32;
            self.help();
            self.state.fetch_sub(1, Ordering::AcqRel);
        }
    }

    #[allow(unsafe_code)]
    fn help(&self) {
        // SAFETY: this worker has joined the open job and has not left it.
        let (task, tasks) = unsafe {
            let job = *self.job.get();
            (&*job.task, job.tasks)
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.take(task, tasks))) {
            self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
        }
    }

    /// Waits for an open job other than number `seen`; `None` when the pool ends.
    fn wait(&self, seen: u64) -> Option<u64> {
        let news = |state: u64| state & OPEN != 0 && state >> 32 != seen;
        loop {
            for _ in 0..SPINS {
                let state = self.state.load(Ordering::Acquire);
                if news(state) {
                    return Some(state);
                }
                std::hint::spin_loop();
            }
            if self.stop.load(Ordering::SeqCst) {
                return None;
            }
            self.asleep.fetch_add(1, Ordering::SeqCst);
            if !news(self.state.load(Ordering::SeqCst)) && !self.stop.load(Ordering::SeqCst) {
                std::thread::park();
            }
            self.asleep.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        let pool = Pool::new(3);
        assert!(pool.threads() <= 3);
        for tasks in [0, 1, 2, 7, 1000] {
            let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(tasks, &|i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn many_short_jobs_one_behind_the_other() {
        let pool = Pool::new(4);
        let sum = AtomicUsize::new(0);
        for round in 0..2_000 {
            pool.run(3, &|i| {
                sum.fetch_add(i + round, Ordering::Relaxed);
            });
            if round % 500 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
        assert_eq!(sum.into_inner(), (0..2_000).map(|round| 3 + 3 * round).sum::<usize>());
    }

    #[test]
    fn callers_do_not_wait_for_each_other() {
        let pool = Pool::new(2);
        let sum = AtomicUsize::new(0);
        pool.run(4, &|_| {
            pool.run(4, &|_| {
                sum.fetch_add(1, Ordering::Relaxed);
            })
        });
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (0..100).for_each(|_| {
                        pool.run(5, &|_| {
                            sum.fetch_add(1, Ordering::Relaxed);
                        })
                    })
                });
            }
        });
        assert_eq!(sum.into_inner(), 16 + 2_000);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::new(2);
        let panics = catch_unwind(AssertUnwindSafe(|| pool.run(50, &|i| assert!(i != 30, "task 30"))));
        assert!(panics.is_err());
        let sum = AtomicUsize::new(0);
        pool.run(10, &|i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 45);
    }
}
