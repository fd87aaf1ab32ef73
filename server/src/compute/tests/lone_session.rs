//! Steps that run where they arrive.

use super::super::lone_session::MIN_TURNS;
use super::*;

/// Steps of one session until they run where they arrive.
async fn become_alone(bench: &Bench, lease: &Lease, peer: PeerId) {
    let started = Instant::now();
    while !bench.runs_here() {
        assert!(started.elapsed() < PATIENCE, "no step ran here");
        // A bench without a gate needs none.
        bench.passes.as_ref().unwrap().send(()).ok();
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
    become_alone(&bench, &lease, peer).await;
    let failed = bench.handle.step(&lease, peer, input(PANIC, 1)).await;
    assert!(matches!(failed, Err(RequestError::Internal(_))));
    assert!(bench.runs_here());
    let works = bench.handle.step(&lease, peer, input(1.0, 1)).await;
    assert_eq!(works.unwrap().values, [2.0]);
}

/// A step that runs where it arrived, stuck in the span until the gate opens, beside the bench's own thread.
fn stuck_step(bench: &Bench, lease: Lease, peer: PeerId) -> thread::JoinHandle<Lease> {
    let handle = bench.handle.clone();
    let stuck = thread::spawn(move || {
        let done = handle.step(&lease, peer, input(1.0, 1)).now_or_never();
        // It is done at once: nobody else ran it.
        assert_eq!(done.unwrap().unwrap().values, [2.0]);
        lease
    });
    bench.wait_inside();
    stuck
}

/// A gated bench whose next short step of the lease runs where it arrives.
async fn bench_alone() -> (Bench, Lease, PeerId) {
    let bench = bench(true);
    let lease = bench.lease().await;
    let peer = PeerId::random();
    become_alone(&bench, &lease, peer).await;
    (bench, lease, peer)
}

#[tokio::test]
async fn work_that_comes_while_a_step_runs_where_it_arrived_follows_it() {
    let (bench, lease, peer) = bench_alone().await;
    let other = bench.lease().await;
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
    let (bench, lease, peer) = bench_alone().await;
    let stuck = stuck_step(&bench, lease, peer);
    let compute = bench.compute;
    let (said, stopped) = mpsc::channel();
    let stopping = thread::spawn(move || {
        compute.stop();
        said.send(()).unwrap();
    });
    eventually(|| !bench.handle.healthy()).await;
    assert!(stopped.try_recv().is_err());
    bench.passes.as_ref().unwrap().send(()).unwrap();
    stopped.recv_timeout(PATIENCE).unwrap();
    stopping.join().unwrap();
    drop(stuck.join().unwrap());
}
