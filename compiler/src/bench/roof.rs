//! What the machine can do at best: the roof that profiles are compared with.

use std::time::{Duration, Instant};

use hanc_runtime::cpu::simd::{Simd, Task};
use hanc_runtime::cpu::{Isa, Pool, Workers};

/// The best that a number of threads can do.
#[derive(Clone, Copy, Debug)]
pub struct Roof {
    /// Floating-point operations a second, a multiply-add counting two.
    pub flops: f64,
    /// Bytes a second that a copy of memory larger than the caches reads and writes.
    pub bandwidth: f64,
}

/// How long each part is measured.
const TIME: Duration = Duration::from_millis(120);
/// Bytes of each side of the copy of a thread.
const COPY: usize = 64 << 20;

/// Measures the roof of so many threads in a quarter of a second.
pub fn roof(isa: Isa, threads: usize) -> Roof {
    let pool = Pool::new(threads);
    let best = |work: &(dyn Fn(usize) + Sync), amount: f64| {
        let (start, mut best) = (Instant::now(), 0f64);
        while start.elapsed() < TIME {
            let run = Instant::now();
            pool.run(threads, work);
            best = best.max(amount / run.elapsed().as_secs_f64());
        }
        best
    };
    let flops = best(&|_| isa.run(Multiply), (threads * Multiply::flops(isa)) as f64);
    let buffers: Vec<_> = (0..threads).map(|_| std::sync::Mutex::new((vec![1u8; COPY], vec![0u8; COPY]))).collect();
    let copy = |i: usize| {
        if let Ok(mut buffers) = buffers[i].lock() {
            let (from, to) = &mut *buffers;
            to.copy_from_slice(from);
        }
    };
    Roof { flops, bandwidth: best(&copy, (2 * threads * COPY) as f64) }
}

/// Multiply-adds in registers.
struct Multiply;

const ROUNDS: usize = 1 << 15;
/// Sums that do not wait for each other.
const SUMS: usize = 12;

impl Multiply {
    fn flops(isa: Isa) -> usize {
        2 * ROUNDS * SUMS * isa.lanes()
    }
}

impl Task for Multiply {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut sums = [s.splat(1.0); SUMS];
        let (a, b) = (s.splat(std::hint::black_box(0.5)), s.splat(std::hint::black_box(0.25)));
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = s.mul_add(*sum, a, b);
            }
        }
        let total = sums.iter().fold(s.zero(), |total, sum| s.add(total, *sum));
        std::hint::black_box(s.sum(total));
    }
}
