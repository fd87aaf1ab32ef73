//! Rules that span several flags.

use std::path::Path;

use block_model::{KvDType, Quant, SpanDType};

use super::*;
use crate::cli::{self, Blocks};

fn config_in(root: &Path, line: &str) -> Result<Config, Failure> {
    let folders = Folders::under(root);
    let args = std::iter::once("block-server")
        .chain(line.split_whitespace())
        .map(Into::into);
    let parsed = cli::parse(args, &folders).map_err(|error| match error {
        cli::ParseError::Failure(failure) => failure,
        cli::ParseError::Clap(error) => panic!("{error}"),
    })?;
    Config::from_cli(parsed.cli, &folders, &|_| None)
}

fn config(line: &str) -> Result<Config, Failure> {
    let root = tempfile::tempdir().unwrap();
    config_in(root.path(), line)
}

const PEER: &str =
    "/ip4/10.1.2.3/tcp/31330/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

#[test]
fn what_fits_is_served_unless_said() {
    let root = tempfile::tempdir().unwrap();
    let local = config_in(root.path(), &format!("{}", root.path().display())).unwrap();
    assert!(local.model.is_local);
    assert_eq!(local.model.blocks, Blocks::Auto);
    let hub = config("org/name").unwrap();
    assert!(!hub.model.is_local);
    assert_eq!(hub.model.blocks, Blocks::Auto);
    let hub = config("org/name --blocks 0:4").unwrap();
    assert_eq!(hub.model.blocks, Blocks::Range(0..4));
}

#[test]
fn memory_and_balance_are_petals_unless_said() {
    let plain = config("org/name").unwrap();
    assert_eq!(plain.limits.memory_bytes, None);
    let minute = Duration::from_secs(60);
    assert_eq!(
        plain.balance,
        Balance {
            quality: 0.75,
            mean_check_period: minute
        }
    );
    let said = "org/name --memory-limit 2GiB --balance_quality 0 --mean_balance_check_period 5";
    let said = config(said).unwrap();
    assert_eq!(said.limits.memory_bytes, Some(2 << 30));
    assert_eq!(said.balance.quality, 0.0);
    assert_eq!(said.balance.mean_check_period, Duration::from_secs(5));
}

#[test]
fn a_missing_folder_is_not_taken_for_a_hub_name() {
    for name in ["./absent", "/absent/model", "models/llama/absent"] {
        assert_eq!(config(name).unwrap_err().exit(), Exit::NoInput, "{name}");
    }
}

#[test]
fn the_swarm_is_private_unless_said() {
    assert_eq!(
        config("org/name --blocks 1").unwrap().swarm,
        SwarmChoice::New
    );
    assert_eq!(
        config("org/name --blocks 1 --new_swarm").unwrap().swarm,
        SwarmChoice::New
    );
    assert_eq!(
        config("org/name --blocks 1 --initial_peers").unwrap().swarm,
        SwarmChoice::New
    );
    let join = config(&format!("org/name --blocks 1 --initial-peers {PEER}")).unwrap();
    assert_eq!(join.swarm.initial_peers().len(), 1);
    assert!(join.check_reachability);
    let public = config("org/name --blocks 1 --public-swarm").unwrap();
    assert!(matches!(public.swarm, SwarmChoice::Public(ref peers) if peers.len() == 2));
    let lan = config("org/name --blocks 1 --lan").unwrap();
    assert_eq!(lan.swarm, SwarmChoice::Lan);
    assert!(lan.swarm.initial_peers().is_empty() && lan.check_reachability);
    for wrong in [
        "org/name --blocks 1 --lan --public-swarm".to_owned(),
        "org/name --blocks 1 --lan --new-swarm".to_owned(),
        format!("org/name --blocks 1 --lan --initial-peers {PEER}"),
        "org/name --blocks 1 --lan --listen-maddr /ip4/127.0.0.1/tcp/0".to_owned(),
        "org/name --blocks 1 --public-swarm --new-swarm".to_owned(),
        format!("org/name --blocks 1 --new-swarm --initial-peers {PEER}"),
        format!("org/name --blocks 1 --public-swarm --initial-peers {PEER}"),
    ] {
        assert_eq!(config(&wrong).unwrap_err().exit(), Exit::Usage, "{wrong}");
    }
}

#[test]
fn who_is_trusted_and_what_the_router_is_asked_is_off_unless_said() {
    let unsaid = config("org/name --blocks 1").unwrap();
    assert!(unsaid.trusted_peers.is_none() && !unsaid.upnp);
    let peers = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN QmedTaZXmULqwspJXz44SsPZyTNKxhnnFvYRajfH7MGhCY";
    let said = config(&format!(
        "org/name --blocks 1 --upnp --trusted_peers {peers}"
    ))
    .unwrap();
    assert_eq!(said.trusted_peers.map(|peers| peers.len()), Some(2));
    assert!(said.upnp);
    let wrong = config("org/name --blocks 1 --trusted-peers alice").unwrap_err();
    assert_eq!(wrong.exit(), Exit::Usage);
    assert!(wrong.in_one_line().contains("alice is not a peer id"));
}

