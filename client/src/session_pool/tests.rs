use std::sync::Arc;

use tokio::time::{advance, timeout};

use super::*;
use crate::generate::{GenerateConfig, Prompt};
use crate::session::tests::{Fate, new_session};
use crate::session_error::SessionError;

const MINUTE: Duration = Duration::from_secs(60);

fn limits() -> SessionPoolLimits {
    SessionPoolLimits {
        min_common: 3,
        ..SessionPoolLimits::default()
    }
}

/// A session that holds tokens, none of which has been sent.
fn holding(ids: &[u32]) -> Session {
    let mut session = new_session(32);
    for id in ids {
        session.choose(*id);
    }
    session
}

fn held(pool: &SessionPool<&str>, ids: &[u32]) -> Option<usize> {
    let taken = pool.take(&"model", ids, ids.len());
    taken.map(|(session, kept)| {
        assert_eq!(session.ids(), &ids[..kept]);
        kept
    })
}

async fn answer(session: &mut Session, prompt: &[u32], count: usize) -> Vec<u32> {
    let prompt = Prompt::Ids(prompt.to_vec());
    let config = GenerateConfig::new(count);
    let mut generation = session.generate(prompt, config).unwrap();
    while let Some(token) = generation.next().await {
        token.unwrap();
    }
    generation.finish().ids
}

#[tokio::test]
async fn the_next_turn_runs_only_its_new_tokens_and_says_the_same() {
    let pool = SessionPool::new(limits());
    let first = [0, 514, 486, 260, 423];
    let mut session = new_session(64);
    let said = answer(&mut session, &first, 6).await;
    pool.give_back("model", session);

    // The next turn repeats all but the last token of the answer, as if its end were written in another way.
    let turn = [&first[..], &said[..5], &[9, 17, 42]].concat();
    let (mut session, kept) = pool.take(&"model", &turn, turn.len() + 8).unwrap();
    assert!(pool.is_empty());
    assert_eq!((kept, session.ids()), (10, &turn[..10]));
    let before = session.local_blocks().steps.len();
    let again = answer(&mut session, &turn[kept..], 8).await;
    assert_eq!(session.local_blocks().steps[before..][..2], [3, 1]);
    assert_eq!(again, answer(&mut new_session(64), &turn, 8).await);

    // The same turn once more: there is nothing new in it.
    pool.give_back("model", session);
    let (mut session, kept) = pool.take(&"model", &turn, turn.len() + 8).unwrap();
    assert_eq!(kept, turn.len());
    assert_eq!(answer(&mut session, &[], 8).await, again);
}

#[tokio::test]
async fn the_session_with_most_in_common_is_taken_once() {
    let pool = SessionPool::new(limits());
    pool.give_back("model", holding(&[1, 2, 3]));
    pool.give_back("model", holding(&[1, 2, 3, 4, 5, 6]));
    pool.give_back("model", holding(&[1, 2, 3, 4, 9]));
    pool.give_back("other", holding(&[1, 2, 3, 4, 5, 6, 7]));
    let ids = [1, 2, 3, 4, 5, 6, 7];
    assert_eq!(held(&pool, &ids), Some(6));
    assert_eq!(held(&pool, &ids), Some(4));
    assert_eq!(held(&pool, &ids), Some(3));
    assert_eq!(held(&pool, &ids), None);
    assert_eq!(pool.len(), 1);
}

#[tokio::test]
async fn too_little_in_common_leaves_a_session_where_it_is() {
    let pool = SessionPool::new(limits());
    pool.give_back("model", holding(&[1, 2, 3, 4]));
    assert_eq!(held(&pool, &[1, 2, 9, 9]), None);
    assert_eq!(held(&pool, &[]), None);
    assert_eq!(held(&pool, &[1, 2, 3, 9]), Some(3));
    // Another conversation that begins alike is not lost for this one.
    pool.give_back("model", holding(&[1, 2, 3, 4, 5, 6, 7]));
    assert_eq!(held(&pool, &[1, 2, 3, 9]), None);
    assert_eq!(held(&pool, &[1, 2, 3, 4, 9]), Some(4));
}

