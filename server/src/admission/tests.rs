use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn granted(admission: Admission) -> Ticket {
    let Admission::Granted(ticket) = admission else {
        panic!("must be granted, got {admission:?}")
    };
    ticket
}

fn waits(admission: Admission) -> Ticket {
    let Admission::Waiting(ticket) = admission else {
        panic!("must wait, got {admission:?}")
    };
    ticket
}

#[test]
fn grants_in_order_and_never_past_the_line() {
    let mut budget = Budget::new(100, 8);
    let first = granted(budget.request(Claim::Fixed, 60, false));
    let large = waits(budget.request(Claim::Fixed, 50, true));
    let small = waits(budget.request(Claim::Growing, 10, true));
    assert_eq!(budget.request(Claim::Growing, 10, false), Admission::Full);
    assert_eq!(budget.release(first), [large, small]);
    assert_eq!(budget.used_bytes(), 60);
    assert_eq!(budget.release(first), []);
}

#[test]
fn leaving_the_line_lets_the_next_one_in() {
    let mut budget = Budget::new(100, 8);
    granted(budget.request(Claim::Fixed, 60, false));
    let large = waits(budget.request(Claim::Fixed, 50, true));
    let small = waits(budget.request(Claim::Fixed, 10, true));
    assert_eq!(budget.cancel(large), [small]);
    assert_eq!(budget.cancel(large), []);
    assert_eq!(budget.free_bytes(), 30);
}

#[test]
fn impossible_requests_and_a_full_line_are_refused_at_once() {
    let mut budget = Budget::new(100, 1);
    assert_eq!(budget.request(Claim::Fixed, 101, true), Admission::TooLarge);
    granted(budget.request(Claim::Fixed, 100, true));
    waits(budget.request(Claim::Fixed, 1, true));
    assert_eq!(budget.request(Claim::Fixed, 1, true), Admission::Full);
}

#[test]
fn growth_ends_the_youngest_that_grows_and_no_fixed_one() {
    let mut budget = Budget::new(100, 8);
    let old = granted(budget.request(Claim::Growing, 10, false));
    let middle = granted(budget.request(Claim::Growing, 20, false));
    let young = granted(budget.request(Claim::Growing, 20, false));
    let fixed = granted(budget.request(Claim::Fixed, 40, false));
    let grown = budget.grow(old, 20);
    assert_eq!((grown.is_granted, grown.ended), (true, vec![]));
    // Another 20, of which none is free.
    let grown = budget.grow(old, 40);
    assert_eq!((grown.is_granted, grown.ended), (true, vec![young]));
    assert_eq!(budget.held_by(young), None);
    assert_eq!(budget.held_by(fixed), Some(40));
    let grown = budget.grow(middle, 30);
    assert_eq!((grown.is_granted, grown.ended), (false, vec![middle]));
    assert_eq!(budget.held_by(old), Some(40));
    assert!(!budget.grow(young, 1).is_granted, "it has ended");
    assert!(!budget.grow(fixed, 50).is_granted, "it does not grow");
    assert_eq!(budget.held_by(fixed), Some(40));
}

#[test]
fn growth_goes_before_the_line_and_an_end_lets_waiters_in() {
    let mut budget = Budget::new(100, 8);
    let old = granted(budget.request(Claim::Growing, 10, false));
    let young = granted(budget.request(Claim::Growing, 80, false));
    let waiter = waits(budget.request(Claim::Fixed, 60, true));
    let grown = budget.grow(old, 20);
    assert_eq!((grown.is_granted, grown.let_in), (true, vec![]));
    let grown = budget.grow(old, 30);
    assert_eq!(grown.ended, [young]);
    assert_eq!(grown.let_in, [waiter]);
    assert_eq!(budget.used_bytes(), 90);
}

