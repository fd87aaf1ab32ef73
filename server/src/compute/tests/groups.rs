//! Sessions that step side by side.

use super::*;

#[tokio::test]
async fn sessions_that_fell_apart_into_groups_come_together_again() {
    let mut bench = bench(true);
    let (one, two) = (bench.lease().await, bench.lease().await);
    let peer = PeerId::random();
    let mut running = Box::pin(bench.handle.step(&one, peer, input(1.0, 1)));
    assert!(running.as_mut().now_or_never().is_none());
    bench.wait_inside();
    // Each asks again as soon as it has its answer; so there is always one in line when a turn ends.
    let mut waiting = Box::pin(bench.handle.step(&two, peer, input(1.0, 1)));
    assert!(waiting.as_mut().now_or_never().is_none());
    let (mut turn, mut next) = ((&one, running), (&two, waiting));
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < PATIENCE, "no turn was shared");
        let entered = Instant::now();
        eventually(|| entered.elapsed() > Duration::from_millis(16)).await;
        bench.pass();
        turn.1.await.unwrap();
        turn.1 = Box::pin(bench.handle.step(turn.0, peer, input(1.0, 1)));
        assert!(turn.1.as_mut().now_or_never().is_none());
        bench.wait_inside();
        if bench.handle.queued().0 == 0 {
            break;
        }
        std::mem::swap(&mut turn, &mut next);
    }
    bench.passes = None;
    turn.1.await.unwrap();
    next.1.await.unwrap();
    assert_eq!(bench.seen.lock().unwrap().rows_of_calls.last(), Some(&2));
}
