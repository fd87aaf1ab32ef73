use block_protocol::compression::{decode_f32, encode_f32};
use block_protocol::{Compression, DType};
use proptest::prelude::*;

use super::*;

/// A cache of `batch` rows: what each step wrote, rows permuted, cut and grown as a server would.
#[derive(Debug, Clone, PartialEq)]
struct Cache(Vec<Vec<f32>>);

impl Cache {
    fn new(batch: usize) -> Self {
        Self(vec![Vec::new(); batch])
    }

    fn step(&mut self, position: usize, reorder: Option<&[usize]>, values: &[f32]) {
        self.permute(reorder);
        let seq = values.len() / self.0.len();
        for (row, new) in self.0.iter_mut().zip(values.chunks(seq.max(1))) {
            row.truncate(position);
            row.extend_from_slice(new);
        }
    }

    fn permute(&mut self, reorder: Option<&[usize]>) {
        if let Some(rows) = reorder {
            self.0 = rows.iter().map(|&row| self.0[row].clone()).collect();
        }
    }

    fn cut(&mut self, position: usize) {
        for row in &mut self.0 {
            row.truncate(position);
        }
    }
}

fn tensor(batch: usize, values: &[f32]) -> WireTensor {
    let shape = [batch, values.len() / batch, 1];
    encode_f32(values, &shape, DType::F32, Compression::None).unwrap()
}

fn replayed(log: &Log, batch: usize) -> Cache {
    let mut cache = Cache::new(batch);
    for entry in log.entries() {
        let values = decode_f32(&entry.tensor).unwrap();
        assert_eq!(values.len(), batch * entry.tokens);
        cache.step(entry.start, entry.reorder.as_deref(), &values);
    }
    cache.cut(log.position());
    cache.permute(log.owed().map(Vec::as_slice));
    cache
}

#[derive(Debug, Clone)]
enum Act {
    Step {
        seq: usize,
        reorder: Option<Vec<usize>>,
    },
    Back {
        percent: usize,
    },
}

fn act(batch: usize) -> impl Strategy<Value = Act> {
    let rows = prop::collection::vec(0..batch, batch);
    prop_oneof![
        4 => (1_usize..6, prop::option::of(rows)).prop_map(|(seq, reorder)| Act::Step { seq, reorder }),
        1 => (0_usize..=100).prop_map(|percent| Act::Back { percent }),
    ]
}

proptest! {
    #[test]
    fn a_replayed_log_gives_the_same_cache(acts in prop::collection::vec(act(3), 1..60)) {
        const BATCH: usize = 3;
        const MAX_LENGTH: usize = 24;
        let mut log = Log::default();
        let mut cache = Cache::new(BATCH);
        let mut number = 0.0;
        for act in acts {
            match act {
                Act::Step { seq, .. } if log.position() + seq > MAX_LENGTH => {}
                Act::Step { seq, reorder } => {
                    let values: Vec<f32> = (0..BATCH * seq)
                        .map(|_| {
                            number += 1.0;
                            number
                        })
                        .collect();
                    cache.step(log.position(), reorder.as_deref(), &values);
                    log.append(seq, reorder.as_deref(), tensor(BATCH, &values));
                }
                Act::Back { percent } => {
                    let position = log.position() * percent / 100;
                    log.cut(position, MAX_LENGTH).unwrap();
                    cache.cut(position);
                    prop_assert_eq!(log.position(), position);
                }
            }
            // With an empty cache the rows' order is nothing.
            prop_assert_eq!(replayed(&log, BATCH), cache.clone());
            prop_assert!(log.entries().len() <= MAX_LENGTH);
            prop_assert!(log.stored <= 3 * MAX_LENGTH);
            prop_assert!(log.stored_bytes() <= 3 * MAX_LENGTH * BATCH * 4);
        }
    }
}

#[test]
fn a_step_cut_in_the_middle_is_kept_whole_while_there_is_room() {
    let mut log = Log::default();
    log.append(4, None, tensor(1, &[1., 2., 3., 4.]));
    log.cut(2, 8).unwrap();
    let entry = &log.entries()[0];
    assert_eq!((entry.tokens, entry.keep, log.position()), (4, 2, 2));
    log.cut(1, 1).unwrap();
    let entry = &log.entries()[0];
    assert_eq!((entry.tokens, entry.keep, log.position()), (1, 1, 1));
}
