//! `swarm run` with a server.

use std::io::Write;
use std::process::Stdio;

use block_testing::{Home, admin_get, fable};
use serde_json::Value;

use crate::process::Running;

#[test]
fn an_answer_streams_as_text_and_as_json() {
    let home = Home::new("swarm");
    let server = home.serve(&["--dtype", "f32"]);
    let model = fable();
    let line = [
        "run",
        model.to_str().unwrap(),
        "Once upon a time",
        "--initial-peers",
        &server.address,
        "--max-tokens",
        "12",
    ];
    let plain = home.output(line);
    assert_eq!(plain.code, Some(0), "{}", plain.stderr);
    assert_eq!(
        plain.stderr, "",
        "nothing is told in a pipe unless it is asked for"
    );

    let told = home.output([&line[..], &["--json", "--stream"]].concat());
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let lines: Vec<Value> = told
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (answer, tokens) = lines.split_last().unwrap();
    assert_eq!(tokens.len(), 12);
    let mut text = String::new();
    for (index, token) in tokens.iter().enumerate() {
        assert_eq!(token["index"], index);
        assert_eq!(token["id"], answer["ids"][index]);
        assert!(token["ms"].as_f64().unwrap() > 0.0);
        text += token["text"].as_str().unwrap();
    }
    assert_eq!(answer["text"], text.as_str());
    assert_eq!(plain.stdout.trim_end(), text.trim_end(), "one text, twice");
    assert!(
        server
            .address
            .ends_with(answer["route"][0]["peer"].as_str().unwrap())
    );
    is_undisturbed_answer(answer);

    // The same prompt by its ids, alone and through a pipe.
    let ids: Vec<String> = answer["prompt_ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    let ids = ids.join(",");
    let by_ids = [
        "run",
        model.to_str().unwrap(),
        "--prompt-ids",
        &ids,
        "--initial-peers",
        &server.address,
        "--max-tokens",
        "12",
        "--stats",
    ];
    let by_ids = home.output(by_ids);
    assert_eq!(by_ids.stdout, plain.stdout);
    for part in ["route    0:8 ", "tok/s", "activations auto"] {
        assert!(by_ids.stderr.contains(part), "{part} in {}", by_ids.stderr);
    }
    let mut command = home.command(line.into_iter().filter(|word| *word != "Once upon a time"));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "Once upon a time").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), plain.stdout);
}

/// Of one server with all blocks.
fn is_undisturbed_answer(answer: &Value) {
    assert_eq!(answer["finish_reason"], "length");
    assert_eq!(answer["route"][0]["blocks"], serde_json::json!([0, 8]));
    for key in ["ttft_ms", "tokens_per_second", "max_stall_ms"] {
        assert!(answer[key].as_f64().unwrap() > 0.0, "{key} in {answer}");
    }
    for key in ["bytes_sent", "bytes_received", "steps"] {
        assert!(answer[key].as_u64().unwrap() > 0, "{key} in {answer}");
    }
    assert_eq!(
        (&answer["failovers"], &answer["replayed_tokens"]),
        (&0.into(), &0.into())
    );
    assert_eq!(answer["activation_codec"], "auto");
}

#[test]
fn what_cannot_be_answered_says_why() {
    let home = Home::new("swarm");
    let server = home.serve(&["--blocks", "0:4", "--inference-max-length", "64"]);
    let model = fable();
    let run = [
        "run",
        model.to_str().unwrap(),
        "--initial-peers",
        &server.address,
    ];
    let with = |more: &[&'static str]| home.output([&run[..], more].concat());
    with(&["hello", "--open-timeout", "1"])
        .fails_with(69, &["no route", "hint: start a server with --blocks 4:8"]);
    with(&["--prompt-ids", "999999"]).fails_with(2, &["no token 999999", "4096 tokens"]);
    let _rest = home.serve(&[
        "--blocks",
        "4:8",
        "--initial-peers",
        &server.address,
        "--inference-max-length",
        "64",
        "--identity",
        "second.key",
    ]);
    with(&["hello", "--max-length", "4"])
        .fails_with(2, &["does not fit", "hint: a larger --max-length"]);
    with(&["hello", "--max-tokens", "300"]).fails_with(65, &["refuses", "hint:"]);
}

#[test]
fn ctrl_c_ends_an_answer_politely() {
    let home = Home::new("swarm");
    let server = home.serve(&[]);
    let mut running =
        Running::start(home.command(endless(&server.address, &["--json", "--stream"])));
    running.line();
    running.signal("INT");
    let ended = running.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    let last: Value = serde_json::from_str(ended.rest.lines().last().unwrap()).unwrap();
    assert_eq!(last["finish_reason"], "cancelled");
    assert!(!last["ids"].as_array().unwrap().is_empty());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let home = Home::new("swarm");
    let server = home.serve(&[]);
    let mut running =
        Running::start(home.command(endless(&server.address, &["--json", "--stream"])));
    running.line();
    let ended = running.close_and_end();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn metrics_are_served_while_it_runs() {
    let home = Home::new("swarm");
    let server = home.serve(&[]);
    let more = ["--json", "--stream", "--metrics-listen", "127.0.0.1:0"];
    let mut command = home.command(endless(&server.address, &more));
    let log = home.path().join("stderr");
    command.stderr(std::fs::File::create(&log).unwrap());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    let said = std::fs::read_to_string(&log).unwrap();
    let address = said.trim().strip_prefix("metrics on http://").unwrap();
    let address = address.strip_suffix("/metrics").unwrap();
    assert_eq!(admin_get(address, "/health").0, 200);
    let (code, text) = admin_get(address, "/metrics");
    assert_eq!(code, 200);
    for part in [
        "component=\"swarm\"",
        "block_client_sessions_active 1",
        "swarm_p2p_connections",
        "process_open_fds",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// An answer that is still going on when the test has read a line.
fn endless<'a>(address: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    static MODEL: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| fable().to_str().unwrap().to_owned());
    let line = [
        "run",
        &MODEL,
        "Once upon a time",
        "--initial-peers",
        address,
        "--ignore-eos",
        "--max-tokens",
        "480",
    ];
    [&line[..], more].concat()
}
