//! `swarm demo` as a newcomer sees it, and that it cleans up in every case.

use std::path::Path;

use block_testing::{Home, program};

use crate::process::{Running, assert_gone};

fn start(home: &Home, more: &[&str]) -> Running {
    // It stands beside the command.
    program("block-server");
    let temporary = home.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = home.command([&["demo"], more].concat());
    command.env("TMPDIR", temporary);
    Running::start(command)
}

/// Process ids from the lines that tell of the servers.
fn pids(lines: &[String]) -> Vec<String> {
    let after = |line: &String| {
        let rest = line.split_once("process ")?.1;
        Some(rest.split_whitespace().next()?.to_owned())
    };
    lines.iter().filter_map(after).collect()
}

fn assert_clean(home: &Home, pids: &[String]) {
    assert_eq!(pids.len(), 3, "{pids:?}");
    for pid in pids {
        assert_gone(pid);
    }
    let left = std::fs::read_dir(home.path().join("tmp")).unwrap().count();
    assert_eq!(left, 0, "temporary files are removed");
    assert!(
        !Path::new(&home.path().join("state")).exists(),
        "no identity is made"
    );
}

#[test]
fn a_server_dies_and_the_story_goes_on() {
    let home = Home::new("swarm");
    let mut demo = start(&home, &[]);
    let lines = demo.lines_until(|line| line.starts_with("Route: "));
    let ended = demo.end();
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.rest, ended.stderr);
    let map = lines.join("\n");
    for part in ["healthy", "8 of 8", "ada", "ben", "cleo"] {
        assert!(map.contains(part), "{part} in {map}");
    }
    let (before, after) = ended.rest.split_once(">>> kill -9 ").unwrap();
    let (after, report) = after.split_once("What happened: ").unwrap();
    assert!(before.contains("Once upon a time"), "{before}");
    assert!(
        after.split_whitespace().count() > 30,
        "the text goes on: {after}"
    );
    // By itself: it is not cut in the middle of a sentence.
    let (story, _) = after.split_once(" tokens at ").unwrap();
    let story = story.trim_end_matches(|last: char| last.is_ascii_digit() || last.is_whitespace());
    assert!(story.ends_with(['.', '!', '"']), "{story}");
    for part in [
        "died",
        "token for token",
        "Route now: ",
        "All servers are stopped",
    ] {
        assert!(report.contains(part), "{part} in {report}");
    }
    assert_clean(&home, &pids(&lines));
}

#[test]
fn ctrl_c_leaves_nothing_running() {
    let home = Home::new("swarm");
    let mut demo = start(&home, &[]);
    let lines = demo.lines_until(|line| line.starts_with("Route: "));
    demo.signal("INT");
    // A second one must not outrun the cleaning.
    demo.signal("INT");
    let ended = demo.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert_clean(&home, &pids(&lines));
}

#[test]
fn a_reader_that_goes_leaves_nothing_running() {
    let home = Home::new("swarm");
    let mut demo = start(&home, &[]);
    let lines = demo.lines_until(|line| line.starts_with("Route: "));
    let ended = demo.close_and_end();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert_clean(&home, &pids(&lines));
}

#[test]
fn a_server_that_does_not_start_is_explained() {
    let home = Home::new("swarm");
    let demo = start(&home, &["--block-server", "/bin/false"]);
    let ended = demo.end();
    assert_eq!(ended.code, Some(69), "{}", ended.stderr);
    for part in ["did not come up", "hint: "] {
        assert!(ended.stderr.contains(part), "{part} in {}", ended.stderr);
    }
    let left = std::fs::read_dir(home.path().join("tmp")).unwrap().count();
    assert_eq!(left, 0);
}
