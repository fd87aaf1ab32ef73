use proptest::prelude::*;

use super::*;

const CAPS: LineCaps = LineCaps {
    jobs: 100,
    jobs_per_peer: 40,
};

type Plain = Scheduler<u8, u32, u32>;

fn scheduler() -> Plain {
    Scheduler::new(CAPS, CAPS)
}

fn turn(scheduler: &mut Plain) -> Option<Turn<u8, u32, u32>> {
    scheduler.next_turn(|_| true, |_| true)
}

/// Runs a turn as the compute thread does and returns the steps it touched, as (job, chunk).
fn run(scheduler: &mut Plain) -> Vec<(u32, Range<usize>)> {
    let Some(Turn::Steps(picked)) = turn(scheduler) else {
        return vec![];
    };
    let mut touched = Vec::new();
    for Picked {
        peer,
        mut prompt,
        chunk,
    } in picked
    {
        touched.push((prompt.job, chunk.clone()));
        prompt.done = chunk.end;
        if prompt.done < prompt.seq {
            scheduler.return_step(peer, prompt);
        }
    }
    touched
}

#[test]
fn ready_sessions_share_one_turn() {
    let mut scheduler = scheduler();
    for session in 0..10 {
        scheduler.push_step(session as u8, 1, 1, session).unwrap();
    }
    assert_eq!(run(&mut scheduler).len(), 10);
    assert!(turn(&mut scheduler).is_none());
}

#[test]
fn a_long_prompt_is_cut_and_does_not_stall_others() {
    let mut scheduler = scheduler();
    scheduler.push_step(1, 1, 300, 1).unwrap();
    scheduler.push_step(2, 2, 100, 2).unwrap();
    assert_eq!(run(&mut scheduler), vec![(1, 0..128), (2, 0..64)]);
    scheduler.push_step(3, 1, 1, 3).unwrap();
    assert_eq!(
        run(&mut scheduler),
        vec![(1, 128..256), (2, 64..100), (3, 0..1)]
    );
    assert_eq!(run(&mut scheduler), vec![(1, 256..300)]);
}

#[test]
fn a_batch_wider_than_a_chunk_still_moves() {
    let mut scheduler = scheduler();
    scheduler.push_step(1, 1000, 2, 1).unwrap();
    assert_eq!(run(&mut scheduler), vec![(1, 0..1)]);
    assert_eq!(run(&mut scheduler), vec![(1, 1..2)]);
}

#[test]
fn peers_take_turns_whatever_their_number_of_jobs() {
    let mut line = Line::new(CAPS);
    for job in 0..4 {
        line.push(1, job).unwrap();
    }
    line.push(2, 100).unwrap();
    line.push(3, 200).unwrap();
    let order: Vec<i32> = std::iter::from_fn(|| line.pop())
        .map(|(_, job)| job)
        .collect();
    assert_eq!(order, [0, 100, 200, 1, 2, 3]);
    assert!(line.jobs.is_empty() && line.turns.is_empty());
}

#[test]
fn caps_hand_the_job_back() {
    let caps = LineCaps {
        jobs: 3,
        jobs_per_peer: 2,
    };
    let mut scheduler: Plain = Scheduler::new(caps, caps);
    scheduler.push_forward(1, 10).unwrap();
    scheduler.push_forward(1, 11).unwrap();
    assert_eq!(scheduler.push_forward(1, 12), Err(12));
    scheduler.push_forward(2, 13).unwrap();
    assert_eq!(scheduler.push_forward(3, 14), Err(14));
    assert_eq!(scheduler.forwards_waiting(), 3);
}

#[test]
fn inference_goes_first_but_forward_is_not_starved() {
    let mut scheduler = scheduler();
    scheduler.push_forward(9, 9).unwrap();
    for number in 0..FORWARD_PATIENCE_TURNS {
        scheduler.push_step(1, 1, 1, number).unwrap();
        assert!(matches!(turn(&mut scheduler), Some(Turn::Steps(_))));
    }
    scheduler.push_step(1, 1, 1, 0).unwrap();
    assert!(matches!(turn(&mut scheduler), Some(Turn::Forward(9, 9))));
    assert!(matches!(turn(&mut scheduler), Some(Turn::Steps(_))));
}

#[test]
fn vanished_callers_are_skipped() {
    let mut scheduler = scheduler();
    scheduler.push_step(1, 1, 1, 1).unwrap();
    scheduler.push_step(2, 1, 1, 2).unwrap();
    scheduler.push_forward(1, 1).unwrap();
    scheduler.push_forward(1, 2).unwrap();
    let Some(Turn::Steps(picked)) = scheduler.next_turn(|job| *job == 2, |job| *job == 2) else {
        panic!("a step is wanted");
    };
    assert_eq!(picked.len(), 1);
    assert!(matches!(
        scheduler.next_turn(|_| true, |job| *job == 2),
        Some(Turn::Forward(1, 2))
    ));
    scheduler.push_step(1, 1, 1, 1).unwrap();
    scheduler.push_forward(1, 2).unwrap();
    assert!(matches!(
        scheduler.next_turn(|_| false, |_| true),
        Some(Turn::Forward(1, 2))
    ));
}

proptest! {
    /// Every token of every step runs exactly once and in order; turns are bounded; and no session waits longer than
    /// it takes to serve every other one once.
    #[test]
    fn every_token_once_and_nobody_starves(
        steps in proptest::collection::vec((0u8..6, 1usize..5, 0usize..700), 1..30)
    ) {
        let mut scheduler = scheduler();
        let mut done: Vec<usize> = vec![0; steps.len()];
        for (number, (peer, batch, seq)) in steps.iter().enumerate() {
            scheduler.push_step(*peer, *batch, *seq, number as u32).unwrap();
        }
        let mut unserved: Vec<usize> = vec![0; steps.len()];
        loop {
            let touched = run(&mut scheduler);
            if touched.is_empty() { break; }
            let tokens: usize = touched.iter().map(|(job, chunk)| chunk.len() * steps[*job as usize].1).sum();
            prop_assert!(tokens < MAX_TURN_TOKENS + MAX_CHUNK_TOKENS);
            for waiting in &mut unserved { *waiting += 1; }
            for (job, chunk) in touched {
                let job = job as usize;
                prop_assert_eq!(done[job], chunk.start);
                done[job] = chunk.end;
                prop_assert!(unserved[job] <= steps.len() * 6);
                unserved[job] = 0;
            }
        }
        for (number, (_, _, seq)) in steps.iter().enumerate() {
            prop_assert_eq!(done[number], *seq);
        }
    }
}
