use futures::FutureExt as _;
use serde_json::Value;

use super::*;
use crate::session::tests::{Fate, new_session};
use crate::text_codec::test_codecs::fable_folder;

mod constrained;

const PROMPT: &str = "Once upon a time";

async fn tokens(
    session: &mut Session,
    prompt: impl Into<Prompt>,
    config: GenerateConfig,
) -> (Vec<Token>, Finished) {
    let mut generation = session.generate(prompt, config).unwrap();
    let mut tokens = Vec::new();
    while let Some(token) = generation.next().await {
        tokens.push(token.unwrap());
    }
    (tokens, generation.finish())
}

async fn answer(
    session: &mut Session,
    prompt: impl Into<Prompt>,
    config: GenerateConfig,
) -> Finished {
    tokens(session, prompt, config).await.1
}

#[tokio::test]
async fn greedy_answers_are_those_of_transformers() {
    let golden = std::fs::read_to_string(fable_folder().join("golden.json")).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    for case in golden["prompts"].as_array().unwrap() {
        let ids =
            |field: &str| -> Vec<u32> { serde_json::from_value(case[field].clone()).unwrap() };
        let mut session = new_session(96);
        let prompt = case["prompt"].as_str().unwrap();
        let (tokens, finished) = tokens(&mut session, prompt, GenerateConfig::new(64)).await;
        assert_eq!(finished.prompt_ids, ids("prompt_ids"));
        assert_eq!(finished.ids, ids("greedy_ids"));
        assert_eq!(finished.text, case["text"].as_str().unwrap());
        assert_eq!(finished.reason, FinishReason::Length);
        assert_eq!(
            tokens.iter().map(|token| token.id).collect::<Vec<_>>(),
            finished.ids
        );
        assert_eq!(
            tokens
                .iter()
                .map(|token| token.text.as_str())
                .collect::<String>(),
            finished.text
        );
        assert!(tokens.iter().map(|token| token.index).eq(0..64));
        assert_eq!(
            session.ids(),
            [ids("prompt_ids"), ids("greedy_ids")].concat()
        );
        // The last token is chosen, but nobody has asked what follows it.
        assert_eq!(session.position(), session.ids().len() - 1);
    }
}

#[tokio::test]
async fn several_calls_make_the_same_text_as_one_and_run_each_token_once() {
    let expected = answer(&mut new_session(64), PROMPT, GenerateConfig::new(20)).await;
    let mut session = new_session(64);
    let mut first = answer(&mut session, PROMPT, GenerateConfig::new(7)).await;
    for count in [1, 12] {
        let next = answer(&mut session, Vec::new(), GenerateConfig::new(count)).await;
        assert!(next.prompt_ids.is_empty());
        first.ids.extend(next.ids);
        first.text += &next.text;
    }
    assert_eq!((first.ids, first.text), (expected.ids, expected.text));
    let prompt = expected.prompt_ids.len();
    let steps = session.local_blocks().steps.clone();
    assert_eq!(steps[0], prompt);
    assert_eq!(steps.iter().sum::<usize>(), prompt + 20 - 1);
}

#[tokio::test]
async fn a_later_prompt_gets_no_special_tokens() {
    let mut session = new_session(64);
    answer(&mut session, PROMPT, GenerateConfig::new(2)).await;
    let second = answer(&mut session, " He said", GenerateConfig::new(2)).await;
    assert!(!second.prompt_ids.contains(&0));
    let held = session.ids().to_vec();
    let (prompt, ids) = held.split_at(held.len() - 2);
    let expected = answer(&mut new_session(64), prompt, GenerateConfig::new(2)).await;
    assert_eq!(expected.ids, ids);
}

#[tokio::test]
async fn an_answer_can_be_asked_for_again_after_a_rollback() {
    let mut session = new_session(64);
    let first = answer(&mut session, PROMPT, GenerateConfig::new(10)).await;
    session.roll_back(first.prompt_ids.len() + 4).unwrap();
    let again = answer(&mut session, Vec::new(), GenerateConfig::new(6)).await;
    assert_eq!(again.ids, first.ids[4..]);
}

#[tokio::test]
async fn the_token_that_ends_an_answer_is_its_last() {
    let mut session = new_session(300);
    let (tokens, finished) = tokens(&mut session, vec![0, 456, 1], GenerateConfig::new(297)).await;
    assert_eq!(finished.reason, FinishReason::Stop);
    assert_eq!(finished.ids.last(), Some(&1));
    assert_eq!(finished.ids.iter().filter(|id| **id == 1).count(), 1);
    assert_eq!(tokens.last().unwrap().text, "");
    assert!(finished.ids.len() < 297);

    let config = GenerateConfig {
        ignore_eos: true,
        ..GenerateConfig::new(finished.ids.len() + 5)
    };
    let longer = answer(&mut new_session(300), vec![0, 456, 1], config).await;
    assert_eq!(longer.reason, FinishReason::Length);
    assert_eq!(longer.ids[..finished.ids.len()], finished.ids);
}

