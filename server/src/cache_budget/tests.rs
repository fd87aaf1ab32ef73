use std::cell::RefCell;

use futures::FutureExt;

use super::*;

fn budget(page_tokens: u64) -> CacheBudget {
    CacheBudget::new(&CacheRoom {
        tokens_per_block: 100,
        blocks: 1,
        page_tokens,
        bytes_per_token: 16,
        device: "cpu".to_owned(),
        max_waiting: 8,
    })
}

fn fixed(tokens: u64) -> Share {
    Share {
        rows: 1,
        max_length: tokens,
        first_length: None,
    }
}

fn growing(rows: u64, first: u64, max_length: u64) -> Share {
    Share {
        rows,
        max_length,
        first_length: Some(first),
    }
}

async fn held(budget: &CacheBudget, share: Share) -> Reservation {
    budget.reserve(share, Duration::ZERO).await.unwrap()
}

fn nothing_to_close(cache: CacheHandle) {
    panic!("{cache:?} is not to be closed");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_reservation_returns_its_tokens() {
    let budget = budget(1);
    let held = held(&budget, fixed(70)).await;
    assert_eq!(budget.free_tokens(), 30);
    let refused = budget.reserve(fixed(40), Duration::ZERO).await.unwrap_err();
    assert_eq!(
        refused,
        RequestError::CacheFull {
            needed_tokens: 40,
            free_tokens: 30,
            total_tokens: 100
        }
    );
    drop(held);
    assert_eq!(budget.free_tokens(), 100);
}

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_order() {
    let budget = budget(1);
    let held = held(&budget, fixed(100)).await;
    let mut first = Box::pin(budget.reserve(fixed(80), Duration::from_secs(10)));
    let mut second = Box::pin(budget.reserve(fixed(20), Duration::from_secs(10)));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    assert_eq!(budget.waiting(), 2);
    drop(held);
    let _first = first.await.unwrap();
    let _second = second.await.unwrap();
    assert_eq!(budget.free_tokens(), 0);
}

#[tokio::test(start_paused = true)]
async fn patience_ends_and_a_dropped_waiter_leaves_the_line() {
    let budget = budget(1);
    let held = held(&budget, fixed(60)).await;
    let started = Instant::now();
    let late = budget.reserve(fixed(50), Duration::from_secs(3)).await;
    assert!(matches!(late, Err(RequestError::CacheFull { .. })));
    assert_eq!(started.elapsed(), Duration::from_secs(3));

    let mut gone = Box::pin(budget.reserve(fixed(50), Duration::from_secs(3)));
    assert!(gone.as_mut().now_or_never().is_none());
    let mut behind = Box::pin(budget.reserve(fixed(40), Duration::from_secs(3)));
    assert!(behind.as_mut().now_or_never().is_none());
    drop(gone);
    let behind = behind.await.unwrap();
    assert_eq!(budget.free_tokens(), 0);
    drop((held, behind));
    assert_eq!(budget.free_tokens(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_takes_goes_to_the_next() {
    let budget = budget(1);
    let held = held(&budget, fixed(100)).await;
    let mut gone = Box::pin(budget.reserve(fixed(100), Duration::from_secs(9)));
    assert!(gone.as_mut().now_or_never().is_none());
    let mut next = Box::pin(budget.reserve(growing(1, 50, 100), Duration::from_secs(9)));
    assert!(next.as_mut().now_or_never().is_none());
    drop(held); // granted to `gone`, which is never polled again
    drop(gone);
    next.await.unwrap();
    assert_eq!(budget.free_tokens(), 100);
}

#[tokio::test]
async fn shares_are_whole_pages_of_every_row() {
    let budget = CacheBudget::new(&CacheRoom {
        tokens_per_block: 1000,
        blocks: 4,
        page_tokens: 64,
        bytes_per_token: 16,
        device: "cpu".to_owned(),
        max_waiting: 8,
    });
    assert_eq!(budget.total_tokens(), 4 * 1024);
    let whole = Share {
        rows: 2 * 4,
        max_length: 65,
        first_length: None,
    };
    let whole = held(&budget, whole).await;
    assert_eq!(budget.free_tokens(), 4 * 1024 - 8 * 128);
    drop(whole);
    // The tokens it has and one page, but no more than it may ever have.
    let session = held(&budget, growing(4, 0, 1000)).await;
    assert_eq!(budget.free_tokens(), 4 * (1024 - 64));
    session.grow(64, nothing_to_close).unwrap();
    assert_eq!(budget.free_tokens(), 4 * (1024 - 64));
    session.grow(65, nothing_to_close).unwrap();
    assert_eq!(budget.free_tokens(), 4 * (1024 - 128));
    drop(session);
    let short = held(&budget, growing(4, 60, 70)).await;
    assert_eq!(budget.free_tokens(), 4 * (1024 - 128));
    drop(short);
    let refused = budget.reserve(growing(4, 0, 1025), Duration::ZERO).await;
    assert!(matches!(refused, Err(RequestError::CacheFull { .. })));
}

#[tokio::test]
async fn the_youngest_that_grows_ends_for_an_older_one_and_its_cache_is_closed() {
    let budget = budget(10);
    let old = held(&budget, growing(1, 0, 100)).await;
    let young = held(&budget, growing(1, 50, 100)).await;
    let fixed = held(&budget, fixed(20)).await;
    young.bind(CacheHandle::new(7));
    old.grow(20, nothing_to_close).unwrap();
    assert_eq!(budget.free_tokens(), 0);
    assert!(young.ended().now_or_never().is_none());
    let closed = RefCell::new(Vec::new());
    old.grow(21, |cache| closed.borrow_mut().push(cache))
        .unwrap();
    assert_eq!(closed.into_inner(), [CacheHandle::new(7)]);
    assert!(young.ended().now_or_never().is_some());
    assert_eq!(
        young.grow(60, nothing_to_close),
        Err(RequestError::CacheTaken)
    );
    assert!(fixed.ended().now_or_never().is_none());
    assert_eq!(budget.free_tokens(), 50);
    drop(young);
    assert_eq!(budget.free_tokens(), 50);
    // Alone among those that grow, it ends itself.
    assert_eq!(
        old.grow(90, nothing_to_close),
        Err(RequestError::CacheTaken)
    );
    assert_eq!(budget.free_tokens(), 80);
    drop((old, fixed));
    assert_eq!(budget.free_tokens(), 100);
    assert!(budget.shared.lock().growing.is_empty());
}
