//! Pages and tables: what is shared, what is given back, and what nobody gets to see.

use proptest::prelude::*;

use super::kv_pool::{KvPool, KvPoolError};
use super::kv_table::KvTable;
use crate::kernels::attention::{KvFormat, PAGE_TOKENS, PageLayout, StridedRows};

const LAYOUT: PageLayout = PageLayout {
    kv_heads: 2,
    head_dim: 6,
    format: KvFormat::F32,
};

/// Numbers of one token: `kv_heads * head_dim`.
const WIDTH: usize = 12;

fn pool(pages: usize) -> KvPool {
    KvPool::new(LAYOUT, pages * LAYOUT.bytes())
}

/// Appends tokens that are all `number`.
fn append(table: &mut KvTable, tokens: usize, number: f32) -> Result<(), KvPoolError> {
    table.reserve(tokens)?;
    let rows = vec![number; tokens * WIDTH];
    let rows = StridedRows::dense(&rows, WIDTH);
    table.append(rows, rows, 0..tokens);
    Ok(())
}

/// The number of each cached token, read from its first value.
fn tokens(table: &KvTable) -> Vec<f32> {
    let values = LAYOUT.head_dim.next_multiple_of(16) * PAGE_TOKENS;
    (0..table.cached())
        .map(|position| {
            let words = table.page(position / PAGE_TOKENS).words;
            let key = f32::from_bits(words[position % PAGE_TOKENS]);
            let value = f32::from_bits(words[values + position % PAGE_TOKENS * 16]);
            assert_eq!(key, value);
            key
        })
        .collect()
}

#[test]
fn pages_come_as_tokens_do_and_go_with_rollback_and_drop() {
    let pool = pool(10);
    let mut table = KvTable::new(&pool, 200);
    assert_eq!((table.page_count(), pool.used_bytes()), (0, 0));
    for (tokens, pages) in [(1, 1), (63, 1), (1, 2), (128, 4)] {
        append(&mut table, tokens, 1.0).unwrap();
        assert_eq!(
            (table.page_count(), pool.used_bytes()),
            (pages, pages * LAYOUT.bytes())
        );
    }
    for (position, pages) in [(193, 4), (192, 3), (130, 3), (128, 2), (1, 1), (0, 0)] {
        table.truncate(position);
        assert_eq!(
            (table.cached(), table.page_count(), pool.free_pages()),
            (position, pages, 10 - pages)
        );
    }
    append(&mut table, 70, 1.0).unwrap();
    drop(table);
    assert_eq!((pool.used_bytes(), pool.free_pages()), (0, 10));
}

#[test]
fn the_budget_holds_and_a_refusal_changes_nothing() {
    let pool = KvPool::new(LAYOUT, 3 * LAYOUT.bytes() + LAYOUT.bytes() / 2);
    let mut first = KvTable::new(&pool, 0);
    append(&mut first, 2 * PAGE_TOKENS, 1.0).unwrap();
    let mut second = KvTable::new(&pool, 0);
    append(&mut second, 10, 2.0).unwrap();
    let error = second.reserve(PAGE_TOKENS).unwrap_err();
    assert!(
        matches!(
            error,
            KvPoolError::Full {
                needed: 1,
                free: 0,
                total: 3
            }
        ),
        "{error}"
    );
    assert_eq!((second.cached(), second.page_count()), (10, 1));
    append(&mut second, PAGE_TOKENS - 10, 2.0).unwrap();
    // A shared page has to be copied before it is written to, and there is no room for the copy.
    second.truncate(20);
    let mut beam = second.clone();
    assert!(beam.reserve(1).is_err());
    assert_eq!(tokens(&beam), tokens(&second));
    first.truncate(PAGE_TOKENS);
    append(&mut beam, 1, 3.0).unwrap();
    assert_eq!(tokens(&second), [2.0; 20]);
}