#[tokio::test]
async fn a_stop_string_ends_the_text_before_it() {
    // The answer begins ", there was a little girl named Lily. She loved to play": the string is spread over tokens.
    let stop = "irl named Li";
    let config = GenerateConfig {
        stop: vec!["nowhere".to_owned(), stop.to_owned()],
        ..GenerateConfig::new(30)
    };
    let mut session = new_session(64);
    let (tokens, finished) = tokens(&mut session, PROMPT, config).await;
    assert_eq!(finished.text, ", there was a little g");
    assert_eq!(finished.reason, FinishReason::Stop);
    assert_eq!(finished.stop.as_deref(), Some(stop));
    assert_eq!(
        tokens
            .iter()
            .map(|token| token.text.as_str())
            .collect::<String>(),
        finished.text
    );
    assert_eq!(tokens.last().unwrap().text, "");
    // Its tokens are in the session.
    assert_eq!(
        session.ids().len(),
        finished.prompt_ids.len() + finished.ids.len()
    );
}

#[tokio::test]
async fn nothing_ends_an_answer_before_its_least_length() {
    let early = answer(
        &mut new_session(300),
        vec![0, 456, 1],
        GenerateConfig::new(290),
    )
    .await;
    let ended_after = early.ids.len();
    assert_eq!(early.reason, FinishReason::Stop);
    let longer = GenerateConfig {
        min_tokens: ended_after + 2,
        ..GenerateConfig::new(ended_after + 4)
    };
    let longer = answer(&mut new_session(300), vec![0, 456, 1], longer).await;
    assert!(longer.ids.len() > ended_after + 1);
    assert!(!longer.ids[..ended_after + 2].contains(&1));
    assert_eq!(
        longer.ids[..ended_after - 1],
        early.ids[..ended_after - 1],
        "only what would have ended it is replaced"
    );
    // Its end is an ordinary token if it is to be ignored.
    let ignored = GenerateConfig {
        min_tokens: ended_after + 2,
        ignore_eos: true,
        ..GenerateConfig::new(ended_after + 2)
    };
    let ignored = answer(&mut new_session(300), vec![0, 456, 1], ignored).await;
    assert_eq!(ignored.ids[..ended_after], early.ids);
}

#[tokio::test]
async fn a_stop_string_in_the_least_length_is_passed_over() {
    // ", there was a little girl named Lily. She loved to play": a comma is its first token.
    let config = |min_tokens| GenerateConfig {
        min_tokens,
        stop: vec![",".to_owned(), " play".to_owned()],
        ..GenerateConfig::new(30)
    };
    let at_once = answer(&mut new_session(64), PROMPT, config(0)).await;
    assert_eq!((at_once.text.as_str(), at_once.ids.len()), ("", 1));
    let later = answer(&mut new_session(64), PROMPT, config(1)).await;
    assert_eq!(
        later.text,
        ", there was a little girl named Lily. She loved to"
    );
    assert_eq!(later.stop.as_deref(), Some(" play"));
}

#[tokio::test]
async fn a_biased_token_comes_as_often_as_it_is_asked_for() {
    let always = GenerateConfig {
        sampling: SamplingConfig {
            logit_bias: [(423, 100.0)].into(),
            ..SamplingConfig::greedy()
        },
        ..GenerateConfig::new(5)
    };
    let finished = answer(&mut new_session(64), PROMPT, always).await;
    assert_eq!(finished.ids, [423; 5]);
}

#[tokio::test]
async fn what_only_began_like_a_stop_string_comes_with_the_last_token() {
    let config = GenerateConfig {
        stop: vec![" Lily. He".to_owned()],
        ..GenerateConfig::new(9)
    };
    let finished = answer(&mut new_session(64), PROMPT, config).await;
    assert_eq!(finished.text, ", there was a little girl named Lily.");
    assert_eq!(finished.reason, FinishReason::Length);
}

