//! What sessions do with their caches.

use block_model::{BlockSpan, CacheHandle, Row, SpanDType, SpanError};

use crate::support::{Golden, States, fable_path, forward, load, row, step, tiny_path, try_step};

/// Two ways to the same numbers may differ by the order of sums: a few roundings of 2^-24.
const SAME: f32 = 1e-5;

#[test]
fn a_rollback_equals_a_fresh_run() {
    let mut span = load(&tiny_path(), 0..4, SpanDType::F32);
    let (first, second) = (States::noise([2, 7, 64], 0), States::noise([2, 7, 64], 1));
    let cache = span.open_cache(0..4, 2, 10).unwrap();
    step(&mut span, row(cache, 0..4, 0, &first));
    for position in [6, 3, 1, 0] {
        let tail = second.tokens(0..4);
        let found = step(&mut span, row(cache, 0..4, position, &tail));
        let fresh = if position == 0 {
            tail
        } else {
            States::join(&[first.tokens(0..position), tail])
        };
        let expected = forward(&mut span, 0..4, &fresh).tokens(position..position + 4);
        assert!(
            found.max_distance(&expected) <= SAME * expected.largest(),
            "to {position}"
        );
    }
}

#[test]
fn a_replay_is_bit_equal() {
    let mut span = load(&tiny_path(), 0..4, SpanDType::F32);
    let input = States::noise([1, 7, 64], 0);
    let cache = span.open_cache(0..4, 1, 7).unwrap();
    let mut run = || {
        let chunks = [0..3, 3..4, 4..7].map(|chunk| {
            let part = input.tokens(chunk.clone());
            step(&mut span, row(cache, 0..4, chunk.start, &part))
        });
        States::join(&chunks)
    };
    assert_eq!(run(), run());
}

#[test]
fn a_reordering_equals_the_permuted_batch() {
    let mut span = load(&tiny_path(), 0..4, SpanDType::F32);
    let past = States::noise([3, 4, 64], 0);
    let next = States::noise([3, 2, 64], 1);
    for reorder in [[0, 1, 2], [2, 0, 1], [1, 1, 0], [2, 2, 2]] {
        let cache = span.open_cache(0..4, 3, 8).unwrap();
        step(&mut span, row(cache, 0..4, 0, &past));
        let mut moved = row(cache, 0..4, 4, &next);
        moved.reorder = Some(&reorder);
        let found = step(&mut span, moved);

        let permuted = span.open_cache(0..4, 3, 8).unwrap();
        step(&mut span, row(permuted, 0..4, 0, &past.rows(&reorder)));
        assert_eq!(
            found,
            step(&mut span, row(permuted, 0..4, 4, &next)),
            "{reorder:?}"
        );
    }
}

#[test]
fn a_reordering_follows_a_rollback() {
    let mut span = load(&tiny_path(), 0..4, SpanDType::F32);
    let past = States::noise([2, 5, 64], 0);
    let next = States::noise([2, 1, 64], 1);
    let cache = span.open_cache(0..4, 2, 8).unwrap();
    step(&mut span, row(cache, 0..4, 0, &past));
    let mut moved = row(cache, 0..4, 3, &next);
    moved.reorder = Some(&[1, 0]);
    let found = step(&mut span, moved);
    let whole = States::join(&[past.tokens(0..3).rows(&[1, 0]), next]);
    let expected = forward(&mut span, 0..4, &whole).tokens(3..4);
    assert!(found.max_distance(&expected) <= SAME * expected.largest());
}

#[test]
fn a_step_without_tokens_only_moves_the_cache() {
    let mut span = load(&tiny_path(), 0..4, SpanDType::F32);
    let past = States::noise([2, 5, 64], 0);
    let next = States::noise([2, 1, 64], 1);
    let nothing = past.tokens(0..0);
    let cache = span.open_cache(0..4, 2, 8).unwrap();
    assert!(
        step(&mut span, row(cache, 0..4, 0, &nothing))
            .values
            .is_empty()
    );
    step(&mut span, row(cache, 0..4, 0, &past));
    let mut moved = row(cache, 0..4, 5, &nothing);
    moved.reorder = Some(&[1, 0]);
    assert!(step(&mut span, moved).values.is_empty());
    let found = step(&mut span, row(cache, 0..4, 5, &next));
    let whole = States::join(&[past.rows(&[1, 0]), next]);
    let expected = forward(&mut span, 0..4, &whole).tokens(5..6);
    assert!(found.max_distance(&expected) <= SAME * expected.largest());

    step(&mut span, row(cache, 0..4, 2, &nothing));
    let error = try_step(&mut span, row(cache, 0..4, 3, &nothing)).unwrap_err();
    assert_eq!(
        error,
        SpanError::PositionAhead {
            position: 3,
            cached: 2
        }
    );
}

