//! Every fault at every place and time, alone and eight at once; medians of the stalls.

use std::time::Duration;

use crate::case::{self, Case, Fault};
use crate::stage::{CUTS, Stage};

/// The longest wait for the next token that half of all generations may see, on loopback.
const MAX_MEDIAN_STALL: [(Fault, Duration); 2] = [
    (Fault::Kill, Duration::from_secs(1)),
    (Fault::Stop, Duration::from_secs(3)),
];

#[test]
fn float32_servers() {
    plays_all("f32");
}

#[test]
fn servers_in_the_default_dtype() {
    plays_all("auto");
}

fn plays_all(dtype: &'static str) {
    let _alone = crate::alone();
    let is_full = std::env::var("FAILOVER_MATRIX").is_ok_and(|which| which == "full");
    let cases = if is_full {
        case::all(dtype)
    } else {
        case::slice(dtype)
    };
    let mut stage = Stage::start(&format!("matrix-{dtype}"), dtype, &CUTS, &CUTS);
    let mut stalls: Vec<(Case, Duration)> = Vec::new();
    let mut problems = Vec::new();
    for case in cases {
        for disturbed in stage.play(&case) {
            let wrong = disturbed.problems();
            if wrong.is_empty() {
                stalls.push((case, disturbed.stall()));
            }
            problems.extend(
                wrong
                    .into_iter()
                    .map(|problem| format!("{case}: {problem}")),
            );
        }
        stage.restock(case.place.hop());
        let of_case = stalls.iter().filter(|(other, _)| *other == case);
        println!(
            "failover: {case}: {}",
            spread(of_case.map(|(_, stall)| *stall))
        );
    }
    for (fault, max_median) in MAX_MEDIAN_STALL {
        for sessions in [1, 8] {
            let some = stalls
                .iter()
                .filter(|(case, _)| case.fault == fault && case.sessions == sessions);
            println!(
                "failover: {fault:?}, dtype {dtype}, {sessions} at once: {}",
                spread(some.map(|(_, stall)| *stall))
            );
        }
        let all = stalls.iter().filter(|(case, _)| case.fault == fault);
        let median = median(all.map(|(_, stall)| *stall));
        println!(
            "failover: {fault:?}, dtype {dtype}: median stall {median:?} (goal: below {max_median:?})"
        );
        if median >= max_median {
            problems.push(format!(
                "{fault:?}: median stall {median:?}, goal below {max_median:?}"
            ));
        }
    }
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

fn median(stalls: impl Iterator<Item = Duration>) -> Duration {
    let mut stalls: Vec<_> = stalls.collect();
    stalls.sort();
    stalls.get(stalls.len() / 2).copied().unwrap_or_default()
}

fn spread(stalls: impl Iterator<Item = Duration>) -> String {
    let mut stalls: Vec<_> = stalls.collect();
    stalls.sort();
    match stalls.as_slice() {
        [] => "no generation as it must be".to_owned(),
        [only] => format!("stall {} ms", only.as_millis()),
        [first, .., last] => format!(
            "stall {} ms, {} to {} ms, of {} generations",
            stalls[stalls.len() / 2].as_millis(),
            first.as_millis(),
            last.as_millis(),
            stalls.len()
        ),
    }
}
