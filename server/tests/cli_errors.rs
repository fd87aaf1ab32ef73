//! Each failure: its exit code, its text with a hint, and nothing on stdout.

use std::fs;

use block_testing::{Home, RefusingHub, fable};

#[test]
fn wrong_command_lines_end_with_2() {
    let home = Home::new("block-server");
    home.output([]).fails_with(
        2,
        &["error: no model given", "hint: block-server --model M"],
    );
    home.output(["m", "--publik-name", "x"])
        .fails_with(2, &["--publik-name", "--public-name"]);
    home.output(["m", "--blocks", "0:8,16:24"])
        .fails_with(2, &["--blocks", "second server"]);
    home.output(["org/m", "--blocks", "some"])
        .fails_with(2, &["--blocks", "a count 12, all, or auto"]);
    home.output(["org/m", "--memory-limit", "much"])
        .fails_with(2, &["--memory-limit", "8GiB"]);
    home.output(["org/m", "--blocks", "1", "--adapters", "a"])
        .fails_with(2, &["--adapters", "hint:"]);
    home.output(["org/m", "--blocks", "1", "--admin-listen", "0.0.0.0:1"])
        .fails_with(2, &["open to other machines", "--admin-token-file"]);
    home.output([
        "org/m",
        "--blocks",
        "1",
        "--initial-peers",
        "/ip4/1.2.3.4/tcp/1",
    ])
    .fails_with(2, &["end in /p2p/PEER", "hint:"]);
}

#[test]
fn blocks_outside_the_model_name_its_depth() {
    let home = Home::new("block-server");
    home.output([fable().to_str().unwrap(), "--blocks", "0:40"])
        .fails_with(
            2,
            &[
                "--blocks 0:40",
                "the model has 8 blocks, 0:8 is all of them",
                "hint: --blocks all",
            ],
        );
}

#[test]
fn a_wrong_configuration_file_ends_with_78() {
    let home = Home::new("block-server");
    let file = home.path().join("server.toml");
    fs::write(&file, "model = \"m\"\n[limits]\nmax-sesions = 3\n").unwrap();
    home.output(["-c", "server.toml"]).fails_with(
        78,
        &[
            "server.toml:3: unknown key limits.max-sesions",
            "did you mean max-sessions?",
        ],
    );
    fs::write(&file, "model = \"m\"\nport = \"many\"\n").unwrap();
    home.output(["-c", "server.toml"])
        .fails_with(78, &["server.toml:2: key port has a wrong value"]);
    home.output(["-c", "absent.toml"])
        .fails_with(78, &["cannot read the configuration file absent.toml"]);
    home.output(["-c", "config.yml"]).fails_with(78, &["TOML"]);
}

#[test]
fn a_missing_model_ends_with_66() {
    let home = Home::new("block-server");
    home.output(["./absent"])
        .fails_with(66, &["there is no folder ./absent", "hint:"]);
    home.output(["org/absent", "--blocks", "1", "--offline"])
        .fails_with(66, &["org/absent", "hint:"]);
    fs::create_dir(home.path().join("empty")).unwrap();
    home.output(["./empty"]).fails_with(66, &["config.json"]);
}

#[test]
fn an_unsupported_model_ends_with_65_and_lists_what_is_supported() {
    let home = Home::new("block-server");
    let folder = home.path().join("other");
    fs::create_dir(&folder).unwrap();
    fs::write(
        folder.join("config.json"),
        r#"{"architectures": ["OtherForCausalLM"], "model_type": "other"}"#,
    )
    .unwrap();
    home.output(["./other"])
        .fails_with(65, &["OtherForCausalLM", "LlamaForCausalLM"]);
}

#[test]
fn pickled_weights_end_with_66_and_say_how_to_convert() {
    let home = Home::new("block-server");
    let folder = home.path().join("pickled");
    fs::create_dir(&folder).unwrap();
    fs::copy(fable().join("config.json"), folder.join("config.json")).unwrap();
    fs::write(folder.join("pytorch_model.bin"), "").unwrap();
    for words in [&["./pickled"][..], &["plan", "./pickled"]] {
        home.output(words.iter().copied()).fails_with(
            66,
            &[
                "no safetensors weights",
                "hint: pytorch_model.bin is a pickle",
                "from_pretrained('./pickled', torch_dtype='auto')",
            ],
        );
    }
}

