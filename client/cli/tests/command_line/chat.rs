//! `swarm chat` through a pipe, and at a terminal.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use block_testing::home::Server;
use block_testing::{Home, fable};

use crate::terminal::at_a_terminal;

/// The repository's model with a template of its own: it has none.
fn model_with_template(home: &Home) -> PathBuf {
    let folder = home.path().join("fable-7m");
    fs::create_dir(&folder).unwrap();
    for name in [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        std::os::unix::fs::symlink(fable().join(name), folder.join(name)).unwrap();
    }
    fs::write(folder.join("chat_template.jinja"), TEMPLATE).unwrap();
    folder
}

const TEMPLATE: &str = "\
{{ bos_token }}
{%- for message in messages -%}
{%- if message.role == 'assistant' %}{{ message.content }}{{ eos_token }}{% else %}{{ message.content }}
{%- endif -%}
{%- endfor -%}";

fn chat<'a>(model: &'a Path, server: &'a Server, more: &[&'a str]) -> Vec<&'a str> {
    let line = [
        "chat",
        model.to_str().unwrap(),
        "--initial-peers",
        &server.address,
        "--max-length",
        "512",
        "--max-tokens",
        "8",
        "--temperature",
        "0",
    ];
    [&line[..], more].concat()
}

/// Runs to the end with `typed` on standard input.
fn with_input(mut command: Command, typed: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(typed.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

/// The numbers before a word, in order: of the lines that tell what a turn was.
fn counts(told: &str, word: &str) -> Vec<usize> {
    let pieces = told.match_indices(word).map(|(at, _)| &told[..at]);
    pieces
        .map(|before| before.trim_end().rsplit(' ').next().unwrap())
        .map(|number| number.parse().unwrap())
        .collect()
}

#[test]
fn each_turn_sends_only_what_is_new() {
    let home = Home::new("swarm");
    let server = home.serve(&["--dtype", "f32"]);
    let model = model_with_template(&home);
    let typed = "/set verbose\nOnce upon a time\nThe cat said\nThe dog said\n/show route\n/bye\nnever said\n";
    let output = with_input(home.command(chat(&model, &server, &[])), typed);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    let sent = counts(&told, "tokens sent");
    assert_eq!(counts(&told, "answered"), [8, 8, 8], "{told}");
    // Three turns of about six tokens each; all before would be ten more for each turn.
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|sent| *sent < 14), "{told}");
    let text = String::from_utf8(output.stdout).unwrap();
    let peer = server.address.rsplit('/').next().unwrap();
    assert!(text.ends_with(&format!("0:8 {peer}\n")), "{text}");
    assert!(!text.contains("never said"));

    // Without what was said before it is another answer, and the one that a new conversation begins with.
    let answers = |typed: &str| {
        let output = with_input(home.command(chat(&model, &server, &[])), typed);
        String::from_utf8(output.stdout).unwrap()
    };
    let cleared = answers("Once upon a time\n/clear\nThe cat said\n");
    let lines: Vec<&str> = cleared.lines().collect();
    assert_eq!(Some(lines[0]), text.lines().next());
    assert_eq!(Some(lines[1]), answers("The cat said\n").lines().next());
    assert_ne!(Some(lines[1]), text.lines().nth(1), "{text}");
}

#[test]
fn a_system_message_blocks_and_parameters_change_the_answer() {
    let home = Home::new("swarm");
    let server = home.serve(&["--dtype", "f32"]);
    let model = model_with_template(&home);
    let answers = |typed: &str| {
        let output = with_input(home.command(chat(&model, &server, &[])), typed);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{told}");
        (String::from_utf8(output.stdout).unwrap(), told)
    };
    let (plain, told) = answers("Once upon a time\n");
    assert_eq!(told, "", "nothing is told in a pipe unless it is asked for");
    let (_, told) = answers("/set verbose\nOnce upon a time\n");
    let alone = counts(&told, "tokens sent");
    let system = "/set system \"\"\"A sad\nstory.\"\"\"\n/show system\n";
    let typed = format!("/set verbose\n{system}Once upon a time\n/set system\n/show system\n");
    let (shown, told) = answers(&typed);
    assert!(shown.starts_with("A sad\nstory.\n"), "{shown}");
    assert!(shown.ends_with("\nnone\n"), "{shown}");
    let with_system = counts(&told, "tokens sent");
    assert!(
        with_system[0] > alone[0] + 3,
        "{with_system:?} and {alone:?}"
    );
    let (block, _) = answers("\"\"\"Once upon\na time\"\"\"\n");
    assert_eq!(block.lines().count(), 1, "a block is one turn: {block}");
    let (short, _) = answers("/set parameter num_predict 3\n/show parameters\nOnce upon a time\n");
    assert!(short.contains("max_tokens           3\n"), "{short}");
    assert!(plain.starts_with(short.lines().last().unwrap()));
}

