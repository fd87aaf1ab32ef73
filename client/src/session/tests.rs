use std::sync::LazyLock;

use block_model::ModelSource;
use futures::FutureExt as _;

use super::*;
use crate::text_codec::test_codecs::fable_folder;
pub(crate) use blocks::{Fate, LocalBlocks};

static MODEL: LazyLock<Arc<LocalModel>> =
    LazyLock::new(|| Arc::new(LocalModel::load(&source()).unwrap()));

fn source() -> ModelSource {
    ModelSource::directory(fable_folder()).unwrap()
}

/// A session with the embedded model, its blocks in this process.
pub(crate) fn new_session(max_length: usize) -> Session {
    let blocks = LocalBlocks::load(&source(), max_length);
    Session::over(Arc::clone(&MODEL), Blocks::Here(blocks))
}

impl Session {
    pub(crate) fn local_blocks(&mut self) -> &mut LocalBlocks {
        match &mut self.blocks {
            Blocks::Here(blocks) => blocks,
            Blocks::Swarm(_) => panic!("not in this process"),
        }
    }

    fn steps(&mut self) -> Vec<usize> {
        self.local_blocks().steps.clone()
    }
}

/// Largest difference; the same numbers computed in other cuts differ in the last digits.
fn difference(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    one.iter()
        .zip(other)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

const TOLERANCE: f32 = 1e-3;

#[tokio::test]
async fn logits_of_every_token_are_those_of_one_at_a_time() {
    let ids = [0, 514, 486, 260, 423];
    let all = new_session(16).feed_all(&ids).await.unwrap();
    let mut session = new_session(16);
    for (id, expected) in ids.iter().zip(all.chunks(4096)) {
        let logits = session.feed(&[*id]).await.unwrap();
        assert!(difference(&logits, expected) < TOLERANCE);
    }
    assert_eq!(session.steps(), [1; 5]);
    assert_eq!((session.ids(), session.position()), (ids.as_slice(), 5));
}

#[tokio::test]
async fn rows_are_those_of_the_tokens_given_though_others_were_due() {
    let mut session = new_session(16);
    session.feed(&[0, 514]).await.unwrap();
    session.choose(486);
    let rows = session.feed_all(&[260, 423]).await.unwrap();
    assert_eq!(session.steps(), [2, 3]);
    let expected = new_session(16)
        .feed_all(&[0, 514, 486, 260, 423])
        .await
        .unwrap();
    assert!(difference(&rows, &expected[3 * 4096..]) < TOLERANCE);
    assert!(session.feed_all(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn nothing_new_costs_no_step() {
    let mut session = new_session(16);
    let logits = session.feed(&[0, 514]).await.unwrap();
    assert_eq!(session.feed(&[]).await.unwrap(), logits);
    assert_eq!(session.steps(), [2]);
}

#[tokio::test]
async fn after_a_rollback_the_text_goes_on_from_there() {
    let mut session = new_session(16);
    session.feed(&[0, 514, 486]).await.unwrap();
    let expected = session.feed(&[260]).await.unwrap();
    session.feed(&[9, 9, 9]).await.unwrap();
    session.roll_back(4).unwrap();
    assert_eq!((session.ids().len(), session.position()), (4, 4));
    // The output for token 4 is no longer known: that token alone is run once more.
    assert!(difference(&session.feed(&[]).await.unwrap(), &expected) < TOLERANCE);
    assert_eq!(session.steps(), [3, 1, 3, 1]);

    session.roll_back(3).unwrap();
    assert!(difference(&session.feed(&[260]).await.unwrap(), &expected) < TOLERANCE);
    assert!(matches!(
        session.roll_back(5),
        Err(SessionError::BadInput(_))
    ));
    session.roll_back(0).unwrap();
    assert!(matches!(
        session.feed(&[]).await,
        Err(SessionError::BadInput(_))
    ));
}

#[tokio::test]
async fn a_rollback_of_what_was_never_sent_touches_no_server() {
    let mut session = new_session(16);
    let logits = session.feed(&[0, 514]).await.unwrap();
    session.choose(486);
    session.roll_back(2).unwrap();
    assert_eq!(session.feed(&[]).await.unwrap(), logits);
    assert_eq!(session.steps(), [2]);
}

#[tokio::test]
async fn what_does_not_fit_is_not_sent() {
    let mut session = new_session(4);
    session.feed(&[0, 514, 486]).await.unwrap();
    let error = session.feed(&[260, 423]).await.unwrap_err();
    let expected = SessionError::TooLong {
        position: 3,
        new: 2,
        max_length: 4,
    };
    assert_eq!(error, expected);
    assert_eq!(session.steps(), [3]);
    session.feed(&[260]).await.unwrap();
    assert_eq!(session.ids().len(), 4);
}

#[tokio::test]
async fn an_unknown_token_is_not_sent() {
    let mut session = new_session(16);
    assert!(matches!(
        session.feed(&[4096]).await,
        Err(SessionError::BadInput(_))
    ));
    assert!(session.ids().is_empty());
    assert!(session.steps().is_empty());
}

#[tokio::test]
async fn a_step_that_fails_or_is_dropped_adds_nothing() {
    let expected = new_session(16).feed(&[0, 514, 486]).await.unwrap();
    let mut session = new_session(16);
    session.feed(&[0, 514]).await.unwrap();
    let failed = SessionError::Closed("for a test".to_owned());
    session
        .local_blocks()
        .script
        .extend([Fate::Fails(failed.clone()), Fate::Hangs]);
    assert_eq!(session.feed(&[486]).await, Err(failed));
    assert!(session.feed(&[486]).now_or_never().is_none());
    assert_eq!((session.ids().len(), session.position()), (2, 2));
    assert!(difference(&session.feed(&[486]).await.unwrap(), &expected) < TOLERANCE);
}

/// A prompt so long that its arithmetic at home leaves the async thread.
#[tokio::test]
async fn much_arithmetic_at_home_is_the_same_elsewhere() {
    let ids: Vec<u32> = (0..40).map(|number| number * 3 % 4096).collect();
    let rows = new_session(64).feed_all(&ids).await.unwrap();
    assert!(ids.len() * 256 * 4096 > MAX_OPERATIONS_AT_ONCE);
    let last = new_session(64).feed(&ids).await.unwrap();
    assert!(difference(&rows[39 * 4096..], &last) < TOLERANCE);
}
