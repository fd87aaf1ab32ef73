//! As many greedy sessions as a server takes, on a cache that holds a third of what they want.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use block_client::Hop;
use block_model::{BlockSpan, CpuSpan, Row};
use block_server::ServiceConfig;
use futures::future::join_all;

use crate::growth::{PAGE, paged};
use crate::support::*;
use crate::told_span::Told;

const SESSIONS: usize = 64;
const TOKENS: usize = 300;
/// Few enough for steps of many sessions to run as one.
const STEP: usize = 12;
/// Five hold [`TOKENS`]: twenty sessions fit to their ends.
const PAGES: u64 = 100;

/// How much a span's cache ever held, and its largest batch.
#[derive(Default)]
struct Seen {
    most_bytes: AtomicU64,
    largest_batch: AtomicUsize,
}

/// Whether the session came to its end; if not, the server ended it for want of pages. What it got is right either way.
async fn grow(mut hop: Hop, states: States) -> bool {
    let whole = expected(0..4, &states);
    for start in (0..TOKENS).step_by(STEP) {
        let tokens = start..start + STEP;
        match hop.step(step(&states.tokens(tokens.clone()))).await {
            Ok(answer) => States::of(&answer).assert_near(&whole.tokens(tokens)),
            refused => {
                let text = refusal(refused);
                assert!(text.starts_with("the KV cache ran out: "), "{text}");
                return false;
            }
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_greedy_sessions_stay_within_the_budget_and_get_right_answers() {
    let span = paged(0..4, PAGES);
    let budget = 4 * PAGES * PAGE * span.description().kv_bytes_per_token_per_block as u64;
    let seen = Arc::new(Seen::default());
    let of_span = Arc::clone(&seen);
    let watched = Told::new(
        span,
        |_: Option<&[Row<'_>]>| (),
        move |span: &CpuSpan, rows: &[Row<'_>]| {
            let bytes = span.kv_bytes_in_use();
            of_span.most_bytes.fetch_max(bytes, Ordering::Relaxed);
            of_span
                .largest_batch
                .fetch_max(rows.len(), Ordering::Relaxed);
        },
    );
    let config = ServiceConfig {
        attn_cache_tokens: (PAGE * PAGES) as usize,
        max_sessions: SESSIONS,
        ..config()
    };
    let server = Server::with(Box::new(watched), config).await;
    let (mut sessions, mut clients) = (Vec::new(), Vec::new());
    for user in 0..SESSIONS / 8 {
        let client = client(&[&server]).await;
        for number in 0..8 {
            let mut hop = hop_with(&client, &server, 0..4, |opening| {
                opening.max_length = TOKENS;
                opening.cache_grows = true;
            })
            .await;
            let states = States::wave(1, TOKENS, 8 * user + number);
            // Admitted, on one page in each block, before any of them grows.
            run(&mut hop, step(&states.tokens(0..0))).await;
            sessions.push((hop, states));
        }
        // Connections end with whom they belong to.
        clients.push(client);
    }
    let tasks = sessions
        .into_iter()
        .map(|(hop, states)| tokio::spawn(grow(hop, states)));
    let ends = join_all(tasks).await;
    let finished = ends.into_iter().filter(|end| *end.as_ref().unwrap());
    let finished = finished.count();
    // One ends only when all pages are taken, and twenty never take more than there are.
    assert!((20..SESSIONS).contains(&finished), "{finished}");
    let most = seen.most_bytes.load(Ordering::Relaxed);
    assert!(
        (budget * 9 / 10..=budget).contains(&most),
        "{most} of {budget}"
    );
    assert!(seen.largest_batch.load(Ordering::Relaxed) > 1);
    eventually(|| async { server.free_tokens(&clients[0]).await == 4 * PAGES * PAGE }).await;
}