#[derive(Debug, Clone)]
enum Move {
    Request {
        grows: bool,
        bytes: u64,
        may_wait: bool,
    },
    Grow(usize, u64),
    Release(usize),
    Cancel(usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (any::<bool>(), 0u64..60, any::<bool>())
            .prop_map(|(grows, bytes, may_wait)| Move::Request { grows, bytes, may_wait }),
        3 => (any::<usize>(), 0u64..40).prop_map(|(which, more)| Move::Grow(which, more)),
        1 => any::<usize>().prop_map(Move::Release),
        1 => any::<usize>().prop_map(Move::Cancel),
    ];
    proptest::collection::vec(one, 1..200)
}

/// What a test knows of a claim.
#[derive(Debug, Clone, Copy)]
struct Known {
    claim: Claim,
    bytes: u64,
}

proptest! {
    /// Whatever comes: the budget is never exceeded, fixed claims never lose, a growing claim ends for another only while
    /// no younger one lives, first shares are granted first come, first served, and all comes back in the end.
    #[test]
    fn the_rules_hold(moves in moves()) {
        let mut budget = Budget::new(100, 4);
        let mut held: BTreeMap<Ticket, Known> = BTreeMap::new();
        let mut line: VecDeque<Ticket> = VecDeque::new();
        let mut asked: HashMap<Ticket, Known> = HashMap::new();
        for one in moves {
            let let_in = match one {
                Move::Request { grows, bytes, may_wait } => {
                    let claim = if grows { Claim::Growing } else { Claim::Fixed };
                    let known = Known { claim, bytes };
                    match budget.request(claim, bytes, may_wait) {
                        Admission::Granted(ticket) => {
                            prop_assert!(line.is_empty());
                            held.insert(ticket, known);
                        }
                        Admission::Waiting(ticket) => {
                            line.push_back(ticket);
                            asked.insert(ticket, known);
                        }
                        Admission::Full | Admission::TooLarge => {}
                    }
                    vec![]
                }
                Move::Grow(which, more) => {
                    let growing: Vec<_> = held.iter().filter(|(_, known)| known.claim == Claim::Growing).collect();
                    if growing.is_empty() { continue; }
                    let (&ticket, &known) = growing[which % growing.len()];
                    let growth = budget.grow(ticket, known.bytes + more);
                    for ended in &growth.ended {
                        let lost = held.remove(ended).unwrap();
                        prop_assert_eq!(lost.claim, Claim::Growing);
                        let younger = held.range(*ended..).any(|(_, known)| known.claim == Claim::Growing);
                        prop_assert!(!younger, "a younger one lives on");
                    }
                    prop_assert_eq!(growth.is_granted, held.contains_key(&ticket));
                    if growth.is_granted {
                        held.insert(ticket, Known { bytes: known.bytes + more, ..known });
                    } else {
                        prop_assert_eq!(growth.ended.last(), Some(&ticket));
                    }
                    growth.let_in
                }
                Move::Release(which) if !held.is_empty() => {
                    let ticket = *held.keys().nth(which % held.len()).unwrap();
                    held.remove(&ticket);
                    budget.release(ticket)
                }
                Move::Cancel(which) if !line.is_empty() => {
                    let ticket = line.remove(which % line.len()).unwrap();
                    budget.cancel(ticket)
                }
                Move::Release(_) | Move::Cancel(_) => vec![],
            };
            for ticket in let_in {
                prop_assert_eq!(line.pop_front(), Some(ticket));
                held.insert(ticket, asked[&ticket]);
            }
            prop_assert!(budget.used_bytes() <= budget.total_bytes());
            prop_assert_eq!(budget.used_bytes(), held.values().map(|known| known.bytes).sum::<u64>());
            for (ticket, known) in &held {
                prop_assert_eq!(budget.held_by(*ticket), Some(known.bytes));
            }
            prop_assert_eq!(budget.waiting(), line.len());
            if let Some(first) = line.front() {
                prop_assert!(asked[first].bytes > budget.free_bytes(), "the first in line is not kept waiting");
            }
        }
        while let Some((ticket, _)) = held.pop_first() {
            let let_in = budget.release(ticket);
            held.extend(let_in.into_iter().map(|ticket| (ticket, asked[&ticket])));
        }
        prop_assert_eq!(budget.free_bytes(), 100);
        prop_assert_eq!(budget.waiting(), 0);
    }
}
