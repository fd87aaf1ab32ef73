//! The table of flags, Petals' command lines, and the layers.

use std::fs;
use std::path::Path;

use clap::CommandFactory;

use super::*;

fn parsed_in(root: &Path, line: &str) -> Result<Parsed, ParseError> {
    let args = std::iter::once("block-server")
        .chain(line.split_whitespace())
        .map(OsString::from);
    parse(args, &Folders::under(root))
}

fn parsed(line: &str) -> Parsed {
    let root = tempfile::tempdir().unwrap();
    parsed_in(root.path(), line).unwrap_or_else(|error| panic!("{line}: {error:?}"))
}

#[test]
fn clap_finds_no_contradiction() {
    Cli::command().debug_assert();
}

#[test]
fn each_flag_has_variable_help_and_default() {
    for arg in Cli::command().get_arguments() {
        let Some(long) = arg
            .get_long()
            .filter(|long| !matches!(*long, "help" | "version"))
        else {
            continue;
        };
        let variable = format!("BLOCK_SERVER_{}", long.to_uppercase().replace('-', "_"));
        assert_eq!(
            arg.get_env().and_then(|env| env.to_str()),
            Some(variable.as_str()),
            "--{long}"
        );
        let help = arg
            .get_long_help()
            .or_else(|| arg.get_help())
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(help.len() > 10, "--{long} has no help");
        let is_switch = matches!(arg.get_action(), clap::ArgAction::SetTrue);
        let has_default = !arg.get_default_values().is_empty() || help.contains("[default: ");
        assert!(is_switch || has_default, "--{long} says no default");
        assert!(arg.get_help_heading().is_some(), "--{long} is in no group");
    }
}

#[test]
fn each_flag_is_a_file_key() {
    // Two say which files are read; every other flag can stand in one.
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("one.toml");
    for arg in Cli::command().get_arguments() {
        let Some(long) = arg
            .get_long()
            .filter(|long| !matches!(*long, "help" | "version" | "config" | "no-config-files"))
        else {
            continue;
        };
        let value = match arg.get_action() {
            clap::ArgAction::SetTrue => "1",
            _ => "[[1]]",
        };
        // The key is known, and its value is looked at.
        fs::write(&path, format!("{long} = {value}\n")).unwrap();
        let error = parsed_in(root.path(), &format!("-c {}", path.display())).unwrap_err();
        let ParseError::Failure(failure) = error else {
            panic!("{long}: {error:?}")
        };
        let needs = format!("one.toml:1: key {long} needs ");
        assert!(failure.to_string().contains(&needs), "{failure}");
    }
}

#[test]
fn command_lines_of_petals_parse() {
    for line in [
        "petals-team/StableBeluga2",
        "meta-llama/Meta-Llama-3.1-405B-Instruct --public_name YOUR_NAME --token abc",
        "--converted_model_name_or_path bigscience/bloom-petals --num_blocks 12 --port 31330 --public_ip 1.2.3.4",
        "bigscience/bloom --new_swarm --identity_path bootstrap1.id --host_maddrs /ip4/0.0.0.0/tcp/31337 /ip6/::/tcp/31337",
        "model --initial_peers /ip4/1.2.3.4/tcp/31337/p2p/XX /ip4/1.2.3.5/tcp/31337/p2p/YY --torch_dtype float16",
        "model --block_indices 0:20 --inference_max_length 4096 --attn_cache_tokens 65536 --throughput eval",
        "model --block_indices=0:20 --no_auto_relay --num_handlers 8 --prefetch_batches 2 --sender_threads 2",
        "model --quant_type none --compression FLOAT16 --max_batch_size 2048 --min_batch_size 1 --balance_quality 0.5",
        "model --max_alloc_timeout 600 --request_timeout 180 --session_timeout 1800 --step_timeout 300 --update_period 60 --expiration 120",
        "model --announce_maddrs /ip4/1.2.3.4/tcp/31330 --skip_reachability_check --use_auth_token --increase_file_limit 4096",
        "model --throughput 10 --device cpu --revision main --cache_dir cache --daemon_startup_timeout 60 --stats_report_interval 60",
        "meta-llama/Llama-2-70b-chat-hf --num_blocks 8 --public_name alice --port 31330 --public_ip 1.2.3.4",
        "bigscience/bloom --block_indices 10:20 --quant_type nf4 --torch_dtype float16 --attn_cache_tokens 64000",
        "petals-team/StableBeluga2 --new_swarm --identity_path server.id --balance_quality 0.0 --throughput 1.5",
        "tiiuae/falcon-180B-chat --token hf_x --device cpu --quant_type int8 --compression NONE --update_period 150",
        "model --initial_peers /ip4/10.1.2.3/tcp/31234/p2p/XX --dht_prefix my-llama --no_relay --port 31331",
        "model --throughput dry_run --dht_prefix tiny-hf --max_chunk_size_bytes 268435456 --mean_balance_check_period 60",
    ] {
        parsed(line);
    }
}

