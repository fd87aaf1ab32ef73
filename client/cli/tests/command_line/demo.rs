//! `swarm demo` as a newcomer sees it, and that it cleans up in every case.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use block_testing::{Home, PATIENCE, admin_get, program, repository};
use serde_json::Value;

use crate::process::{Running, assert_gone};

fn start(home: &Home, more: &[&str]) -> Running {
    // It stands beside the command.
    program("block-server");
    let temporary = home.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = home.command([&["demo"], more].concat());
    command.env("TMPDIR", temporary);
    // As a shell does with a command at a terminal.
    command.process_group(0);
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
    demo.ctrl_c();
    // A second one must not outrun the cleaning.
    demo.ctrl_c();
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

#[test]
fn its_servers_read_no_settings_of_this_machine() {
    let home = Home::new("swarm");
    let program = home.path().join("tells-how-it-is-called");
    std::fs::write(&program, "#!/bin/sh\necho called with $* >&2\nenv >&2\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let flags = ["--block-server", program.to_str().unwrap()];
    for page in [&[][..], &["--page", "--listen", "127.0.0.1:0"]] {
        std::fs::remove_dir_all(home.path().join("tmp")).ok();
        let ended = start(&home, &[&flags, page].concat()).end();
        assert_eq!(ended.code, Some(69), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("called with --no-config-files "),
            "{}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("BLOCK_SERVER_"), "{}", ended.stderr);
    }
}

/// A demo with a page on a free port, once it has said all: the lines that it printed and the page's address.
fn open_page(home: &Home, more: &[&str]) -> (Running, Vec<String>, String) {
    let mut demo = start(
        home,
        &[&["--page", "--listen", "127.0.0.1:0"], more].concat(),
    );
    let lines = demo.lines_until(|line| line.ends_with("Ctrl-C ends everything."));
    let page = lines
        .iter()
        .find_map(|line| line.strip_prefix("Chat page: http://"));
    let address = page.unwrap().strip_suffix('/').unwrap().to_owned();
    (demo, lines, address)
}

/// The printed command that begins with `start`, continued lines included, run by a shell in the repository.
fn printed(lines: &[String], start: &str) -> Command {
    let at = lines
        .iter()
        .position(|line| line.trim_start().starts_with(start));
    let mut text = String::new();
    for line in &lines[at.unwrap_or_else(|| panic!("no {start} in {lines:#?}"))..] {
        text.push_str(line);
        text.push('\n');
        if !line.ends_with('\\') {
            break;
        }
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", &text]).current_dir(repository());
    shell
}

fn online(address: &str) -> Vec<String> {
    let (status, body) = admin_get(address, "/v1/system/topology");
    assert_eq!(status, 200, "{body}");
    let topology: Value = serde_json::from_str(&body).unwrap();
    let servers = topology["models"][0]["servers"].as_array().unwrap().clone();
    let is_online = |server: &&Value| server["state"] == "online";
    let name = |server: &Value| server["public_name"].as_str().unwrap_or("").to_owned();
    servers.iter().filter(is_online).map(name).collect()
}

fn await_online(address: &str, wanted: impl Fn(&[String]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let online = online(address);
        if wanted(&online) {
            return;
        }
        assert!(Instant::now() < deadline, "{online:?}");
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

#[test]
fn the_page_opens_and_what_is_printed_works() {
    let home = Home::new("swarm");
    let (mut demo, lines, address) = open_page(&home, &[]);
    let servers = pids(&lines);
    let (status, page) = admin_get(&address, "/");
    assert!(status == 200 && page.contains("<title>"), "{page}");
    let (_, models) = admin_get(&address, "/v1/models");
    let models: Value = serde_json::from_str(&models).unwrap();
    assert_eq!(models["data"][0]["swarm"]["source"], "models/fable-7m");

    let answer = printed(&lines, "curl ").output().unwrap();
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.split_whitespace().count() > 5, "{answer}");

    // A server that is lost is told of, and comes back as the same peer at the same address.
    await_online(&address, |online| online.len() == 3);
    assert!(printed(&lines, "kill -9").status().unwrap().success());
    let gone = demo.line();
    assert!(gone.starts_with("ben (process "), "{gone}");
    await_online(&address, |online| !online.contains(&"ben".to_owned()));
    let back = demo.line();
    assert!(back.starts_with("ben is back as process "), "{back}");
    await_online(&address, |online| online.len() == 3);
    let again = back.rsplit(' ').next().unwrap();
    let servers = [&servers[0], again, &servers[2]].map(str::to_owned);

    demo.signal("TERM");
    let ended = demo.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.rest.ends_with("folder is removed.\n"),
        "{}",
        ended.rest
    );
    assert_clean(&home, &servers);
}

#[test]
fn a_server_joins_with_the_printed_command() {
    let home = Home::new("swarm");
    // Loopback stands in for the address on a network, which a test machine need not have.
    let (demo, lines, address) = open_page(&home, &["--share", "127.0.0.2"]);
    let servers = pids(&lines);
    let command =
        "target/release/block-server --model models/fable-7m --initial-peers /ip4/127.0.0.2/tcp/";
    let mut printed = lines.iter().map(|line| line.trim());
    let line = printed.find(|line| line.starts_with(command));
    // The build of this test run instead of a release, in the home of the test and on free ports.
    let (_, flags) = line.unwrap().split_once(' ').unwrap();
    let identity = home.path().join("dora.key");
    let identity = identity.to_str().unwrap();
    let joining = [
        "--port=0",
        "--public-name=dora",
        "--throughput=10",
        "--identity",
    ];
    let joining = joining.into_iter().chain([identity]);
    let mut command = home.command_of("block-server", flags.split_whitespace().chain(joining));
    command.current_dir(repository());
    let mut joined = Running::start(command);
    assert!(joined.line().starts_with("READY "));
    await_online(&address, |online| online.contains(&"dora".to_owned()));
    drop(joined);
    demo.ctrl_c();
    let ended = demo.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.rest.contains("is gone"), "{}", ended.rest);
    assert_clean(&home, &servers);
}

#[test]
fn a_demo_that_is_killed_takes_its_servers_with_it() {
    let home = Home::new("swarm");
    let (demo, lines, _) = open_page(&home, &[]);
    demo.signal("KILL");
    assert_eq!(demo.end().code, None);
    let servers = pids(&lines);
    assert_eq!(servers.len(), 3);
    for pid in servers {
        assert_gone(&pid);
    }
}

#[test]
fn an_address_that_the_page_cannot_have_is_explained_before_anything_starts() {
    let home = Home::new("swarm");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let with = |flags: &[&'static str]| home.output([&["demo", "--page"], flags].concat());
    home.output(["demo", "--page", "--listen", &taken])
        .fails_with(
            71,
            &["cannot listen on 127.0.0.1", "hint: --listen 127.0.0.1:0"],
        );
    with(&["--listen", "0.0.0.0:8000"]).fails_with(2, &["open to other machines", "hint: "]);
    with(&["--share", "203.0.113.1"]).fails_with(71, &["not of this machine", "hint: "]);
    with(&["--share", "my-host"]).fails_with(2, &["192.168.1.5"]);
}
