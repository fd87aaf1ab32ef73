//! Sessions that grow, on a span whose pages are as many as the budget says.

use std::ops::Range;
use std::path::Path;

use block_client::Hop;
use block_model::{BlockSpan, CpuOptions, CpuSpan, ModelSource, SpanDType};
use block_network::Node;
use block_server::ServiceConfig;

use crate::support::*;

pub(crate) const PAGE: u64 = 64;

/// The blocks `blocks` of the test model, with `pages` pages in each.
pub(crate) fn paged(blocks: Range<usize>, pages: u64) -> CpuSpan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/tiny-llama");
    let source = ModelSource::directory(path).unwrap();
    let mut options = CpuOptions::new(SpanDType::F32);
    let held = CpuSpan::load(&source, blocks.start..blocks.start + 1, &options).unwrap();
    let page = PAGE * held.description().kv_bytes_per_token_per_block as u64;
    options.kv_budget_bytes = page * pages * blocks.len() as u64;
    CpuSpan::load(&source, blocks, &options).unwrap()
}

async fn server(pages: u64) -> Server {
    let span = paged(0..4, pages);
    assert_eq!(span.description().kv_page_tokens as u64, PAGE);
    let config = ServiceConfig {
        // Not a whole number of pages: the last one counts.
        attn_cache_tokens: (PAGE * pages - 1) as usize,
        ..config()
    };
    Server::with(Box::new(span), config).await
}

/// A session of which nothing has run, admitted on one page in each block.
async fn growing(client: &Node, server: &Server, phase: usize) -> (Hop, States) {
    let mut hop = hop_with(client, server, 0..4, |opening| {
        opening.max_length = 300;
        opening.cache_grows = true;
    })
    .await;
    let states = States::wave(1, 300, phase);
    run(&mut hop, step(&states.tokens(0..0))).await;
    (hop, states)
}

#[tokio::test]
async fn the_youngest_ends_and_the_others_do_not_notice() {
    let server = server(5).await;
    let client = client(&[&server]).await;
    let (mut old, old_states) = growing(&client, &server, 1).await;
    let (mut young, young_states) = growing(&client, &server, 2).await;
    let fixed_states = States::wave(1, 128, 3);
    let mut fixed = hop_with(&client, &server, 0..4, |opening| opening.max_length = 128).await;
    let [old_whole, fixed_whole] =
        [&old_states, &fixed_states].map(|states| expected(0..4, states));
    run(&mut fixed, step(&fixed_states.tokens(0..100)))
        .await
        .assert_near(&fixed_whole.tokens(0..100));
    assert_eq!(server.free_tokens(&client).await, 4 * PAGE);
    run(&mut old, step(&old_states.tokens(0..100)))
        .await
        .assert_near(&old_whole.tokens(0..100));
    run(&mut young, step(&young_states.tokens(0..10))).await;
    assert_eq!(server.free_tokens(&client).await, 0);

    // The third page of the old one is the young one's.
    run(&mut old, step(&old_states.tokens(100..160)))
        .await
        .assert_near(&old_whole.tokens(100..160));
    let text = refusal(young.step(step(&young_states.tokens(10..11))).await);
    assert!(text.starts_with("the KV cache ran out: "), "{text}");
    run(&mut fixed, step(&fixed_states.tokens(100..128)))
        .await
        .assert_near(&fixed_whole.tokens(100..128));
    eventually(|| async { server.service.sessions() == 2 }).await;

    // Alone among those that grow, the old one ends when there is no more.
    let text = refusal(old.step(step(&old_states.tokens(160..300))).await);
    assert!(text.starts_with("the KV cache ran out: "), "{text}");
    eventually(|| async { server.free_tokens(&client).await == 3 * 4 * PAGE }).await;
    let (mut again, _) = growing(&client, &server, 2).await;
    run(&mut again, step(&young_states.tokens(0..11)))
        .await
        .assert_near(&expected(0..4, &young_states).tokens(0..11));
}

#[tokio::test]
async fn greedy_sessions_share_a_small_cache_and_the_oldest_comes_to_its_end() {
    let server = server(8).await;
    let client = client(&[&server]).await;
    let mut sessions = Vec::new();
    for phase in 0..6 {
        let (hop, states) = growing(&client, &server, phase).await;
        let whole = expected(0..4, &states);
        sessions.push((hop, states, whole));
    }
    let mut alive = vec![true; sessions.len()];
    for start in (0..300).step_by(20) {
        for (number, (hop, states, whole)) in sessions.iter_mut().enumerate() {
            if !alive[number] {
                continue;
            }
            let tokens = start..start + 20;
            match hop.step(step(&states.tokens(tokens.clone()))).await {
                Ok(answer) => States::of(&answer).assert_near(&whole.tokens(tokens)),
                refused => {
                    let text = refusal(refused);
                    assert!(text.starts_with("the KV cache ran out: "), "{text}");
                    alive[number] = false;
                }
            }
        }
    }
    // Five pages are the whole length of one; the second does not fit beside it.
    assert_eq!(alive, [true, false, false, false, false, false]);
}
