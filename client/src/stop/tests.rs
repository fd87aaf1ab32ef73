use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Text before the stop string that is complete first, and its number: the slow way.
fn oracle(text: &str, stops: &[String]) -> (String, Option<usize>) {
    for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
        let complete = stops
            .iter()
            .enumerate()
            .filter(|(_, stop)| text[..end].ends_with(*stop));
        // The first of the longest.
        let longest = complete.rev().max_by_key(|(_, stop)| stop.len());
        if let Some((number, stop)) = longest {
            return (text[..end - stop.len()].to_owned(), Some(number));
        }
    }
    (text.to_owned(), None)
}

/// Bytes at the end of a text that may begin a stop string.
fn undecided(text: &str, stops: &[String]) -> usize {
    let beginnings = stops
        .iter()
        .flat_map(|stop| (1..stop.len()).filter_map(|len| stop.get(..len)));
    beginnings
        .filter(|start| text.ends_with(*start))
        .map(str::len)
        .max()
        .unwrap_or(0)
}

fn letters(count: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    vec(prop_oneof![Just('a'), Just('b'), Just('é')], count).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn what_comes_out_depends_on_the_text_only(
        pieces in vec(letters(0..5), 0..8), stops in vec(letters(1..5), 0..4)
    ) {
        let text = pieces.concat();
        let (expected, expected_stop) = oracle(&text, &stops);
        let mut matcher = StopMatcher::new(&stops).unwrap();
        let (mut seen, mut released) = (String::new(), String::new());
        for piece in &pieces {
            seen += piece;
            let scan = matcher.push(piece);
            released += &scan.text;
            if scan.stopped_by.is_some() {
                prop_assert_eq!(scan.stopped_by, expected_stop);
                prop_assert_eq!(released, expected);
                return Ok(());
            }
            // Nothing is held back without need.
            prop_assert_eq!(released.len(), seen.len() - undecided(&seen, &stops));
        }
        released += &matcher.finish();
        prop_assert_eq!(None, expected_stop);
        prop_assert_eq!(released, expected);
    }
}

#[test]
fn a_stop_string_is_found_at_every_split() {
    let text = "The end.\n\nUser: 你好";
    for first in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
        for second in (first..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            let mut matcher = StopMatcher::new(&["\n\nUser:"]).unwrap();
            let mut released = String::new();
            let mut stops = 0;
            for piece in [&text[..first], &text[first..second], &text[second..]] {
                if stops == 0 {
                    let scan = matcher.push(piece);
                    released += &scan.text;
                    stops += usize::from(scan.stopped_by.is_some());
                }
            }
            assert_eq!((released.as_str(), stops), ("The end.", 1));
        }
    }
}

#[test]
fn what_only_began_like_a_stop_string_comes_out() {
    let mut matcher = StopMatcher::new(&["aab"]).unwrap();
    assert_eq!(matcher.push("xaa").text, "x");
    assert_eq!(matcher.push("a").text, "a");
    assert_eq!(matcher.finish(), "aa");
}

#[test]
fn an_empty_stop_string_is_refused() {
    assert_eq!(StopMatcher::new(&["a", ""]).unwrap_err(), EmptyStop(1));
}