#[tokio::test]
async fn seeded_answers_repeat() {
    let config = |seed| GenerateConfig {
        sampling: SamplingConfig {
            seed: Some(seed),
            top_k: 40,
            ..SamplingConfig::default()
        },
        logprobs: Some(2),
        ..GenerateConfig::new(24)
    };
    let (first, _) = tokens(&mut new_session(64), PROMPT, config(1)).await;
    let (second, _) = tokens(&mut new_session(64), PROMPT, config(1)).await;
    let (other, _) = tokens(&mut new_session(64), PROMPT, config(2)).await;
    let ids = |tokens: &[Token]| tokens.iter().map(|token| token.id).collect::<Vec<_>>();
    assert_eq!(ids(&first), ids(&second));
    assert_ne!(ids(&first), ids(&other));
    for token in &first {
        assert_eq!(token.top_logprobs.len(), 2);
        assert!(token.logprob.unwrap() <= token.top_logprobs[0].1);
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_anything_is_sent() {
    let mut session = new_session(16);
    let wrong_sampling = SamplingConfig {
        top_p: 2.0,
        ..SamplingConfig::default()
    };
    let unknown_token = SamplingConfig {
        logit_bias: [(4096, 1.0)].into(),
        ..SamplingConfig::greedy()
    };
    let wrong = [
        GenerateConfig::new(0),
        GenerateConfig {
            min_tokens: 6,
            ..GenerateConfig::new(5)
        },
        GenerateConfig {
            sampling: unknown_token,
            ..GenerateConfig::new(1)
        },
        GenerateConfig {
            stop: vec![String::new()],
            ..GenerateConfig::new(1)
        },
        GenerateConfig {
            sampling: wrong_sampling,
            ..GenerateConfig::new(1)
        },
    ];
    for config in wrong {
        let error = session.generate(PROMPT, config).unwrap_err();
        assert!(matches!(error, SessionError::BadInput(_)), "{error}");
    }
    let error = session
        .generate(Vec::new(), GenerateConfig::new(1))
        .unwrap_err();
    assert!(matches!(error, SessionError::BadInput(_)), "{error}");
    for max_tokens in [12, usize::MAX] {
        let error = session
            .generate(PROMPT, GenerateConfig::new(max_tokens))
            .unwrap_err();
        assert!(
            matches!(
                error,
                SessionError::TooLong {
                    position: 0,
                    max_length: 16,
                    ..
                }
            ),
            "{error}"
        );
    }
    assert!(session.local_blocks().steps.is_empty());
    assert_eq!(
        answer(&mut session, PROMPT, GenerateConfig::new(11))
            .await
            .ids
            .len(),
        11
    );
}

#[tokio::test]
async fn a_dropped_answer_leaves_the_session_usable() {
    let expected = answer(&mut new_session(64), PROMPT, GenerateConfig::new(12)).await;
    let mut session = new_session(64);
    session.local_blocks().script.push_back(Fate::Hangs);
    let mut generation = session.generate(PROMPT, GenerateConfig::new(12)).unwrap();
    // The prompt's step hangs and its future is dropped; the same call again brings the token.
    assert!(generation.next().now_or_never().is_none());
    let first = generation.next().await.unwrap().unwrap();
    let second = generation.next().await.unwrap().unwrap();
    let finished = generation.finish();
    assert_eq!(finished.reason, FinishReason::Cancelled);
    assert_eq!(finished.ids, [first.id, second.id]);

    session.local_blocks().script.push_back(Fate::Hangs);
    let mut generation = session
        .generate(Vec::new(), GenerateConfig::new(10))
        .unwrap();
    assert!(generation.next().now_or_never().is_none());
    drop(generation);
    let rest = answer(&mut session, Vec::new(), GenerateConfig::new(10)).await;
    assert_eq!([finished.ids, rest.ids].concat(), expected.ids);
}

#[tokio::test]
async fn an_answer_is_over_after_an_error() {
    let mut session = new_session(64);
    let error = SessionError::Closed("for a test".to_owned());
    session
        .local_blocks()
        .script
        .extend([Fate::Done, Fate::Fails(error.clone())]);
    let mut generation = session.generate(PROMPT, GenerateConfig::new(12)).unwrap();
    assert!(generation.next().await.unwrap().is_ok());
    assert_eq!(generation.next().await, Some(Err(error)));
    assert_eq!(generation.next().await, None);
    assert_eq!(generation.finish().reason, FinishReason::Error);
}

#[tokio::test]
async fn nonsense_from_the_blocks_is_an_error_that_ends_the_session() {
    let mut session = new_session(64);
    session.local_blocks().script.push_back(Fate::Nonsense);
    let mut generation = session.generate(PROMPT, GenerateConfig::new(12)).unwrap();
    let error = generation.next().await.unwrap().unwrap_err();
    assert!(matches!(error, SessionError::Nonsense(_)), "{error}");
    assert!(!error.leaves_session_usable());
}

#[tokio::test]
async fn times_are_those_of_the_tokens() {
    let (tokens, finished) = tokens(&mut new_session(64), PROMPT, GenerateConfig::new(3)).await;
    assert_eq!(finished.time_to_first_token, Some(tokens[0].took));
    assert_eq!(finished.decode_time, tokens[1].took + tokens[2].took);
    assert!(tokens.iter().all(|token| !token.took.is_zero()));
}

#[test]
fn speed_counts_the_tokens_after_the_first() {
    let mut finished = Finished::of(Vec::new());
    finished.record(7, "a", Duration::from_millis(500));
    assert_eq!(finished.tokens_per_second(), None);
    finished.record(8, "b", Duration::from_millis(520));
    finished.record(9, "c", Duration::from_millis(550));
    assert_eq!(
        finished.time_to_first_token,
        Some(Duration::from_millis(500))
    );
    assert_eq!(finished.decode_time, Duration::from_millis(50));
    assert_eq!(finished.tokens_per_second(), Some(40.0));
    assert_eq!(finished.text, "abc");
}
