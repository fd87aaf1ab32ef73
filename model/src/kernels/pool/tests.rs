//! Every task once, whoever works on it, and what happens when one fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Pool, SPIN};

#[test]
fn every_task_runs_once_on_a_thread_of_the_pool() {
    for threads in [0, 1, 2, 5] {
        let pool = Pool::new(threads).unwrap();
        for tasks in [0, 1, 2, 3, 100] {
            let counts: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(tasks, &|task, thread| {
                assert!(thread < pool.threads());
                counts[task].fetch_add(1, Ordering::Relaxed);
            });
            assert!(
                counts
                    .iter()
                    .all(|count| count.load(Ordering::Relaxed) == 1)
            );
        }
    }
}

#[test]
fn every_item_of_the_streams_is_visited_once() {
    for threads in [1, 2, 5] {
        let pool = Pool::new(threads).unwrap();
        for items in [0, 1, 3, 4, 1000] {
            let counts: Vec<_> = (0..items).map(|_| AtomicUsize::new(0)).collect();
            pool.run_streams(items, &|item| {
                counts[item].fetch_add(1, Ordering::Relaxed);
            });
            let mut counts = counts.iter().map(|count| count.load(Ordering::Relaxed));
            assert!(counts.all(|count| count == 1));
        }
    }
}

#[test]
fn many_short_jobs_follow_each_other() {
    let pool = Pool::new(3).unwrap();
    let sum = AtomicUsize::new(0);
    for round in 0..20_000 {
        let local = [round; 4];
        pool.run(4, &|task, _| {
            sum.fetch_add(local[task], Ordering::Relaxed);
        });
    }
    assert_eq!(sum.into_inner(), 4 * (0..20_000).sum::<usize>());
}

#[test]
fn a_parked_helper_is_woken_and_a_slow_one_is_waited_for() {
    let pool = Pool::new(2).unwrap();
    while !pool.shared.parked[0].load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    let arrived = AtomicUsize::new(0);
    // Each task waits for the other, so both threads must take part, and for longer than anybody spins.
    pool.run(2, &|_, _| {
        arrived.fetch_add(1, Ordering::SeqCst);
        while arrived.load(Ordering::SeqCst) < 2 {
            std::thread::yield_now();
        }
        let started = std::time::Instant::now();
        while started.elapsed() < 4 * SPIN {
            std::thread::yield_now();
        }
    });
    assert_eq!(arrived.into_inner(), 2);
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
    let pool = Pool::new(2).unwrap();
    let done = AtomicUsize::new(0);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        pool.run(10, &|task, _| {
            done.fetch_add(1, Ordering::SeqCst);
            assert_ne!(task, 5, "on purpose");
        });
    }));
    assert!(outcome.is_err());
    assert_eq!(done.load(Ordering::SeqCst), 10);
    pool.run(10, &|_, _| {
        done.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(done.into_inner(), 20);
}
