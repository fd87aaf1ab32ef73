use clap::CommandFactory;

use super::*;

fn parsed(line: &str) -> Result<Cli, ParseError> {
    let root = tempfile::tempdir().unwrap();
    let args = line.split_whitespace().map(OsString::from);
    parse(args, &Folders::under(root.path())).map(|parsed| parsed.cli)
}

#[test]
fn the_command_line_is_consistent_and_every_flag_explains_itself() {
    let mut command = Cli::command();
    command.clone().debug_assert();
    command.build();
    for task in command.get_subcommands() {
        for flag in task.get_arguments() {
            assert!(flag.get_help().is_some(), "{} {flag}", task.get_name());
        }
    }
}

#[test]
fn each_setting_has_variable_default_and_help() {
    let mut command = Cli::command();
    command.build();
    let mut seen = std::collections::BTreeMap::new();
    for task in command.get_subcommands() {
        let name = task.get_name();
        // They speak of settings, and have none.
        if matches!(name, "config" | "completions" | "man") {
            continue;
        }
        for flag in task.get_arguments() {
            let (Some(long), false) = (flag.get_long(), ONE_RUN.contains(&flag.get_id().as_str()))
            else {
                continue;
            };
            let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.len() > 10, "{name} --{long} has no help");
            let variable = flag.get_env().and_then(|name| name.to_str());
            let general = format!("SWARM_{long}").to_uppercase().replace('-', "_");
            let own = format!("SWARM_{name}_{long}")
                .to_uppercase()
                .replace('-', "_");
            let variable = variable.unwrap_or_else(|| panic!("{name} --{long} has no variable"));
            assert!(
                [&general, &own].contains(&&variable.to_owned()),
                "{name} --{long}: {variable}"
            );
            let meant = seen
                .entry(variable.to_owned())
                .or_insert_with(|| long.to_owned());
            assert_eq!(meant, long, "{variable} means two flags");
            let is_switch = matches!(flag.get_action(), clap::ArgAction::SetTrue);
            let has_default = !flag.get_default_values().is_empty() || help.contains("[default: ");
            assert!(is_switch || has_default, "{name} --{long} says no default");
        }
    }
    assert!(seen.len() > 30);
}

/// Flags for one run, which neither a file nor a variable can set.
const ONE_RUN: &[&str] = &[
    "help",
    "version",
    "json",
    "stream",
    "prompt_ids",
    "blocks",
    "watch",
    "demo_page",
    "demo_listen",
    "share",
];

#[test]
fn command_lines_of_petals_dht_nodes_parse() {
    for line in [
        "swarm bootstrap --host_maddrs /ip4/0.0.0.0/tcp/31337 --identity_path bootstrap1.id",
        "swarm bootstrap --initial_peers /ip4/10.1.2.3/tcp/31234/p2p/XX --refresh_period 30",
        "swarm bootstrap --announce_maddrs /ip4/1.2.3.4/tcp/31337 --use_auto_relay --no_relay",
    ] {
        assert!(parsed(line).is_ok(), "{line}");
    }
    assert!(parsed("swarm bootstrap --use_ipfs").is_err());
}

#[test]
fn underscores_are_folded_and_lists_take_commas() {
    let line = "swarm run m hello --initial_peers a,b --initial-peers c --prompt_ids";
    assert!(parsed(line).is_err(), "a prompt is words or ids");
    let cli = parsed("swarm run m --initial_peers a,b --initial-peers c --max_tokens 7").unwrap();
    let Task::Run(flags) = cli.task else {
        panic!("run")
    };
    assert_eq!(flags.swarm.initial_peers, ["a", "b", "c"]);
    assert_eq!(flags.answer.max_tokens, 7);
    let cli = parsed("swarm run m --prompt-ids 1,2,3 --frequency-penalty -1").unwrap();
    let Task::Run(flags) = cli.task else {
        panic!("run")
    };
    assert_eq!(flags.prompt_ids, Some(vec![1, 2, 3]));
}

#[test]
fn values_are_checked() {
    for wrong in [
        "swarm run m x --max-tokens 0",
        "swarm run m x --activation-codec zip",
        "swarm run m x --route nobody",
        "swarm run m x --repair-timeout -1",
        "swarm run m x --prompt-ids 1",
        "swarm ping p --count 0",
        "swarm pull m --blocks 3:3",
        "swarm pull m --blocks 7",
        "swarm",
    ] {
        assert!(parsed(wrong).is_err(), "{wrong} must be refused");
    }
}

#[test]
fn an_identity_in_a_file_is_that_of_one_command() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("swarm.toml");
    let parsed = |text: &str, line: &str| {
        std::fs::write(&file, text).unwrap();
        let words = line.split_whitespace().map(OsString::from);
        let args = words.chain(["--config".into(), file.clone().into()]);
        parse(args, &Folders::under(root.path())).map(|parsed| parsed.cli.task)
    };
    let scoped = "[gateway]\nidentity = \"gateway.key\"\n";
    let Task::Gateway(gateway) = parsed(scoped, "swarm gateway --model m").unwrap() else {
        panic!("gateway")
    };
    assert_eq!(
        gateway.swarm.identity,
        Some(std::path::PathBuf::from("gateway.key"))
    );
    let Task::Run(run) = parsed(scoped, "swarm run m x").unwrap() else {
        panic!("run")
    };
    assert_eq!(run.swarm.identity, None);
    for everybodys in [
        "identity = \"one.key\"\n",
        "[swarm]\nidentity_path = \"one.key\"\n",
    ] {
        let error = parsed(everybodys, "swarm run m x").unwrap_err();
        let ParseError::Failure(failure) = error else {
            panic!("{error:?}")
        };
        assert_eq!(failure.exit().code(), 78);
        assert!(failure.to_string().contains("run.identity"), "{failure}");
    }
}
