//! Replacements that cover the lost blocks with other cuts.

use block_testing::Maker::Ours;

use crate::case::{Case, Fault, Place};
use crate::stage::{CUTS, Cast, Stage};
use crate::verdict::Disturbed;

#[test]
fn two_servers_share_what_one_had() {
    // The first of them holds a block that is not lost.
    let spares = [(Ours, (2, 5)), (Ours, (5, 6))];
    let disturbed = lose_the_middle("shared", &spares, Fault::Kill, "none");
    assert_eq!(blocks(&disturbed), [(0, 3), (3, 5), (5, 6), (6, 8)]);
}

#[test]
fn two_servers_share_what_one_had_behind_8_bit_links() {
    let spares = [(Ours, (3, 4)), (Ours, (4, 7))];
    let disturbed = lose_the_middle("shared-auto", &spares, Fault::Stop, "auto");
    assert_eq!(blocks(&disturbed), [(0, 3), (3, 4), (4, 6), (6, 8)]);
}

#[test]
fn one_server_has_more_than_was_lost() {
    let spares = [(Ours, (2, 8))];
    let disturbed = lose_the_middle("wider", &spares, Fault::Stop, "none");
    assert_eq!(blocks(&disturbed), [(0, 3), (3, 6), (6, 8)]);
}

#[test]
fn a_server_of_the_route_takes_the_lost_blocks_too() {
    // Nobody else is left: the last server of the route holds them as well.
    let _alone = crate::alone();
    let used = [CUTS[0], CUTS[1], (Ours, (3, 8))];
    let mut stage = Stage::start("both", "auto", &used, &[]);
    let disturbed = only(stage.play(&case(Fault::Kill, "auto")));
    assert_eq!(blocks(&disturbed), [(0, 3), (3, 6), (6, 8)]);
}

fn lose_the_middle(name: &str, spares: &[Cast], fault: Fault, codec: &'static str) -> Disturbed {
    let _alone = crate::alone();
    // In the default dtype and with 8-bit links a wrongly rounded boundary changes the text.
    let mut stage = Stage::start(name, "auto", &CUTS, spares);
    only(stage.play(&case(fault, codec)))
}

fn case(fault: Fault, codec: &'static str) -> Case {
    Case {
        fault,
        place: Place::Middle,
        token: 64,
        sessions: 1,
        codec,
        dtype: "auto",
        push: true,
    }
}

/// The one generation of a case, which must be as if nothing had happened.
pub(crate) fn only(mut all: Vec<Disturbed>) -> Disturbed {
    let disturbed = all.remove(0);
    let problems = disturbed.problems();
    assert!(
        problems.is_empty(),
        "{}\n{}",
        problems.join("\n"),
        disturbed.ending.log
    );
    disturbed
}

fn blocks(disturbed: &Disturbed) -> Vec<(u32, u32)> {
    let route = disturbed.ending.route().into_iter();
    route.map(|(_, first, end)| (first, end)).collect()
}
