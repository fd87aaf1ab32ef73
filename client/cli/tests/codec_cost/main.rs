//! What 8-bit links cost in quality: the next token and its probabilities against float32 without loss, over the
//! positions of stories that the embedded model tells.
//!
//! A chain is the blocks of a model, cut, with every link (to the first server, between servers, back to the client)
//! crossed by the codec that travels there. That is all a chain is to its numbers, so no server is started here. The
//! codec without a table decodes each token to the same values as the one with it decodes that token alone
//! (`block-protocol` shows that).
//!
//! | file          | holds                                                        |
//! |---------------|--------------------------------------------------------------|
//! | `chain.rs`    | blocks with links between them                               |
//! | `stories.rs`  | what the model says in float32, and with which probabilities |
//! | `distance.rs` | how far other probabilities are from those                   |
//!
//! `cargo test -p swarm --test codec_cost -- --nocapture` prints the figures; `docs/quality.md` states them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test ends the test; the lint's exemption does not reach helpers of integration tests"
)]
#![allow(
    clippy::print_stdout,
    reason = "figures are for whoever runs the test with --nocapture"
)]

mod chain;
mod distance;
mod stories;

use std::sync::LazyLock;

use block_model::SpanDType;
use block_protocol::Compression::{self, Blockwise8};

use chain::{Chain, Model, Pace};
use distance::Bound;
use stories::Stories;

/// Servers that hold the eight blocks of the embedded model in equal parts.
const HOPS: [usize; 2] = [2, 4];

static STORIES: LazyLock<Stories> =
    LazyLock::new(|| Stories::tell(&mut Model::load(SpanDType::F32)));

#[test]
fn eight_bits_token_by_token_between_float32_servers() {
    // As a generation goes: every tensor is one token.
    costs(
        SpanDType::F32,
        Pace::Token,
        Blockwise8,
        [bound(0.98, 0.0006), bound(0.97, 0.001)],
    );
}

#[test]
fn eight_bits_in_one_prompt_between_float32_servers() {
    // Blocks of 4096 values then span 16 tokens of this model, with one scale for all of them.
    costs(
        SpanDType::F32,
        Pace::Prompt,
        Blockwise8,
        [bound(0.98, 0.001), bound(0.965, 0.0018)],
    );
}

#[test]
fn eight_bits_token_by_token_between_bfloat16_servers() {
    costs(
        SpanDType::BF16,
        Pace::Token,
        Blockwise8,
        [bound(0.98, 0.0006), bound(0.97, 0.001)],
    );
}

#[test]
fn bfloat16_alone_for_comparison() {
    costs(
        SpanDType::BF16,
        Pace::Token,
        Compression::None,
        [bound(0.995, 0.000_05), bound(0.995, 0.000_05)],
    );
}

#[test]
fn float32_without_loss_is_the_same_through_any_cut() {
    let nothing = bound(1.0, 1e-9);
    costs(
        SpanDType::F32,
        Pace::Token,
        Compression::None,
        [nothing, nothing],
    );
}

/// Half as far again as measured, for machines that add in another order.
const fn bound(min_agreement: f64, max_kl: f64) -> Bound {
    Bound {
        min_agreement,
        max_kl,
    }
}

/// Asserts the bounds for two hops and for four.
fn costs(dtype: SpanDType, pace: Pace, compression: Compression, bounds: [Bound; 2]) {
    let mut model = Model::load(dtype);
    for (hops, bound) in HOPS.into_iter().zip(bounds) {
        let distance = STORIES.distance(&mut Chain::open(&mut model, hops, compression), pace);
        let name = compression.name();
        let what = format!("{dtype:?} servers, codec {name}, by {pace:?}, {hops} hops");
        println!("codec cost: {what}: {distance}");
        assert!(
            distance.is_within(&bound),
            "{what}: {distance}, allowed: {bound:?}"
        );
    }
}
