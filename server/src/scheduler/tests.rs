use proptest::prelude::*;

use super::*;

const CAPS: LineCaps = LineCaps {
    jobs: 100,
    jobs_per_peer: 40,
};

type Plain = Scheduler<u8, u32, u32>;

fn scheduler() -> Plain {
    Scheduler::new(CAPS, CAPS, CROWD_CHUNK_TOKENS)
}

fn turn(scheduler: &mut Plain) -> Option<(Turn<u8, u32>, Vec<u32>)> {
    let mut picked = Vec::new();
    let turn = scheduler.next_turn(&mut picked, |_| true, |_| true)?;
    Some((turn, picked.into_iter().map(|row| row.prompt.job).collect()))
}

/// Runs a turn as the compute thread does and returns the steps it touched, as (job, chunk).
fn run(scheduler: &mut Plain) -> Vec<(u32, Range<usize>)> {
    let mut picked = Vec::new();
    let Some(Turn::Steps) = scheduler.next_turn(&mut picked, |_| true, |_| true) else {
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
fn ready_sessions_share_one_turn_at_any_length_up_to_the_short_one() {
    let mut scheduler = scheduler();
    for session in 0..10 {
        let seq = 1 + session as usize;
        scheduler.push_step(session as u8, 1, seq, session).unwrap();
    }
    scheduler.push_step(10, 4, 4, 10).unwrap();
    assert_eq!(run(&mut scheduler).len(), 11);
    assert!(turn(&mut scheduler).is_none());
}

#[test]
fn a_prompt_alone_runs_in_large_chunks_and_in_a_crowd_in_small_ones() {
    let mut scheduler = scheduler();
    scheduler.push_step(1, 1, 1200, 1).unwrap();
    assert_eq!(run(&mut scheduler), [(1, 0..512)]);
    scheduler.push_step(2, 1, 1, 2).unwrap();
    assert_eq!(run(&mut scheduler), [(2, 0..1), (1, 512..536)]);
    // The user of the short step is expected back for a while.
    for turn in 0..RETURN_TURNS as usize {
        let start = 536 + turn * RETURN_CHUNK_TOKENS;
        assert_eq!(
            run(&mut scheduler),
            [(1, start..start + RETURN_CHUNK_TOKENS)]
        );
    }
    assert_eq!(run(&mut scheduler), [(1, 568..1080)]);
    assert_eq!(run(&mut scheduler), [(1, 1080..1200)]);
}

#[test]
fn prompts_take_turns_one_at_a_time() {
    let mut scheduler = scheduler();
    scheduler.push_step(1, 1, 600, 1).unwrap();
    scheduler.push_step(2, 2, 300, 2).unwrap();
    assert_eq!(run(&mut scheduler), [(1, 0..512)]);
    assert_eq!(run(&mut scheduler), [(2, 0..256)]);
    assert_eq!(run(&mut scheduler), [(1, 512..600)]);
    assert_eq!(run(&mut scheduler), [(2, 256..300)]);
}

#[test]
fn a_batch_wider_than_a_chunk_still_moves() {
    let mut scheduler = scheduler();
    scheduler.push_step(1, 1000, 2, 1).unwrap();
    assert_eq!(run(&mut scheduler), [(1, 0..1)]);
    assert_eq!(run(&mut scheduler), [(1, 1..2)]);
}

#[test]
fn an_endless_stream_of_short_steps_does_not_stop_a_prompt() {
    let mut scheduler = scheduler();
    scheduler.push_step(0, 1, 2000, 1000).unwrap();
    let mut next = 0;
    let mut done = 0;
    for _ in 0..2000_usize.div_ceil(CROWD_CHUNK_TOKENS) {
        // More than fit into a turn, of other peers than the prompt's.
        while scheduler.steps_waiting() < 80 {
            scheduler
                .push_step(1 + (next % 7) as u8, 1, 16, next)
                .unwrap();
            next += 1;
        }
        let touched = run(&mut scheduler);
        let (job, chunk) = touched.last().unwrap();
        assert_eq!((*job, chunk.start), (1000, done));
        done = chunk.end;
    }
    assert_eq!(done, 2000);
}

#[test]
fn caps_hand_the_job_back() {
    let caps = LineCaps {
        jobs: 3,
        jobs_per_peer: 2,
    };
    let mut scheduler: Plain = Scheduler::new(caps, caps, CROWD_CHUNK_TOKENS);
    scheduler.push_forward(1, 10).unwrap();
    scheduler.push_forward(1, 11).unwrap();
    assert_eq!(scheduler.push_forward(1, 12), Err(12));
    scheduler.push_forward(2, 13).unwrap();
    assert_eq!(scheduler.push_forward(3, 14), Err(14));
    assert_eq!(scheduler.forwards_waiting(), 3);
    scheduler.push_step(1, 1, 1, 20).unwrap();
    scheduler.push_step(1, 1, 500, 21).unwrap();
    assert_eq!(scheduler.push_step(1, 1, 1, 22), Err(22));
    scheduler.push_step(2, 1, 1, 23).unwrap();
    assert_eq!(scheduler.push_step(3, 1, 500, 24), Err(24));
    assert_eq!(scheduler.steps_waiting(), 3);
}

#[test]
fn inference_goes_first_but_forward_is_not_starved() {
    let mut scheduler = scheduler();
    scheduler.push_forward(9, 9).unwrap();
    for number in 0..FORWARD_PATIENCE_TURNS {
        scheduler.push_step(1, 1, 1, number).unwrap();
        assert!(matches!(turn(&mut scheduler), Some((Turn::Steps, _))));
    }
    scheduler.push_step(1, 1, 1, 0).unwrap();
    let forward = turn(&mut scheduler);
    assert!(matches!(forward, Some((Turn::Forward(9, 9), _))));
    assert!(matches!(turn(&mut scheduler), Some((Turn::Steps, _))));
}

#[test]
fn vanished_callers_are_skipped() {
    let mut scheduler = scheduler();
    for (peer, seq) in [(1, 1), (2, 1), (1, 300), (2, 300)] {
        scheduler.push_step(peer, 1, seq, u32::from(peer)).unwrap();
    }
    scheduler.push_forward(1, 1).unwrap();
    scheduler.push_forward(1, 2).unwrap();
    let mut picked = Vec::new();
    let next = scheduler.next_turn(&mut picked, |job| *job == 2, |job| *job == 2);
    assert!(matches!(next, Some(Turn::Steps)));
    let chunks: Vec<_> = picked.iter().map(|row| row.chunk.clone()).collect();
    assert_eq!(chunks, [0..1, 0..CROWD_CHUNK_TOKENS]);
    picked.clear();
    assert!(matches!(
        scheduler.next_turn(&mut picked, |_| true, |job| *job == 2),
        Some(Turn::Forward(1, 2))
    ));
    scheduler.push_step(1, 1, 1, 1).unwrap();
    scheduler.push_forward(1, 2).unwrap();
    assert!(matches!(
        scheduler.next_turn(&mut picked, |_| false, |_| true),
        Some(Turn::Forward(1, 2))
    ));
    assert!(picked.is_empty());
}

/// Peers of the steps to come. Each has one turn in a round, and its own jobs take turns in it.
const PEERS: usize = 6;

/// A step to come: its peer, batch and new tokens, and the turn before which it comes.
type Coming = (u8, usize, usize, usize);

fn coming() -> impl Strategy<Value = Vec<Coming>> {
    let seq = prop_oneof![3 => 0usize..17, 1 => 17usize..1500];
    proptest::collection::vec((0u8..PEERS as u8, 1usize..5, seq, 0usize..40), 1..60)
}

proptest! {
    /// Every token of every step runs exactly once and in order; turns are bounded and have one prompt at most; and no
    /// step waits for more turns than it takes to serve every other one once, and each of its peer's in a round of its own.
    #[test]
    fn every_token_once_and_nobody_starves(steps in coming()) {
        let mut scheduler = scheduler();
        let mut done: Vec<usize> = vec![0; steps.len()];
        let mut finished: Vec<bool> = vec![false; steps.len()];
        let mut unserved: Vec<usize> = vec![0; steps.len()];
        let mut turn = 0;
        while turn <= 40 || scheduler.steps_waiting() > 0 {
            for (number, (peer, batch, seq, _)) in steps.iter().enumerate().filter(|(_, step)| step.3 == turn) {
                scheduler.push_step(*peer, *batch, *seq, number as u32).unwrap();
            }
            let prompts_waiting = scheduler.prompts.len();
            let touched = run(&mut scheduler);
            turn += 1;
            let is_short = |job: u32| steps[job as usize].1 * steps[job as usize].2 <= MAX_SHORT_TOKENS;
            let prompts = touched.iter().filter(|(job, _)| !is_short(*job)).count();
            prop_assert_eq!(prompts, prompts_waiting.min(1), "a prompt advances in every turn, and only one does");
            let tokens = |job: u32, chunk: &Range<usize>| chunk.len() * steps[job as usize].1;
            let in_all: usize = touched.iter().map(|(job, chunk)| tokens(*job, chunk)).sum();
            prop_assert!(in_all <= MAX_TURN_TOKENS && touched.len() <= MAX_TURN_ROWS);
            let is_crowd = touched.len() > prompts;
            for (number, waiting) in unserved.iter_mut().enumerate() {
                let has_come = steps[number].3 < turn;
                *waiting += usize::from(has_come && !finished[number]);
            }
            for (job, chunk) in touched {
                if is_crowd && !is_short(job) {
                    prop_assert!(tokens(job, &chunk) <= CROWD_CHUNK_TOKENS);
                }
                let number = job as usize;
                prop_assert!(!finished[number]);
                prop_assert_eq!(done[number], chunk.start);
                done[number] = chunk.end;
                finished[number] = chunk.end == steps[number].2;
                prop_assert!(unserved[number] <= PEERS * steps.len());
                unserved[number] = 0;
            }
        }
        prop_assert!(finished.into_iter().all(|finished| finished));
    }

    /// A peer with many prompts takes no more turns than one with a single prompt.
    #[test]
    fn prompts_of_peers_alternate(many in 2usize..20) {
        let mut scheduler = scheduler();
        for job in 0..many {
            scheduler.push_step(1, 1, 4000, job as u32).unwrap();
        }
        scheduler.push_step(2, 1, 4000, 99).unwrap();
        for number in 0..16 {
            let touched = run(&mut scheduler);
            prop_assert_eq!(touched.len(), 1);
            prop_assert_eq!(touched[0].0 == 99, number % 2 == 1);
        }
    }
}