#[test]
fn what_petals_can_and_we_cannot_is_refused_with_a_way_out() {
    for line in [
        "model --adapters timdettmers/guanaco-65b",
        "model --tensor_parallel_devices cuda:0 cuda:1 cuda:2",
        "model --max_disk_space 50GB",
        "model --custom_module_path=module.py",
    ] {
        let root = tempfile::tempdir().unwrap();
        let ParseError::Failure(failure) = parsed_in(root.path(), line).unwrap_err() else {
            panic!("{line}")
        };
        assert_eq!(failure.exit().code(), 2, "{line}");
        let text = failure.to_string();
        assert!(
            text.contains("is not supported") && text.contains("hint: "),
            "{text}"
        );
    }
    let ignored =
        parsed("model --num_handlers 8 --no_auto_relay --increase_file_limit 4096").ignored;
    assert_eq!(ignored.len(), 3, "one notice tells all: {ignored:?}");
}

#[test]
fn a_configuration_of_petals_is_read() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("config.yml");
    let text = "converted_model_name_or_path: bigscience/bloom\nblock_indices: 0:20\nport: 31330\nnum_handlers: 8\n\
                initial_peers: [a, b]\ntorch_dtype: float16\npublic_name: alice\nskip_reachability_check: true\n";
    fs::write(&file, text).unwrap();
    let parsed = parsed_in(root.path(), &format!("-c {}", file.display())).unwrap();
    let serving = &parsed.cli.serving;
    assert_eq!(serving.model.model.as_deref(), Some("bigscience/bloom"));
    assert_eq!(serving.model.blocks, Blocks::Range(0..20));
    assert_eq!(serving.model.dtype, "float16");
    assert_eq!(serving.swarm.initial_peers, ["a", "b"]);
    assert!(serving.network.skip_reachability_check);
    assert_eq!(parsed.ignored.len(), 1);
    fs::write(&file, "max_disk_space: 50GB\n").unwrap();
    let error = parsed_in(root.path(), &format!("-c {}", file.display())).unwrap_err();
    let ParseError::Failure(failure) = error else {
        panic!("{error:?}")
    };
    let text = failure.to_string();
    assert!(
        text.contains("config.yml:1: key max_disk_space is not supported\n  hint: "),
        "{text}"
    );
}

#[test]
fn a_list_takes_words_commas_and_repeated_flags() {
    let peers = parsed("m --initial_peers a b,c --initial-peers d")
        .cli
        .serving
        .swarm
        .initial_peers;
    assert_eq!(peers, ["a", "b", "c", "d"]);
    assert!(
        parsed("m --initial_peers --port 0")
            .cli
            .serving
            .swarm
            .initial_peers
            .is_empty()
    );
}

#[test]
fn the_file_is_below_the_flags() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("server.toml");
    fs::write(
        &file,
        "model = \"from-file\"\nport = 7\ninitial-peers = [\"a\", \"b\"]\n[limits]\nmax-sessions = 3\n[log]\nlevel = \"warn\"\n",
    )
    .unwrap();
    let file = file.display();
    let from_file = parsed_in(root.path(), &format!("--config {file}"))
        .unwrap()
        .cli;
    assert_eq!(from_file.serving.model.model.as_deref(), Some("from-file"));
    assert_eq!(
        (
            from_file.serving.network.port,
            from_file.serving.limits.max_sessions
        ),
        (7, 3)
    );
    assert_eq!(from_file.serving.swarm.initial_peers, ["a", "b"]);
    assert_eq!(from_file.serving.operate.log_level, tracing::Level::WARN);

    let over = parsed_in(
        root.path(),
        &format!("given -c {file} --port 8 --initial-peers z"),
    )
    .unwrap()
    .cli;
    assert_eq!(
        over.serving.model.positional_model.as_deref(),
        Some("given")
    );
    assert_eq!(
        (over.serving.network.port, over.serving.limits.max_sessions),
        (8, 3)
    );
    assert_eq!(
        over.serving.swarm.initial_peers,
        ["z"],
        "a list is replaced, not extended"
    );
}

