//! The threads of a program on which its network runs, beside those that compute.

use std::io;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};

/// Stack of each thread, and of that which does a server's arithmetic, as short steps of a span run on both. candle
/// recurses little, but debug builds have large frames.
pub const STACK_BYTES: usize = 8 * 1024 * 1024;

/// A runtime with one thread for every two cores, and one at least: the other cores belong to the arithmetic.
///
/// A thread that is woken from outside, as by a computed answer, wakes another one to look for more work. With a thread
/// for every core that one takes the place of whoever has work to do.
///
/// # Errors
/// The system's, if it gives no threads.
pub fn runtime() -> io::Result<Runtime> {
    let cores = available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        .worker_threads((cores / 2).max(1))
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
}

/// Runs `work` to its end on the network's threads. On the thread that waits here, every message would have to wake it.
///
/// # Panics
/// If `work` does.
pub fn run<T: Send + 'static>(
    runtime: &Runtime,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    match runtime.block_on(runtime.spawn(work)) {
        Ok(output) => output,
        // The runtime lives, so nothing but a panic ends the task early.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
