use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

use super::*;
use block_client::topology::{Bottleneck, ServerRow};

fn server(name: &str, blocks: std::ops::Range<usize>, health: &'static str) -> ServerRow {
    ServerRow {
        peer_id: "12D3KooWAAAAAAAABBBBBBBB".to_owned(),
        public_name: Some(name.to_owned()),
        version: Some("block-server/0.1.0".to_owned()),
        state: if health == "red" { "offline" } else { "online" },
        start_block: blocks.start,
        end_block: blocks.end,
        throughput: 310.0,
        inference_rps: Some(310.0),
        forward_rps: None,
        network_rps: None,
        dtype: None,
        quant_type: None,
        adapters: Vec::new(),
        using_relay: Some(false),
        cache_tokens_left: Some(100),
        next_pings: std::collections::BTreeMap::new(),
        health,
        codecs: Vec::new(),
        addresses: Vec::new(),
        rtt_ms: Some(1.5),
    }
}

fn model(servers: Vec<ServerRow>, missing: &[&str]) -> ModelTopology {
    ModelTopology {
        id: "fable-7m".to_owned(),
        dht_prefix: "fable-7m-hf".to_owned(),
        num_blocks: 8,
        state: if missing.is_empty() {
            ModelState::Healthy
        } else {
            ModelState::Broken
        },
        covered: 8 - 3 * missing.len(),
        missing: missing.iter().map(|run| (*run).to_owned()).collect(),
        bottleneck: Bottleneck {
            inference: 310.0,
            forward: 0.0,
        },
        servers,
    }
}

fn drawn(picture: &Picture, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, picture)).unwrap();
    terminal.backend().buffer().clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width);
    let cells: Vec<&str> = buffer.content.iter().map(|cell| cell.symbol()).collect();
    cells
        .chunks(width)
        .map(|line| line.concat().trim_end().to_owned())
        .collect()
}

#[test]
fn servers_and_gaps_are_told_in_words_and_in_colours() {
    let servers = vec![server("alice", 0..5, "green"), server("bob", 0..8, "red")];
    let picture = Picture {
        model: Some(model(servers, &["5:8"])),
        age: Duration::from_secs(3),
        scrolled: 0,
        flag_to_join: "--lan",
    };
    let buffer = drawn(&picture, 130, 10);
    let lines = lines(&buffer);
    assert_eq!(
        lines[0],
        "fable-7m  BROKEN  5 of 8 blocks covered, 2 servers, weakest block 310 tok/s, 3 s ago"
    );
    assert_eq!(lines[1], "servers per block  0 ▏11111000▕ 7");
    assert!(
        lines[3].starts_with("name   peer       blocks"),
        "{lines:#?}"
    );
    assert!(
        lines[4].contains("…BBBBBBBB  0:5     █████···  online"),
        "{lines:#?}"
    );
    assert!(lines[5].contains("××××××××  offline"), "{lines:#?}");
    assert_eq!(
        lines[8],
        "missing  5:8: block-server --model fable-7m --blocks 5:8 --lan"
    );
    assert_eq!(lines[9], "q leaves   ↑ ↓ scroll");
    let color_at = |line: usize, text: &str| {
        let at = lines[line].split(text).next().unwrap().chars().count();
        let index = line * 130 + at;
        buffer.content[index].fg
    };
    assert_eq!(color_at(4, "online"), Color::Green);
    assert_eq!(color_at(5, "offline"), Color::Red);
    assert_eq!(color_at(0, "BROKEN"), Color::Red);
}

#[test]
fn many_servers_scroll_and_a_small_screen_shows_what_fits() {
    let servers = (0..200)
        .map(|n| server(&format!("s{n}"), 0..8, "green"))
        .collect();
    let model = model(servers, &[]);
    assert_eq!(last_scroll(&model, 25), 180);
    assert_eq!(last_scroll(&model, 0), 199);
    let picture = Picture {
        model: Some(model),
        age: Duration::ZERO,
        scrolled: 180,
        flag_to_join: "--lan",
    };
    let whole = lines(&drawn(&picture, 130, 25));
    assert!(whole[4].starts_with("s180 "), "{whole:#?}");
    assert!(whole[23].starts_with("s199 "), "{whole:#?}");
    for (width, height) in [(1, 1), (20, 4), (80, 3)] {
        let small = lines(&drawn(&picture, width, height));
        assert_eq!(small.len(), usize::from(height));
    }
}

#[test]
fn before_the_first_look_it_says_what_it_waits_for() {
    let lines = lines(&drawn(&Picture::default(), 40, 3));
    assert_eq!(lines[0], "asking the swarm …");
}