#[test]
fn a_model_without_a_template_goes_on_with_the_text() {
    let home = Home::new("swarm");
    let server = home.serve(&["--dtype", "f32"]);
    let model = fable();
    let typed = "Once upon a time\n/show model\n";
    let output = with_input(home.command(chat(&model, &server, &[])), typed);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("template      none"), "{text}");
    let peers = ["--initial-peers", &server.address, "--max-tokens", "8"];
    let run = ["run", model.to_str().unwrap(), "Once upon a time"];
    let run = home.output([&run[..], &peers].concat());
    assert_eq!(text.lines().next(), run.stdout.lines().next());

    let system = home.output(chat(&model, &server, &["--system", "Be brief."]));
    system.fails_with(2, &["no place for a system message", "no chat template"]);
    let wrong = with_input(
        home.command(chat(&model, &server, &[])),
        "/shrug\nnever said\n",
    );
    assert_eq!(wrong.status.code(), Some(2), "a script must not go on");
}

#[test]
fn run_puts_its_prompt_into_the_template_unless_it_is_raw() {
    let home = Home::new("swarm");
    let server = home.serve(&["--dtype", "f32"]);
    let model = model_with_template(&home);
    let run = |more: &[&str]| {
        let line = [
            "run",
            model.to_str().unwrap(),
            "Once upon a time",
            "--initial-peers",
            &server.address,
            "--max-tokens",
            "3",
            "--json",
        ];
        let output = home.output([&line[..], more].concat());
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        let answer: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
        answer["prompt_ids"].as_array().unwrap().len()
    };
    assert_eq!(
        run(&[]),
        run(&["--raw"]),
        "this template only adds the first token"
    );
    assert!(run(&["--system", "Be brief."]) > run(&[]) + 3);
}

#[test]
fn ctrl_c_stops_the_answer_and_not_the_program() {
    let home = Home::new("swarm");
    let server = home.serve(&[]);
    let model = fable();
    let mut child = home
        .command(chat(&model, &server, &[]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdin
        .write_all(b"/set verbose\n/set parameter ignore_eos true\n/set parameter max_tokens 480\nOnce upon a time\n")
        .unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    let pid = child.id().to_string();
    let status = Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(status.success());
    stdin
        .write_all(b"/set parameter max_tokens 5\nand then\n")
        .unwrap();
    drop(stdin);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    let answered = counts(&told, "answered");
    assert_eq!(answered.len(), 2, "{told}");
    assert!(answered[0] < 480, "{told}");
    assert_eq!(answered[1], 5, "{told}");
}

#[test]
fn at_a_terminal_there_is_a_prompt_and_a_private_history() {
    let home = Home::new("swarm");
    let server = home.serve(&["--dtype", "f32"]);
    let model = fable();
    let history = home.path().join("state/swarm/history");
    let line = chat(&model, &server, &["--no-history"]);
    at_a_terminal(&home, &line, &[(">>> ", "/bye\r")]).ends_with(0);
    assert!(!history.exists(), "--no-history keeps nothing");

    let line = chat(&model, &server, &[]);
    let typed = [
        (">>> ", "/shrug\r"),
        ("no command /shrug", ""),
        (">>> ", "Once upon a time\r"),
        ("8 answered", ""),
        (">>> ", "\u{3}"),
        ("Ctrl-D or /bye leaves", ""),
        (">>> ", "\u{4}"),
    ];
    let shown = at_a_terminal(&home, &line, &typed).ends_with(0);
    for part in ["/bye to leave", "\u{1b}[2m0:8 …", "8 answered\u{1b}[0m"] {
        assert!(shown.contains(part), "{part:?} in {shown}");
    }
    let kept = fs::read_to_string(&history).unwrap();
    assert!(kept.ends_with("/shrug\nOnce upon a time\n"), "{kept}");
    let mode = fs::metadata(&history).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let run = [
        "run",
        model.to_str().unwrap(),
        "--initial-peers",
        &server.address,
    ];
    let shown = at_a_terminal(&home, &run, &[(">>> ", "/bye\r")]).ends_with(0);
    assert!(
        shown.contains("/bye to leave"),
        "run without a prompt asks: {shown}"
    );
}
