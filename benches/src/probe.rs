//! A streaming read of memory: what one decode step of a large model is made of, and so what its time is compared to.
//!
//! On shared hosts the rate flips between modes within seconds; a round during which it has flipped is worth nothing.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result};
use block_model::peak;
use memmap2::{Advice, MmapMut, MmapOptions};

use crate::host;

/// Bytes of the memory at least; where the largest cache is large, twice what that holds.
const MIN_BYTES: usize = 256 << 20;

/// Bytes of one reading: 10 to 30 ms, so that starting the threads is nothing.
const READING_BYTES: usize = 1 << 30;

/// Memory that is read again and again.
#[derive(Debug)]
pub(crate) struct Probe {
    memory: MmapMut,
}

/// GB/s of one thread and of one thread per core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub(crate) one_thread: f64,
    pub(crate) all_threads: f64,
}

impl Probe {
    /// # Errors
    /// The system's, if it has no memory.
    pub(crate) fn new() -> Result<Self> {
        let bytes = MIN_BYTES.max(2 * host::largest_cache());
        let mut memory = MmapOptions::new().len(bytes).map_anon();
        if let Ok(memory) = &memory {
            // As the engine's weights lie: small pages read up to a fifth slower. A system without them says no.
            memory.advise(Advice::HugePage).ok();
        }
        // Pages that were never written are all one page of zeros, which lies in the cache.
        if let Ok(memory) = &mut memory {
            memory.fill(1);
        }
        Ok(Self {
            memory: memory.context("memory for the stream probe")?,
        })
    }

    pub(crate) fn rates(&self) -> Rates {
        Rates {
            one_thread: self.stream(1),
            all_threads: self.stream(host::cores()),
        }
    }

    /// GB/s of so many threads, each with its own part of the memory.
    pub(crate) fn stream(&self, threads: usize) -> f64 {
        let started = Instant::now();
        let bytes = self.memory.len();
        let passes = (READING_BYTES / bytes).max(1);
        std::thread::scope(|scope| {
            for part in self.memory.chunks(bytes.div_ceil(threads)) {
                scope.spawn(move || {
                    for _ in 0..passes {
                        black_box(peak::fold(black_box(part)));
                    }
                });
            }
        });
        (passes * bytes) as f64 / started.elapsed().as_secs_f64() / 1e9
    }
}

/// Whether two readings belong to different modes of the memory.
pub(crate) fn differ(a: f64, b: f64) -> bool {
    const TOLERANCE: f64 = 0.1;
    (a - b).abs() > TOLERANCE * a.max(b)
}

impl Rates {
    /// Whether the memory has changed its mode between two readings.
    pub(crate) fn flipped(self, after: Self) -> bool {
        differ(self.one_thread, after.one_thread) || differ(self.all_threads, after.all_threads)
    }
}