#[tokio::test]
async fn of_equals_the_one_that_loses_least_is_taken() {
    let pool = SessionPool::new(limits());
    pool.give_back("model", holding(&[1, 2, 3, 4, 5, 6]));
    pool.give_back("model", holding(&[1, 2, 3, 8]));
    assert_eq!(held(&pool, &[1, 2, 3, 7]), Some(3));
    assert_eq!(held(&pool, &[1, 2, 3, 4, 5, 6]), Some(6));
}

#[tokio::test]
async fn a_session_that_is_too_short_for_its_conversation_is_ended() {
    let pool = SessionPool::new(limits());
    pool.give_back("model", holding(&[1, 2, 3, 4, 5]));
    pool.give_back("model", holding(&[1, 2, 3, 4, 5, 6]));
    pool.give_back("model", holding(&[7, 7, 7]));
    assert!(pool.take(&"model", &[1, 2, 3, 4, 5, 6, 7], 33).is_none());
    assert_eq!(pool.len(), 1);
    assert!(pool.take(&"model", &[7, 7, 7], 32).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_session_waits_for_a_bounded_time() {
    let pool = Arc::new(SessionPool::new(limits()));
    let expiring = {
        let pool = Arc::clone(&pool);
        async move { pool.expire().await }
    };
    let mut expiring = Box::pin(expiring);
    assert!(timeout(MINUTE, &mut expiring).await.is_err());
    pool.give_back("model", holding(&[1, 2, 3]));
    assert!(timeout(MINUTE, &mut expiring).await.is_err());
    pool.give_back("model", holding(&[4, 5, 6]));
    assert!(
        timeout(MINUTE - Duration::from_secs(1), &mut expiring)
            .await
            .is_err()
    );
    assert_eq!(pool.len(), 2);
    assert!(
        timeout(Duration::from_secs(2), &mut expiring)
            .await
            .is_err()
    );
    assert_eq!(pool.len(), 1);
    // Without anybody who ends them, they are at least not found any more.
    drop(expiring);
    advance(MINUTE).await;
    assert_eq!((held(&pool, &[4, 5, 6]), pool.len()), (None, 0));
}

#[tokio::test]
async fn the_longest_waiting_make_room_for_others() {
    let pool = SessionPool::new(SessionPoolLimits {
        max_sessions: 2,
        max_tokens: 9,
        ..limits()
    });
    for first in [1, 2, 3] {
        pool.give_back("model", holding(&[first, 0, 0]));
    }
    assert_eq!((held(&pool, &[1, 0, 0]), pool.len()), (None, 2));
    pool.give_back("model", holding(&[4, 0, 0, 0, 0, 0, 0]));
    assert_eq!(pool.len(), 1, "both had to go for so many tokens");
    pool.give_back("model", holding(&[5; 10]));
    assert!(pool.is_empty(), "more than may be kept at all");
}

#[tokio::test]
async fn sessions_that_are_over_or_empty_are_not_kept() {
    let pool = SessionPool::new(limits());
    pool.give_back("model", new_session(32));
    let mut session = new_session(32);
    session.local_blocks().script.push_back(Fate::Nonsense);
    let mut generation = session
        .generate(vec![1, 2, 3], GenerateConfig::new(4))
        .unwrap();
    let error = generation.next().await.unwrap().unwrap_err();
    assert!(matches!(error, SessionError::Nonsense(_)));
    assert!(!session.is_usable());
    pool.give_back("model", session);
    assert!(pool.is_empty());
}

#[tokio::test]
async fn sessions_can_be_ended_by_their_key() {
    let pool = SessionPool::new(limits());
    for key in ["a", "b", "a"] {
        pool.give_back(key, holding(&[1, 2, 3]));
    }
    assert!(pool.holds(|key| *key == "a"));
    assert_eq!(pool.end_where(|key| *key == "a"), 2);
    assert!(!pool.holds(|key| *key == "a"));
    assert_eq!((pool.end_where(|key| *key == "a"), pool.len()), (0, 1));
}
