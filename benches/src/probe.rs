//! A streaming read of memory: what one decode step of a large model is made of, and so what its time is compared to.
//!
//! On shared hosts the rate flips between modes within seconds; a round during which it has flipped is worth nothing.

use std::hint::black_box;
use std::time::Instant;

/// Far above any cache: 256 MiB.
const WORDS: usize = 32 << 20;

/// Words read at once: a cache line, so that the compiler uses the widest loads it may.
const LANES: usize = 8;

/// Memory that is read again and again.
#[derive(Debug)]
pub(crate) struct Probe {
    words: Vec<u64>,
}

/// GB/s of one thread and of one thread per core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub(crate) one_thread: f64,
    pub(crate) all_threads: f64,
}

impl Probe {
    pub(crate) fn new() -> Self {
        Self {
            words: (0..WORDS as u64).collect(),
        }
    }

    pub(crate) fn rates(&self) -> Rates {
        Rates {
            one_thread: self.read(1),
            all_threads: self.read(crate::host::cores()),
        }
    }

    fn read(&self, threads: usize) -> f64 {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for part in self.words.chunks(WORDS.div_ceil(threads)) {
                scope.spawn(move || black_box(fold(part)));
            }
        });
        size_of_val(&*self.words) as f64 / started.elapsed().as_secs_f64() / 1e9
    }
}

fn fold(words: &[u64]) -> [u64; LANES] {
    let mut sums = [0; LANES];
    for lanes in words.as_chunks::<LANES>().0 {
        for (sum, word) in sums.iter_mut().zip(lanes) {
            *sum ^= word;
        }
    }
    sums
}

impl Rates {
    /// Whether the memory has changed its mode between two readings.
    pub(crate) fn flipped(self, after: Self) -> bool {
        const TOLERANCE: f64 = 0.1;
        let differ = |a: f64, b: f64| (a - b).abs() > TOLERANCE * a.max(b);
        differ(self.one_thread, after.one_thread) || differ(self.all_threads, after.all_threads)
    }
}
