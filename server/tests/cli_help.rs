//! What `-h`, `--help` and `--version` print, and that the example configuration is true.

use std::path::Path;

use block_server::cli::{self, ParseError};
use block_server::{Config, Folders};
use block_testing::Home;

#[test]
fn help_goes_to_stdout_and_short_help_is_short() {
    let home = Home::new("block-server");
    let short = home.output(["-h"]);
    assert_eq!((short.code, short.stderr.as_str()), (Some(0), ""));
    for part in [
        "--model",
        "--blocks",
        "--initial-peers",
        "--public-swarm",
        "--admin-listen",
        "--config",
        "Examples:",
        "block-server plan --model M",
    ] {
        assert!(short.stdout.contains(part), "{part} in {}", short.stdout);
    }
    assert!(
        !short.stdout.contains("--step-timeout"),
        "the short help shows the common flags only"
    );

    let long = home.output(["--help"]);
    assert_eq!(long.code, Some(0));
    for part in [
        "Model:",
        "Swarm:",
        "Network:",
        "Limits:",
        "Speed:",
        "Files:",
        "Operate:",
        "--step-timeout",
        "[env: BLOCK_SERVER_PORT",
        "[default: 31330]",
        "--kv-dtype <K>",
    ] {
        assert!(long.stdout.contains(part), "{part} in {}", long.stdout);
    }

    let plan = home.output(["plan", "-h"]);
    assert_eq!((plan.code, plan.stderr.as_str()), (Some(0), ""));
    for part in ["nothing is loaded", "--json", "--blocks", "[default: auto]"] {
        assert!(plan.stdout.contains(part), "{part} in {}", plan.stdout);
    }
}

#[test]
fn a_token_in_the_environment_is_not_shown() {
    let home = Home::new("block-server");
    let output = home
        .command(["--help"])
        .env("BLOCK_SERVER_TOKEN", "hf_secret")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("BLOCK_SERVER_TOKEN") && !text.contains("hf_secret"));
}

#[test]
fn version_is_one_line() {
    let output = Home::new("block-server").output(["--version"]);
    assert_eq!(
        output.stdout,
        format!("block-server {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn the_environment_is_below_the_flags_and_above_the_file() {
    let home = Home::new("block-server");
    std::fs::write(home.path().join("c.toml"), "model = \"./from-file\"\n").unwrap();
    let run = |args: &[&str], variable: Option<&str>| {
        let mut command = home.command(args.iter().copied());
        if let Some(model) = variable {
            command.env("BLOCK_SERVER_MODEL", model);
        }
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    assert!(run(&["-c", "c.toml"], None).contains("no folder ./from-file"));
    assert!(run(&["-c", "c.toml"], Some("./from-env")).contains("no folder ./from-env"));
    assert!(
        run(
            &["-c", "c.toml", "--model", "./from-flag"],
            Some("./from-env")
        )
        .contains("no folder ./from-flag")
    );
    assert!(
        run(&["-c", "c.toml", "./from-word"], Some("./from-env")).contains("no folder ./from-word")
    );
}

#[test]
fn the_example_configuration_is_complete_and_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let example = root.join("configs/block-server.toml");
    let home = Home::new("block-server");
    let folders = Folders::under(home.path());
    let args = ["block-server", "-c", example.to_str().unwrap()].map(Into::into);
    let parsed = match cli::parse(args, &folders) {
        Ok(parsed) => parsed,
        Err(ParseError::Failure(failure)) => panic!("{failure}"),
        Err(ParseError::Clap(error)) => panic!("{error}"),
    };
    let mut cli = parsed.cli;
    cli.serving.model.model = Some(root.join("models/fable-7m").display().to_string());
    let config = Config::from_cli(cli, &folders, &|_| None).unwrap();
    assert_eq!(config.limits.max_sessions, 64);

    // Complete: every flag that a file can set is named, if only in a comment.
    let text = std::fs::read_to_string(&example).unwrap();
    let command = cli::command();
    let settings = command
        .get_arguments()
        .filter(|arg| arg.get_env().is_some());
    for flag in settings.filter_map(clap::Arg::get_long) {
        let key = flag
            .strip_prefix("log-")
            .or_else(|| flag.strip_prefix("admin-"))
            .unwrap_or(flag)
            .to_owned();
        let is_named = text.lines().any(|line| {
            line.trim_start_matches("# ")
                .starts_with(&format!("{key} = "))
        });
        assert!(
            is_named || PER_RUN.contains(&flag),
            "{flag} is not in the example"
        );
    }
}

/// Flags for one run or one person, which a file can set but should not; a token stands in its own file.
const PER_RUN: &[&str] = &[
    "no-config-files",
    "config",
    "dry-run",
    "stop-with-stdin",
    "block-delay",
    "verbose",
    "quiet",
    "token",
];
