//! A server from start to end: READY, admin port, status, joining, stopping.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Instant;

use block_testing::{BlockServer, Home, PATIENCE, Span, admin_get, fable, in_own_network};

#[test]
fn a_server_says_ready_answers_and_leaves() {
    let home = Home::new("block-server");
    let server = home.serve(&["--public-name", "alice"]);
    assert!(
        server.address.starts_with("/ip4/127.0.0.1/tcp/"),
        "{}",
        server.address
    );
    let peer_id = server.address.rsplit('/').next().unwrap().to_owned();

    assert_eq!(admin_get(&server.admin_address, "/health").0, 200);
    assert_eq!(admin_get(&server.admin_address, "/health/ready").0, 200);
    let (code, metrics) = admin_get(&server.admin_address, "/metrics");
    assert_eq!(code, 200);
    for line in [
        "block_server_state{state=\"online\"} 1",
        "block_server_end_block 8",
        "swarm_dht_announces_total{outcome=\"ok\"}",
        "process_resident_memory_bytes",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    assert!(!metrics.contains(" summary"));

    let status = home.output(["status", "--json", "--admin-listen", &server.admin_address]);
    assert_eq!(status.code, Some(0), "{}", status.stderr);
    let report: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(report["state"], "online");
    assert_eq!(report["peer_id"], peer_id);
    assert_eq!(report["addresses"][0], server.address);
    assert_eq!(
        (&report["start_block"], &report["end_block"]),
        (&0.into(), &8.into())
    );
    assert_eq!(report["sessions"], 0);
    // 8 blocks, keys and values counted apart.
    assert_eq!(report["cache_tokens_left"], 8 * 2 * 16384);
    assert_eq!(
        (&report["dtype"], &report["quant_type"]),
        (&"bfloat16".into(), &"none".into())
    );
    assert_eq!(report["pid"], server.pid());
    // Those made of 2-byte IEEE floats are not defined for bfloat16.
    assert_eq!(
        report["codecs"],
        serde_json::json!([
            "none",
            "quantile8",
            "uniform8",
            "blockwise8",
            "blockwise8-implied"
        ])
    );
    let table = home.output(["status", "--admin-listen", &server.admin_address]);
    assert!(
        table.stdout.contains("blocks     0:8 of 8"),
        "{}",
        table.stdout
    );

    let taken = home.output([fable().to_str().unwrap(), "--admin-listen", "off"]);
    taken.fails_with(
        75,
        &[
            "another process uses the identity",
            &server.pid().to_string(),
            "--identity",
        ],
    );

    server.signal("TERM");
    let end = server.wait();
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    assert_eq!(end.stdout, "", "READY is the only line on stdout");
    for part in [
        "prefix_is_derived=true",
        "fable-7m-hf",
        "weights=\"bfloat16\" kv_dtype=\"bf16\"",
        "add another server",
        "announced offline",
    ] {
        assert!(end.stderr.contains(part), "{part:?} in {}", end.stderr);
    }
}

#[test]
fn a_second_server_joins_with_the_printed_command() {
    let first_home = Home::new("block-server");
    // Announces more often, and for a shorter time, than the second: the registry entry they share is the second's.
    let first = first_home.serve(&["--blocks", "0:5", "--update-period", "2"]);
    let second_home = Home::new("block-server");
    let second = second_home.serve(&["--blocks", "5:8", "--initial-peers", &first.address]);
    second.signal("INT");
    let second_end = second.wait();
    assert_eq!(second_end.code, Some(0), "{}", second_end.stderr);
    assert!(
        second_end
            .stderr
            .contains("other_servers=1 covered_blocks=8"),
        "{}",
        second_end.stderr
    );
    let address = first.address.clone();
    first.signal("TERM");
    let first_end = first.wait();
    assert!(
        !first_end.stderr.contains("could not be announced"),
        "{}",
        first_end.stderr
    );
    let hint = format!("--initial-peers {address}");
    assert!(
        first_end.stderr.contains("--blocks 5:8") && first_end.stderr.contains(&hint),
        "{}",
        first_end.stderr
    );
}

#[test]
fn formats_threads_and_kernels_are_said_and_told() {
    let home = Home::new("block-server");
    let flags = ["--quant", "nf4", "--kv-dtype", "int8", "--threads", "1"];
    let server = home.serve(&flags);
    let status = home.output(["status", "--json", "--admin-listen", &server.admin_address]);
    for part in [
        "\"quant_type\":\"nf4\"",
        "\"kv_dtype\":\"int8\"",
        "\"threads\":1",
    ] {
        assert!(status.stdout.contains(part), "{part} in {}", status.stdout);
    }
    server.signal("TERM");
    let end = server.wait();
    for part in ["threads=1", "weights=\"nf4\" kv_dtype=\"int8\"", "kernels="] {
        assert!(end.stderr.contains(part), "{part:?} in {}", end.stderr);
    }
}

#[test]
fn devices_says_which_kernels_and_why() {
    let home = Home::new("block-server");
    let ask = |args: &[&str], kernels: &str| {
        let mut command = home.command(args.iter().copied());
        command.env("BLOCK_SERVER_KERNELS", kernels);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let report = ask(&["devices", "--json"], "portable");
    for part in [
        "\"kernels\":\"portable\"",
        "BLOCK_SERVER_KERNELS names it",
        "\"threads\":",
    ] {
        assert!(report.contains(part), "{part} in {report}");
    }
    let table = ask(&["devices"], "mmx");
    assert!(table.contains("kernels    none ("), "{table}");
    assert!(table.contains("no such level"), "{table}");
}

#[test]
fn throughput_is_measured_once_and_kept() {
    let home = Home::new("block-server");
    let first = home.serve(&["--throughput", "auto", "--blocks", "0:1"]);
    first.signal("TERM");
    let first = first.wait().stderr;
    assert!(first.contains("origin=\"measured now\""), "{first}");
    let second = home.serve(&["--throughput", "auto", "--blocks", "0:1"]);
    second.signal("TERM");
    let second = second.wait().stderr;
    assert!(second.contains("origin=\"measured earlier\""), "{second}");
    assert!(second.contains("assumed_network_mbps=100"), "{second}");
}

#[test]
fn a_dry_run_prints_the_plan_and_ends() {
    let home = Home::new("block-server");
    let output = home.output([fable().to_str().unwrap(), "--dry-run", "--blocks", "2:4"]);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(0), ""),
        "{}",
        output.stderr
    );
    assert!(
        output.stderr.contains("start_block=2 end_block=4"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_measurement_alone_joins_no_swarm() {
    let home = Home::new("block-server");
    let output = home.output([
        fable().to_str().unwrap(),
        "--throughput",
        "dry_run",
        "--blocks",
        "0:1",
        "--admin-listen",
        "off",
    ]);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(0), ""),
        "{}",
        output.stderr
    );
    assert!(
        output.stderr.contains("throughput known"),
        "{}",
        output.stderr
    );
    assert!(
        !output.stderr.contains("announced joining"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_second_ctrl_c_stops_at_once() {
    let home = Home::new("block-server");
    let server = home.serve(&[]);
    let silent = home.serve(&[
        "--initial-peers",
        &server.address,
        "--identity",
        "second.key",
    ]);
    // Saying goodbye to the swarm now takes until a call times out.
    silent.signal("STOP");
    server.signal("INT");
    while admin_get(&server.admin_address, "/status")
        .1
        .contains("online")
    {}
    server.signal("INT");
    let end = server.wait();
    assert_eq!(end.code, Some(130), "{}", end.stderr);
    assert!(end.stderr.contains("second Ctrl-C"), "{}", end.stderr);
    silent.signal("CONT");
}

#[test]
fn a_server_ends_with_its_standard_input_if_it_is_asked_to() {
    let home = Home::new("block-server");
    let model = fable();
    let words = [
        "--model",
        model.to_str().unwrap(),
        "--blocks=0:1",
        "--throughput=1",
        "--listen-maddr=/ip4/127.0.0.1/tcp/0",
        "--stop-with-stdin",
    ];
    let mut child = home
        .command(words)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    assert!(line.starts_with("READY "), "{line}");
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_hangup_reads_the_initial_peers_again_and_a_broken_file_changes_nothing() {
    let homes = [(); 3].map(|()| Home::new("block-server"));
    let [first, joins, other] = &homes;
    let first = first.serve(&[]);
    let other = other.serve(&[]);
    let file = joins.path().join("peers");
    std::fs::write(&file, format!("{}\n", first.address)).unwrap();
    let server = joins.serve(&["--initial-peers-file", file.to_str().unwrap()]);
    let knows_nobody = || {
        let (_, metrics) = admin_get(&other.admin_address, "/metrics");
        metrics.contains("swarm_dht_routing_table_peers 0\n")
    };
    assert!(knows_nobody(), "they are two swarms");

    std::fs::write(&file, format!("# moved\n{}\n", other.address)).unwrap();
    server.signal("HUP");
    let began = Instant::now();
    while knows_nobody() {
        assert!(began.elapsed() < PATIENCE, "the new peer is not joined");
    }
    std::fs::write(&file, "nonsense\n").unwrap();
    server.signal("HUP");
    let (code, _) = admin_get(&server.admin_address, "/health/ready");
    assert_eq!(code, 200);
    server.signal("TERM");
    let finished = server.wait();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    for part in [
        "initial peers read again",
        "initial peers stay as they were",
        "nonsense is not a multiaddr",
    ] {
        assert!(
            finished.stderr.contains(part),
            "{part} in {}",
            finished.stderr
        );
    }
}

#[test]
fn the_router_is_asked_only_with_upnp_and_a_network_without_one_is_served_all_the_same() {
    let name =
        "the_router_is_asked_only_with_upnp_and_a_network_without_one_is_served_all_the_same";
    in_own_network(name, || {
        // Where routers hear who looks for them.
        let router = UdpSocket::bind(("0.0.0.0", 1900)).unwrap();
        router
            .join_multicast_v4(&[239, 255, 255, 250].into(), &[10, 93, 0, 1].into())
            .unwrap();
        let mut heard = [0; 2048];
        let (model, homes) = (fable(), [(); 2].map(|()| Home::new("block-server")));
        let _quiet = homes[0].serve(&[]);
        router.set_nonblocking(true).unwrap();
        let silence = router.recv(&mut heard).unwrap_err();
        assert_eq!(silence.kind(), ErrorKind::WouldBlock);

        let span = Span {
            prefix: "fable-7m-hf",
            blocks: "0:2",
            dtype: "f32",
            flags: &["--upnp"],
        };
        let server = BlockServer::spawn("upnp", &model, &span, None);
        server.await_ready();
        router.set_nonblocking(false).unwrap();
        router.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = router.recv(&mut heard).unwrap();
        assert!(heard[..length].starts_with(b"M-SEARCH"));
        let began = Instant::now();
        while !server.log().contains("no router answers UPnP") {
            assert!(began.elapsed() < PATIENCE, "{}", server.log());
            std::thread::yield_now();
        }
        server.terminate();
    });
}