#[test]
fn damaged_weights_end_with_65_and_name_the_file() {
    let home = Home::new("block-server");
    let folder = home.path().join("damaged");
    fs::create_dir(&folder).unwrap();
    fs::copy(fable().join("config.json"), folder.join("config.json")).unwrap();
    let weights = fs::read(fable().join("model.safetensors")).unwrap();
    fs::write(
        folder.join("model.safetensors"),
        &weights[..weights.len() / 2],
    )
    .unwrap();
    home.output([
        "./damaged",
        "--listen-maddr",
        "/ip4/127.0.0.1/tcp/0",
        "--admin-listen",
        "off",
    ])
    .fails_with(65, &["model.safetensors", "hint:"]);
}

#[test]
fn what_the_machine_lacks_ends_with_69() {
    let home = Home::new("block-server");
    home.output([fable().to_str().unwrap(), "--device", "cuda:0"])
        .fails_with(69, &["no device cuda:0", "cpu"]);
    let huge_cache = [
        fable().display().to_string(),
        "--attn-cache-tokens=4294967295".to_owned(),
    ];
    home.output(huge_cache.iter().map(String::as_str))
        .fails_with(
            69,
            &["not even one block fits in memory", "--attn-cache-tokens"],
        );
    let all = huge_cache.iter().map(String::as_str);
    home.output(all.chain(["--blocks", "all"]))
        .fails_with(69, &["do not fit in memory", "--attn-cache-tokens"]);
    home.output(["status", "--admin-listen", "127.0.0.1:1"])
        .fails_with(69, &["no server answers on 127.0.0.1:1", "hint:"]);
}

#[test]
fn a_swarm_that_nobody_answers_for_ends_with_69() {
    let home = Home::new("block-server");
    let peer = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    home.output([
        fable().to_str().unwrap(),
        "--listen-maddr",
        "/ip4/127.0.0.1/tcp/0",
        "--admin-listen",
        "off",
        "--join-timeout",
        "1",
        "--initial-peers",
        peer,
    ])
    .fails_with(69, &["no initial peer answered", peer, "hint:"]);
}

#[test]
fn a_taken_port_ends_with_71() {
    let home = Home::new("block-server");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let listen = format!("/ip4/127.0.0.1/tcp/{port}");
    home.output([
        fable().to_str().unwrap(),
        "--admin-listen",
        "off",
        "--listen-maddr",
        &listen,
    ])
    .fails_with(71, &[&listen, "hint: --port"]);
    let admin = format!("127.0.0.1:{port}");
    home.output([fable().to_str().unwrap(), "--admin-listen", &admin])
        .fails_with(71, &[&admin, "--admin-listen"]);
}

#[test]
fn an_identity_that_is_no_key_ends_with_65() {
    let home = Home::new("block-server");
    fs::write(home.path().join("key"), "not a key").unwrap();
    home.output([
        fable().to_str().unwrap(),
        "--admin-listen",
        "off",
        "--identity",
        "key",
    ])
    .fails_with(65, &["private key", "hint:"]);
}

#[test]
fn a_hub_that_refuses_is_told_apart() {
    let home = Home::new("block-server");
    let gated = RefusingHub::start("401 Unauthorized", "GatedRepo");
    home.output_with_hub(&gated, ["org/gated", "--blocks", "1"])
        .fails_with(
            77,
            &[
                "https://huggingface.co/org/gated",
                "--token-file",
                "HF_TOKEN",
            ],
        );
    let empty = RefusingHub::start("404 Not Found", "RepoNotFound");
    home.output_with_hub(&empty, ["org/absent", "--blocks", "1"])
        .fails_with(66, &["org/absent", "hint: check the name"]);
}

#[test]
fn a_folder_that_cannot_be_written_ends_with_77_or_71() {
    let home = Home::new("block-server");
    fs::write(home.path().join("file"), "no folder").unwrap();
    let line = [fable(), "--admin-listen off --identity file/key".into()];
    let words = line
        .iter()
        .flat_map(|part| part.to_str().unwrap().split(' '));
    let finished = home.output(words);
    assert!(
        matches!(finished.code, Some(71 | 77)),
        "{}",
        finished.stderr
    );
    finished.fails_with(
        finished.code.unwrap(),
        &["identity file file/key", "hint: --identity FILE"],
    );
}
