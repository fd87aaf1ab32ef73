//! What the program prints, word for word: help, errors, the shape of JSON. `SNAPSHOTS=overwrite` writes it anew.

use std::fs;

use block_testing::{Golden, Home, RefusingHub, fable};

fn golden() -> Golden {
    Golden::of_crate(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_help_text_is_as_it_was() {
    golden().check_help(&Home::new("block-server"));
}

#[test]
fn every_error_is_as_it_was() {
    let (golden, home) = (golden(), Home::new("block-server"));
    // What the tests run with is no error of theirs.
    let model = home.path().join("fable");
    std::os::unix::fs::symlink(fable(), &model).unwrap();
    fs::write(
        home.path().join("wrong.toml"),
        "model = \"m\"\n[limits]\nmax-sesions = 3\n",
    )
    .unwrap();
    fs::write(home.path().join("value.yml"), "model: m\nport: many\n").unwrap();
    fs::write(home.path().join("key"), "not a key").unwrap();
    fs::create_dir(home.path().join("other")).unwrap();
    let other = r#"{"architectures": ["OtherForCausalLM"], "model_type": "other"}"#;
    fs::write(home.path().join("other/config.json"), other).unwrap();
    let peer = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    let lonely = format!(
        "./fable --listen-maddr /ip4/127.0.0.1/tcp/0 --join-timeout 0.5 --initial-peers {peer}"
    );
    for (name, line) in [
        ("no-model", ""),
        ("unknown-flag", "m --publik-name x"),
        ("wrong-value", "m --port many"),
        ("two-ranges", "m --blocks 0:8,16:24"),
        ("blocks-outside", "./fable --blocks 0:40"),
        ("refused-flag", "m --adapters a"),
        ("file-key", "-c wrong.toml"),
        ("file-value", "-c value.yml"),
        ("file-absent", "-c absent.toml"),
        ("no-folder", "./absent"),
        ("offline", "org/absent --blocks 1 --offline"),
        ("architecture", "./other"),
        ("device", "./fable --device cuda:0"),
        ("two-swarms", "./fable --new-swarm --public-swarm"),
        ("identity", "./fable --admin-listen off --identity key"),
        ("open-admin", "./fable --admin-listen 0.0.0.0:1"),
        ("no-server", "status --admin-listen 127.0.0.1:1"),
        ("set-key", "config set prot 1"),
        ("set-value", "config set port many"),
        ("nobody-answers", &lonely),
    ] {
        golden.check_error(name, &home, &home.output(line.split_whitespace()));
    }
    let gated = RefusingHub::start("401 Unauthorized", "GatedRepo");
    let mut finished = home.output_with_hub(&gated, ["org/gated", "--blocks", "1"]);
    let host = gated.endpoint.trim_start_matches("http://");
    finished.stderr = finished.stderr.replace(host, "HUB");
    golden.check_error("gated", &home, &finished);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let admin = format!("127.0.0.1:{port}");
    let mut finished = home.output(["./fable", "--admin-listen", &admin]);
    finished.stderr = finished.stderr.replace(&port, "PORT");
    golden.check_error("port-taken", &home, &finished);
}

#[test]
fn the_shape_of_every_json_answer_is_as_it_was() {
    let (golden, home) = (golden(), Home::new("block-server"));
    let model = fable();
    let model = model.to_str().unwrap();
    let server = home.serve(&["--blocks", "0:1"]);
    let admin = format!("--admin-listen={}", server.admin_address);
    for (name, words) in [
        ("plan", &["plan", "--json", model][..]),
        ("identity", &["identity", "show", "--json"]),
        ("bench", &["bench", "--json", "--blocks", "0:1", model]),
        ("devices", &["devices", "--json"]),
        ("status", &["status", "--json", &admin]),
        ("config-show", &["config", "show", "--json"]),
        ("version", &["version", "--json"]),
        (
            "check",
            &[
                "check",
                "--json",
                "--listen-maddr=/ip4/127.0.0.1/tcp/0",
                "--identity=third.key",
            ],
        ),
    ] {
        let finished = home.output(words.iter().copied());
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        golden.check_shape(name, &finished.stdout);
    }
}