#[test]
fn the_users_own_file_is_read_if_it_exists() {
    let root = tempfile::tempdir().unwrap();
    assert!(parsed_in(root.path(), "m").unwrap().files.is_empty());
    fs::create_dir(root.path().join("config")).unwrap();
    fs::write(root.path().join("config").join("config.toml"), "port = 9\n").unwrap();
    let found = parsed_in(root.path(), "m").unwrap();
    assert_eq!(found.cli.serving.network.port, 9);
    assert_eq!(found.files.len(), 1);
}

#[test]
fn no_file_but_the_named_one_is_read_if_so_said() {
    let root = tempfile::tempdir().unwrap();
    for folder in ["etc", "config"] {
        fs::create_dir(root.path().join(folder)).unwrap();
        // Even one that is wrong has no say.
        fs::write(root.path().join(folder).join("config.toml"), "prot = 9\n").unwrap();
    }
    assert!(parsed_in(root.path(), "m").is_err());
    let alone = parsed_in(root.path(), "m --no-config-files").unwrap();
    assert_eq!(
        (alone.files.len(), alone.cli.serving.network.port),
        (0, DEFAULT_PORT)
    );
    let named = root.path().join("named.toml");
    fs::write(&named, "port = 7\n").unwrap();
    let line = format!("plan m --no-config-files -c {}", named.display());
    let plan = parsed_in(root.path(), &line).unwrap();
    assert_eq!(
        (plan.files, plan.cli.serving.network.port),
        (vec![named], 7)
    );
}

#[test]
fn a_wrong_value_in_the_file_is_the_files_fault() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("server.toml");
    fs::write(&file, "model = \"m\"\nport = 70000\n").unwrap();
    let error = parsed_in(root.path(), &format!("-c {}", file.display())).unwrap_err();
    let ParseError::Failure(failure) = error else {
        panic!("{error:?}")
    };
    assert_eq!(failure.exit().code(), 78);
    let text = failure.to_string();
    assert!(
        text.contains("server.toml:2: key port has a wrong value"),
        "{text}"
    );
    assert!(text.contains("70000"), "{text}");
}

#[test]
fn plan_takes_the_flags_of_serving() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("server.toml");
    fs::write(
        &file,
        "model = \"from-file\"\nblocks = \"0:3\"\nquant = \"int8\"\n",
    )
    .unwrap();
    let line = format!(
        "plan --json -c {} --blocks 5 --initial_peers a b",
        file.display()
    );
    let cli = parsed_in(root.path(), &line).unwrap().cli;
    let Some(Task::Plan(flags)) = &cli.task else {
        panic!("plan")
    };
    assert!(flags.json);
    assert_eq!(cli.serving.model.model.as_deref(), Some("from-file"));
    assert_eq!(
        cli.serving.model.blocks,
        Blocks::Count(5),
        "a flag beats the file"
    );
    assert_eq!(cli.serving.model.quant, "int8");
    assert_eq!(cli.serving.swarm.initial_peers, ["a", "b"]);

    let line = format!("plan given --config={}", file.display());
    let cli = parsed_in(root.path(), &line).unwrap().cli;
    assert_eq!(cli.serving.model.positional_model.as_deref(), Some("given"));
    assert_eq!(cli.serving.model.blocks, Blocks::Range(0..3));
}

#[test]
fn plan_has_every_flag_of_serving() {
    let command = Cli::command();
    let plan = command.find_subcommand("plan").unwrap();
    let ids = |command: &clap::Command| -> Vec<String> {
        let ids = command.get_arguments().map(|arg| arg.get_id().to_string());
        ids.filter(|id| !matches!(id.as_str(), "json" | "help" | "version"))
            .collect()
    };
    let of_program = ids(&command);
    // These stand at the top and are global.
    let is_global = |id: &&String| matches!(id.as_str(), "config" | "no_config_files");
    let serving = of_program.iter().filter(|id| !is_global(id)).cloned();
    assert_eq!(ids(plan), serving.collect::<Vec<_>>());
}

#[test]
fn devices_has_its_own_flags() {
    let Some(Task::Devices(flags)) = parsed("devices --json").cli.task else {
        panic!("devices")
    };
    assert!(flags.json);
}

#[test]
fn status_has_its_own_flags() {
    let cli = parsed("status --json --admin_listen 127.0.0.1:9").cli;
    let Some(Task::Status(flags)) = cli.task else {
        panic!("status")
    };
    assert!(flags.json);
    assert_eq!(flags.admin_listen, "127.0.0.1:9");
}