#[test]
fn rows_together_equal_rows_alone() {
    let mut span = load(&fable_path(), 0..8, SpanDType::F32);
    let inputs = [
        States::noise([1, 5, 256], 0),
        States::noise([2, 1, 256], 1),
        States::noise([1, 1, 256], 2),
    ];
    let open = |span: &mut dyn BlockSpan| {
        inputs
            .each_ref()
            .map(|input| span.open_cache(0..8, input.shape[0], 16).unwrap())
    };
    let (together, alone) = (open(&mut span), open(&mut span));
    for position in [0, 1] {
        let rows = |caches: [CacheHandle; 3]| {
            [0, 1, 2].map(|i| row(caches[i], 0..8, position, &inputs[i]))
        };
        let outputs = span.step(&rows(together));
        for (output, row) in outputs.into_iter().zip(rows(alone)) {
            assert_eq!(output.unwrap(), step(&mut span, row).values);
        }
    }
}

#[test]
fn sequences_of_a_batch_do_not_mix() {
    let golden = Golden::read(&tiny_path());
    let mut span = load(&tiny_path(), 0..4, SpanDType::F32);
    let expected = golden.output_of(3);
    for sequence in [0, 1] {
        let found = forward(&mut span, 0..4, &golden.input_of(0).rows(&[sequence]));
        let expected = expected.rows(&[sequence]);
        assert!(found.max_distance(&expected) <= 1e-4 * expected.largest());
    }
}

#[test]
fn a_failing_row_does_not_disturb_the_others() {
    let mut span = load(&tiny_path(), 0..4, SpanDType::F32);
    let good = States::noise([1, 3, 64], 0);
    let mut poisoned = States::noise([1, 3, 64], 1);
    poisoned.values[70] = f32::NAN;
    let narrow = States::noise([1, 3, 32], 2);
    let [first, second, third] = [(); 3].map(|()| span.open_cache(0..4, 1, 8).unwrap());
    let closed = span.open_cache(0..4, 1, 8).unwrap();
    span.close_cache(closed);
    span.close_cache(closed);
    let outputs = span.step(&[
        row(closed, 0..4, 0, &good),
        row(first, 0..4, 0, &good),
        row(second, 0..4, 0, &poisoned),
        row(third, 0..4, 0, &narrow),
        row(third, 0..4, 0, &good),
    ]);
    let expected = forward(&mut span, 0..4, &good).values;
    assert_eq!(outputs[0], Err(SpanError::UnknownCache));
    assert_eq!(outputs[1].as_ref().unwrap(), &expected);
    assert!(
        outputs[2]
            .as_ref()
            .unwrap()
            .iter()
            .any(|value| value.is_nan())
    );
    assert!(matches!(outputs[3], Err(SpanError::Shape { .. })));
    assert_eq!(outputs[4].as_ref().unwrap(), &expected);

    // What is not a number is gone once the session has rolled back.
    let again = step(&mut span, row(second, 0..4, 0, &good));
    assert_eq!(again.values, expected);
}

#[test]
fn a_full_cache_refuses_and_stays_as_it_was() {
    let mut span = load(&tiny_path(), 0..4, SpanDType::F32);
    let input = States::noise([1, 6, 64], 0);
    let cache = span.open_cache(0..4, 1, 5).unwrap();
    let full = |position, tokens| SpanError::CacheFull {
        position,
        tokens,
        max_length: 5,
    };
    let error = try_step(&mut span, row(cache, 0..4, 0, &input)).unwrap_err();
    assert_eq!(error, full(0, 6));
    step(&mut span, row(cache, 0..4, 0, &input.tokens(0..4)));
    let two = input.tokens(4..6);
    assert_eq!(
        try_step(&mut span, row(cache, 0..4, 4, &two)),
        Err(full(4, 2))
    );
    let found = step(&mut span, row(cache, 0..4, 4, &input.tokens(4..5)));
    let expected = forward(&mut span, 0..4, &input.tokens(0..5)).tokens(4..5);
    assert!(found.max_distance(&expected) <= SAME * expected.largest());
    assert_eq!(
        try_step(&mut span, row(cache, 0..4, 5, &two)),
        Err(full(5, 2))
    );
    assert!(try_step(&mut span, row(cache, 0..4, usize::MAX, &two)).is_err());
}

