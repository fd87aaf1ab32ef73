//! What must hold to the last bit: cuts, company and the future change nothing.

use proptest::prelude::*;

use super::super::{AttentionCall, AttentionRow, AttentionScratch, KvFormat, StridedRows, attend};
use super::FORMATS;
use super::setting::{Pages, Setting};
use crate::kernels::level::Level;
use crate::kernels::pool::Pool;

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

/// Cuts of `tokens` tokens.
fn cuts(tokens: usize, lengths: &[usize]) -> Vec<usize> {
    let mut left = tokens;
    let mut cuts = Vec::new();
    for length in lengths.iter().cycle() {
        if left == 0 {
            break;
        }
        cuts.push((*length).min(left));
        left -= (*length).min(left);
    }
    cuts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn cuts_change_nothing(
        format in prop::sample::select(FORMATS.to_vec()),
        (kv_heads, group, head_dim) in prop::sample::select(vec![(2, 4, 16), (1, 7, 64), (3, 1, 10), (1, 3, 128)]),
        tokens in 1usize..200,
        lengths in prop::collection::vec(1usize..120, 1..5),
        window in prop::option::of(1usize..150),
        threads in 1usize..4,
    ) {
        let mut setting = Setting::new(format, kv_heads * group, kv_heads, head_dim, tokens);
        setting.shape.window = window;
        for level in Level::available() {
            setting.threads = 1;
            let whole = bits(&setting.run(level, &[tokens]));
            let single = bits(&setting.run(level, &vec![1; tokens]));
            prop_assert!(whole == single, "{level}: one by one");
            setting.threads = threads;
            let cut = bits(&setting.run(level, &cuts(tokens, &lengths)));
            prop_assert!(whole == cut, "{level}: {lengths:?}");
        }
    }
}

#[test]
fn company_changes_nothing() {
    for format in FORMATS {
        let sessions: Vec<_> = [(1, 1), (70, 70), (130, 3), (64, 1), (65, 2)]
            .into_iter()
            .enumerate()
            .map(|(index, (tokens, new))| {
                let mut setting = Setting::new(format, 4, 2, 32, tokens);
                setting.fused.rotate_left(index);
                (setting, new)
            })
            .collect();
        for level in Level::available() {
            let alone: Vec<f32> = sessions
                .iter()
                .flat_map(|(setting, new)| {
                    let out = setting.run(
                        level,
                        &cuts(
                            setting.tokens,
                            &[setting.tokens - new, *new][usize::from(setting.tokens == *new)..],
                        ),
                    );
                    out[out.len() - new * 4 * 32..].to_vec()
                })
                .collect();
            assert_eq!(
                bits(&alone),
                bits(&together(&sessions, level)),
                "{format:?} {level}"
            );
        }
    }
}

/// The last tokens of several sessions of one shape, in one call.
fn together(sessions: &[(Setting, usize)], level: Level) -> Vec<f32> {
    let mut caches = Vec::new();
    let mut rows = Vec::new();
    let mut queries = Vec::new();
    let mut first_row = 0;
    for (setting, new) in sessions {
        let mut cache = Pages::new(setting.shape.layout);
        cache.append(setting, 0, setting.tokens);
        caches.push(cache);
        let position = setting.tokens - new;
        rows.push(AttentionRow {
            position,
            first_row,
            tokens: *new,
        });
        queries.extend_from_slice(&setting.fused[position * setting.width()..]);
        first_row += new;
    }
    let setting = &sessions[0].0;
    let call = AttentionCall {
        level,
        shape: &setting.shape,
        rows: &rows,
        pages: &caches,
        queries: StridedRows {
            values: &queries,
            ..setting.queries()
        },
    };
    let mut out = vec![f32::NAN; first_row * 4 * 32];
    attend(
        &Pool::new(3).unwrap(),
        &call,
        &mut out,
        &mut AttentionScratch::new(3),
    );
    out
}

/// A key, value or query that is not a number reaches its own token and those after it, and none before.
#[test]
fn the_future_changes_nothing() {
    for format in FORMATS {
        for (bad_token, bad) in [
            (30, f32::NAN),
            (31, f32::INFINITY),
            (64, f32::NEG_INFINITY),
            (100, f32::NAN),
        ] {
            for part in 0..3 {
                spoil(format, bad_token, bad, part);
            }
        }
    }
}

fn spoil(format: KvFormat, bad_token: usize, bad: f32, part: usize) {
    let clean = Setting::new(format, 4, 2, 16, 150);
    let mut spoiled = Setting::new(format, 4, 2, 16, 150);
    let offset = [0, clean.keys().offset, clean.values().offset][part];
    let row = bad_token * clean.width() + offset;
    spoiled.fused[row..row + 2 * 16].fill(bad);
    for level in Level::available() {
        let (clean, spoiled) = (clean.run(level, &[150]), spoiled.run(level, &[100, 50]));
        let before = bad_token * 4 * 16;
        assert!(
            clean[..before] == spoiled[..before],
            "{format:?} {level} part {part} token {bad_token}"
        );
        let own = &spoiled[before..][..2 * 16];
        assert!(
            own.iter().any(|number| !number.is_finite()),
            "{format:?} {level} part {part}: {own:?}"
        );
    }
}

/// A value that a window has left behind is gone.
#[test]
fn a_window_forgets_what_is_not_a_number() {
    for format in FORMATS {
        let mut clean = Setting::new(format, 4, 2, 16, 150);
        clean.shape.window = Some(20);
        let mut spoiled = Setting::new(format, 4, 2, 16, 150);
        spoiled.shape.window = Some(20);
        let row = 30 * clean.width() + clean.values().offset;
        spoiled.fused[row..row + 2 * 16].fill(f32::NAN);
        for level in Level::available() {
            let (clean, spoiled) = (clean.run(level, &[150]), spoiled.run(level, &[150]));
            let after = (30 + 20) * 4 * 16;
            assert!(clean[after..] == spoiled[after..], "{format:?} {level}");
            assert!(
                spoiled[30 * 4 * 16..after]
                    .iter()
                    .all(|number| number.is_nan())
            );
        }
    }
}
