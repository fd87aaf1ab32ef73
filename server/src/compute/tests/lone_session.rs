//! Steps that run where they arrive.

use futures::executor::block_on;

use super::super::lone_session::MIN_TURNS;
use super::*;

/// Steps of one session until they run where they arrive.
async fn become_alone(bench: &Bench, lease: &Lease, peer: PeerId) {
    let started = Instant::now();
    while !bench.runs_here() {
        assert!(started.elapsed() < PATIENCE, "no step ran here");
        let step = bench.handle.step(lease, peer, input(1.0, 1));
        step.await.unwrap();
        bench.wait_inside();
    }
}

#[tokio::test]
async fn the_steps_of_a_session_alone_run_where_they_arrive_until_another_comes() {
    let bench = bench(false);
    let (one, two) = (bench.lease().await, bench.lease().await);
    let peer = PeerId::random();
    become_alone(&bench, &one, peer).await;
    assert!(bench.seen.lock().unwrap().rows_of_calls.len() > MIN_TURNS as usize);
    bench.handle.step(&two, peer, input(1.0, 1)).await.unwrap();
    assert!(!bench.runs_here());
    bench.handle.step(&one, peer, input(1.0, 1)).await.unwrap();
    assert!(!bench.runs_here());
    become_alone(&bench, &one, peer).await;
    // A prompt may take long.
    bench.handle.step(&one, peer, input(1.0, 17)).await.unwrap();
    assert!(!bench.runs_here());
}

#[tokio::test]
async fn a_panic_where_a_step_arrived_is_answered_too() {
    let bench = bench(false);
    let lease = bench.lease().await;
    let peer = PeerId::random();
    loop {
        become_alone(&bench, &lease, peer).await;
        let failed = bench.handle.step(&lease, peer, input(PANIC, 1)).await;
        assert!(matches!(failed, Err(RequestError::Internal(_))));
        // On a busy machine the last turns may have taken long, and the thread had this one.
        if bench.runs_here() {
            break;
        }
    }
    let works = bench.handle.step(&lease, peer, input(1.0, 1)).await;
    assert_eq!(works.unwrap().values, [2.0]);
}

/// Steps of one session on another thread until one runs there; that one is stuck in the span until the gate opens.
fn stuck_step(bench: &Bench, lease: Lease, peer: PeerId) -> thread::JoinHandle<Lease> {
    let (handle, seen) = (bench.handle.clone(), Arc::clone(&bench.seen));
    let stepping = thread::spawn(move || {
        loop {
            let done = block_on(handle.step(&lease, peer, input(1.0, 1)));
            assert_eq!(done.unwrap().values, [2.0]);
            // Another thread's call may have followed already.
            if seen
                .lock()
                .unwrap()
                .threads
                .contains(&thread::current().id())
            {
                return lease;
            }
        }
    });
    loop {
        bench.wait_inside();
        if bench.seen.lock().unwrap().threads.last() == Some(&stepping.thread().id()) {
            return stepping;
        }
        bench.pass();
    }
}

#[tokio::test]
async fn work_that_comes_while_a_step_runs_where_it_arrived_follows_it() {
    let bench = bench(true);
    let (lease, other) = (bench.lease().await, bench.lease().await);
    let peer = PeerId::random();
    let stuck = stuck_step(&bench, lease, peer);
    let mut waiting = Box::pin(bench.handle.step(&other, peer, input(2.0, 1)));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert_eq!(bench.handle.queued(), (1, 0));
    bench.pass();
    bench.pass();
    assert_eq!(waiting.await.unwrap().values, [3.0]);
    drop(stuck.join().unwrap());
    eventually(|| bench.budget.free_tokens() == 60).await;
}

#[tokio::test]
async fn the_thread_does_not_end_before_a_step_that_runs_where_it_arrived() {
    let bench = bench(true);
    let lease = bench.lease().await;
    let stuck = stuck_step(&bench, lease, PeerId::random());
    let compute = bench.compute;
    let (said, stopped) = mpsc::channel();
    let stopping = thread::spawn(move || {
        compute.stop();
        said.send(()).unwrap();
    });
    eventually(|| !bench.handle.healthy()).await;
    // Long enough for a thread that does not wait.
    let early = stopped.recv_timeout(Duration::from_millis(200));
    assert!(early.is_err());
    bench.passes.as_ref().unwrap().send(()).unwrap();
    stopped.recv_timeout(PATIENCE).unwrap();
    stopping.join().unwrap();
    drop(stuck.join().unwrap());
}