#[test]
fn whoever_writes_to_a_shared_page_gets_a_copy() {
    let pool = pool(10);
    let mut parent = KvTable::new(&pool, 0);
    append(&mut parent, PAGE_TOKENS + 5, 1.0).unwrap();
    let mut beams = vec![parent.clone(), parent.clone()];
    assert_eq!(pool.used_bytes(), 2 * LAYOUT.bytes());
    for (beam, number) in beams.iter_mut().zip([2.0, 3.0]) {
        append(beam, 1, number).unwrap();
    }
    append(&mut parent, 1, 4.0).unwrap();
    // The whole page is still one, the last one has two copies; whoever wrote last kept the original.
    assert_eq!(pool.used_bytes(), 4 * LAYOUT.bytes());
    for (table, last) in beams.iter().zip([2.0, 3.0]).chain([(&parent, 4.0)]) {
        let mut expected = vec![1.0; PAGE_TOKENS + 5];
        expected.push(last);
        assert_eq!(tokens(table), expected);
    }
    // Reorder: both rows continue the second.
    beams = vec![beams[1].clone(), beams[1].clone()];
    assert_eq!(pool.used_bytes(), 3 * LAYOUT.bytes());
    append(&mut beams[0], 1, 5.0).unwrap();
    assert_eq!(tokens(&beams[1])[PAGE_TOKENS + 5..], [3.0]);
    assert_eq!(tokens(&beams[0])[PAGE_TOKENS + 5..], [3.0, 5.0]);
}

#[test]
fn a_page_that_comes_back_is_empty() {
    let pool = pool(2);
    let mut table = KvTable::new(&pool, 0);
    append(&mut table, 2 * PAGE_TOKENS, f32::NAN).unwrap();
    assert!(!table.page(0).is_finite);
    drop(table);
    let mut table = KvTable::new(&pool, 0);
    table.reserve(2 * PAGE_TOKENS).unwrap();
    for index in 0..2 {
        let page = table.page(index);
        assert!(page.is_finite && page.words.iter().all(|word| *word == 0));
        assert_eq!(page.words.as_ptr().align_offset(64), 0);
    }
}

#[test]
fn a_copy_remembers_that_a_value_is_not_a_number() {
    let pool = pool(2);
    let mut table = KvTable::new(&pool, 0);
    append(&mut table, 2, f32::NAN).unwrap();
    let mut copy = table.clone();
    append(&mut copy, 1, 1.0).unwrap();
    assert!(!copy.page(0).is_finite);
    drop(table);
}

#[test]
fn pages_are_given_back_from_any_thread() {
    let pool = pool(8);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let mut table = KvTable::new(&pool, 0);
                    append(&mut table, PAGE_TOKENS + 1, 1.0).unwrap();
                    assert!(pool.used_bytes() <= 8 * LAYOUT.bytes());
                }
            });
        }
    });
    assert_eq!(pool.used_bytes(), 0);
}

#[derive(Clone, Debug)]
enum Action {
    Append { table: usize, tokens: usize },
    Truncate { table: usize, share: f64 },
    Reorder { from: usize, to: usize },
    Renew { table: usize },
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let table = 0usize..3;
    let action = prop_oneof![
        4 => (table.clone(), 1usize..150).prop_map(|(table, tokens)| Action::Append { table, tokens }),
        1 => (table.clone(), 0.0f64..1.0).prop_map(|(table, share)| Action::Truncate { table, share }),
        2 => (table.clone(), table.clone()).prop_map(|(from, to)| Action::Reorder { from, to }),
        1 => table.prop_map(|table| Action::Renew { table }),
    ];
    prop::collection::vec(action, 1..40)
}

proptest! {
    /// Tables are as good as lists of their own.
    #[test]
    fn tables_do_not_disturb_each_other(actions in actions()) {
        let pool = pool(8);
        let mut tables = vec![KvTable::new(&pool, 0); 3];
        let mut expected = vec![Vec::new(); 3];
        for (step, action) in actions.into_iter().enumerate() {
            match action {
                Action::Append { table, tokens } => {
                    let number = step as f32;
                    if append(&mut tables[table], tokens, number).is_ok() {
                        expected[table].extend(vec![number; tokens]);
                    }
                }
                Action::Truncate { table, share } => {
                    let position = (share * expected[table].len() as f64) as usize;
                    tables[table].truncate(position);
                    expected[table].truncate(position);
                }
                Action::Reorder { from, to } => {
                    tables[to] = tables[from].clone();
                    expected[to] = expected[from].clone();
                }
                Action::Renew { table } => {
                    tables[table] = KvTable::new(&pool, 0);
                    expected[table].clear();
                }
            }
            prop_assert!(pool.used_bytes() <= 8 * LAYOUT.bytes());
            for (table, expected) in tables.iter().zip(&expected) {
                prop_assert_eq!(&tokens(table), expected);
            }
        }
        drop(tables);
        prop_assert_eq!(pool.used_bytes(), 0);
    }
}