#[test]
fn a_step_may_go_block_by_block() {
    let mut span = load(&tiny_path(), 1..4, SpanDType::F32);
    let input = States::noise([1, 6, 64], 0);
    let cache = span.open_cache(1..4, 1, 6).unwrap();
    let mut found = Vec::new();
    for chunk in [0..4, 4..6] {
        let mut part = input.tokens(chunk.clone());
        for block in 1..4 {
            part = step(&mut span, row(cache, block..block + 1, chunk.start, &part));
        }
        found.push(part);
    }
    let expected = forward(&mut span, 1..4, &input);
    assert!(States::join(&found).max_distance(&expected) <= SAME * expected.largest());

    // A block that has seen less than the others decides where a step may start.
    let one = input.tokens(0..1);
    step(&mut span, row(cache, 2..3, 2, &one));
    let error = try_step(&mut span, row(cache, 1..4, 6, &one.tokens(0..0))).unwrap_err();
    assert_eq!(
        error,
        SpanError::PositionAhead {
            position: 6,
            cached: 3
        }
    );
}

#[test]
fn calls_outside_the_span_or_the_cache_are_refused() {
    let mut span = load(&tiny_path(), 1..3, SpanDType::F32);
    let input = States::noise([1, 1, 64], 0);
    let outside = |requested, held| Err(SpanError::OutsideSpan { requested, held });
    assert_eq!(span.open_cache(0..2, 1, 1), outside(0..2, 1..3));
    assert_eq!(span.open_cache(1..4, 1, 1), outside(1..4, 1..3));
    assert!(matches!(
        span.open_cache(2..2, 1, 1),
        Err(SpanError::Shape { .. })
    ));
    assert!(matches!(
        span.open_cache(1..3, 0, 1),
        Err(SpanError::Shape { .. })
    ));
    let cache = span.open_cache(1..2, 1, 1).unwrap();
    let error = try_step(&mut span, row(cache, 1..3, 0, &input)).unwrap_err();
    assert_eq!(
        Err::<(), _>(error),
        outside(1..3, 1..2).map(|_: CacheHandle| ())
    );
    let error = try_step(&mut span, row(CacheHandle::new(77), 1..2, 0, &input)).unwrap_err();
    assert_eq!(error, SpanError::UnknownCache);
}

#[test]
fn a_cache_that_no_machine_can_hold_is_refused() {
    let mut span = load(&tiny_path(), 0..4, SpanDType::F32);
    for max_length in [1 << 45, usize::MAX / 1024, usize::MAX] {
        let error = span.open_cache(0..4, 1, max_length).unwrap_err();
        assert!(matches!(error, SpanError::OutOfMemory { .. }), "{error}");
    }
    let empty = span.open_cache(0..4, 1, 0).unwrap();
    let nothing = States::noise([1, 0, 64], 0);
    assert!(
        step(&mut span, row(empty, 0..4, 0, &nothing))
            .values
            .is_empty()
    );
}

#[test]
fn wrong_shapes_are_refused_by_name() {
    let mut span = load(&tiny_path(), 0..4, SpanDType::F32);
    let cache = span.open_cache(0..4, 2, 8).unwrap();
    let good = States::noise([2, 3, 64], 0);
    let reshaped = |shape| States {
        shape,
        ..good.clone()
    };
    let mut assert_refused = |row: Row<'_>, named: &str| {
        let message = try_step(&mut span, row).unwrap_err().to_string();
        assert!(message.contains(named), "{message}");
    };
    for (shape, named) in [
        ([2, 4, 64], "hidden states"),
        ([2, usize::MAX, 64], "hidden states"),
        ([1, 6, 64], "batch"),
        ([0, 0, 64], "batch"),
        ([2, 6, 32], "width"),
    ] {
        assert_refused(row(cache, 0..4, 0, &reshaped(shape)), named);
    }
    for reorder in [&[0][..], &[0, 2], &[0, 1, 0], &[]] {
        let mut moved = row(cache, 0..4, 0, &good);
        moved.reorder = Some(reorder);
        assert_refused(moved, "reorder");
    }
}

/// Pages of a reserved cache are taken from the machine only when a token is written.
#[cfg(target_os = "linux")]
#[test]
fn an_unused_cache_takes_no_memory() {
    let resident_pages = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        let resident = text.split_whitespace().nth(1).unwrap();
        resident.parse::<usize>().unwrap()
    };
    let mut span = load(&tiny_path(), 0..4, SpanDType::F32);
    let token_bytes = 4 * span.description().kv_bytes_per_token_per_block;
    let before = resident_pages();
    span.open_cache(0..4, 1, (1 << 30) / token_bytes).unwrap();
    // Other tests run meanwhile, so the bound is far from exact: half of the reservation.
    let taken_bytes = resident_pages().saturating_sub(before) * 4096;
    assert!(taken_bytes < 1 << 29, "{taken_bytes}");
}