#[test]
fn a_list_of_nobody_is_not_everybody() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("server.toml");
    let with = |text: &str| {
        std::fs::write(&file, text).unwrap();
        config_in(
            root.path(),
            &format!("org/name --blocks 1 -c {}", file.display()),
        )
    };
    let empty = with("trusted-peers = []\n").unwrap_err();
    assert_eq!(empty.exit(), Exit::BadConfig);
    for part in [":1: key trusted-peers is an empty list", "everybody"] {
        assert!(empty.to_string().contains(part), "{part} in {empty}");
    }
    for nobody in [
        with("trusted-peers = [\"\"]\n"),
        with("trusted-peers = \"\"\n"),
        config("org/name --blocks 1 --trusted-peers="),
        config("org/name --blocks 1 --trusted-peers ,"),
    ] {
        let nobody = nobody.unwrap_err();
        assert_eq!(nobody.exit(), Exit::Usage);
        assert!(
            nobody
                .to_string()
                .contains("leave it out to answer everybody"),
            "{nobody}"
        );
    }
    // Nobody to join through is what a first server says.
    assert!(with("initial-peers = []\n").is_ok());
}

#[test]
fn expiration_follows_petals_rule() {
    let seconds = |line: &str| {
        config(&format!("org/name --blocks 1 {line}"))
            .unwrap()
            .expiration
            .as_secs_f64()
    };
    assert_eq!(seconds(""), 240.0);
    assert_eq!(seconds("--update_period 1"), 3.0);
    assert_eq!(seconds("--update_period 15 --expiration 20"), 20.0);
    assert!(config("org/name --blocks 1 --update-period 15 --expiration 15").is_err());
}

#[test]
fn the_admin_port_is_loopback_or_guarded() {
    let admin =
        |line: &str| config(&format!("org/name --blocks 1 {line}")).map(|config| config.admin);
    assert_eq!(
        admin("").unwrap().listen.unwrap().to_string(),
        "127.0.0.1:31331"
    );
    assert!(admin("--admin-listen off").unwrap().listen.is_none());
    assert!(admin("--admin-listen [::1]:0").unwrap().listen.is_some());
    assert!(admin("--admin-listen 31331").is_err());
    let failure = admin("--admin-listen 0.0.0.0:31331").unwrap_err();
    assert!(
        failure.to_string().contains("--admin-token-file"),
        "{failure}"
    );

    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("token");
    std::fs::write(&file, "s3cret\n").unwrap();
    let guarded = admin(&format!(
        "--admin-listen 0.0.0.0:31331 --admin-token-file {}",
        file.display()
    ))
    .unwrap();
    assert!(guarded.token.unwrap().matches(b"s3cret"));
}

#[test]
fn unbuilt_choices_are_refused_with_a_hint() {
    for line in [
        "--quant int2",
        "--kv-dtype f16",
        "--device cuda:0",
        "--dtype int8",
        "--network-mbps 0",
        "--dht-prefix a.b",
    ] {
        let failure = config(&format!("org/name --blocks 1 {line}")).unwrap_err();
        assert!(
            matches!(failure.exit(), Exit::Usage | Exit::Unavailable),
            "{line}: {failure}"
        );
    }
}

#[test]
fn dtype_takes_petals_names() {
    for (name, dtype) in [
        ("auto", None),
        ("float32", Some(SpanDType::F32)),
        ("bfloat16", Some(SpanDType::BF16)),
        ("f16", Some(SpanDType::F16)),
    ] {
        assert_eq!(
            config(&format!("org/name --blocks 1 --torch_dtype {name}"))
                .unwrap()
                .model
                .dtype,
            dtype
        );
    }
}

#[test]
fn formats_of_weights_and_cache_have_names() {
    let model = |line: &str| {
        config(&format!("org/name --blocks 1 {line}"))
            .unwrap()
            .model
    };
    assert_eq!((model("").quant, model("").kv_dtype), (Quant::None, None));
    for quant in Quant::ALL {
        assert_eq!(model(&format!("--quant {quant}")).quant, quant);
    }
    assert_eq!(model("--quant_type NF4").quant, Quant::Nf4);
    for dtype in KvDType::ALL {
        let given = model(&format!("--kv-dtype {dtype}")).kv_dtype;
        assert_eq!(given, Some(dtype));
    }
    let threads = |line: &str| {
        config(&format!("org/name --blocks 1 {line}"))
            .unwrap()
            .threads
    };
    assert_eq!((threads(""), threads("--threads 3")), (None, Some(3)));
}

#[test]
fn the_hubs_own_switch_means_offline() {
    let folders = Folders::under(tempfile::tempdir().unwrap().path());
    for (value, expected) in [("1", true), ("True", true), ("0", false), ("", false)] {
        let args = ["block-server", "org/name", "--blocks", "1"].map(Into::into);
        let parsed = cli::parse(args, &folders).unwrap();
        let config = Config::from_cli(parsed.cli, &folders, &|name| {
            (name == "HF_HUB_OFFLINE").then(|| value.to_owned())
        });
        assert_eq!(config.unwrap().hub.offline, expected, "{value:?}");
    }
}

#[test]
fn names_of_converted_copies_are_rewritten() {
    assert_eq!(
        config("bigscience/bloom-petals --blocks 1")
            .unwrap()
            .model
            .name,
        "bigscience/bloom"
    );
    assert_eq!(
        config("petals-team/StableBeluga2 --blocks 1")
            .unwrap()
            .model
            .name,
        "petals-team/StableBeluga2"
    );
}
