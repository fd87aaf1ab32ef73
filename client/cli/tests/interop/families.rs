//! A model of every family over two of our servers.

use std::path::{Path, PathBuf};

use block_testing::{Ask, BlockServer, Span, SwarmRun, repository};
use serde_json::Value;

/// Where each fixture is cut: everywhere once.
const SPANS: [[&str; 2]; 3] = [["0:1", "1:4"], ["0:2", "2:4"], ["0:3", "3:4"]];

/// Every tiny model of the repository.
fn fixtures() -> Vec<PathBuf> {
    let folder = repository().join("model/tests/fixtures");
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut fixtures: Vec<_> = paths
        .filter(|path| path.join("golden.json").is_file())
        .collect();
    fixtures.sort();
    fixtures
}

#[test]
fn every_family_continues_as_transformers_does() {
    let fixtures = fixtures();
    assert!(fixtures.len() >= 13, "{fixtures:?}");
    for (number, fixture) in fixtures.iter().enumerate() {
        continues(fixture, SPANS[number % SPANS.len()]);
    }
}

/// Both rows of the fixture's greedy ids, in float32 with exact links.
fn continues(fixture: &Path, spans: [&str; 2]) {
    let name = fixture.file_name().unwrap().to_str().unwrap();
    let spawn = |blocks: &str, bootstrap: Option<&str>| {
        let span = Span {
            prefix: name,
            blocks,
            dtype: "f32",
            flags: &[],
        };
        BlockServer::spawn(&format!("{name}-{blocks}"), fixture, &span, bootstrap)
    };
    let first = spawn(spans[0], None);
    let bootstrap = first.await_ready().address;
    let second = spawn(spans[1], Some(&bootstrap));
    second.await_ready();

    let golden = std::fs::read_to_string(fixture.join("golden.json")).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let rows =
        |key: &str| -> Vec<Vec<u32>> { serde_json::from_value(golden[key].clone()).unwrap() };
    for (prompt, expected) in rows("input_ids").into_iter().zip(rows("greedy_ids")) {
        let ask = Ask {
            model: fixture.to_owned(),
            prefix: name.to_owned(),
            bootstrap: bootstrap.clone(),
            prompt,
            max_tokens: expected.len(),
            past_the_end: true,
            codec: "none",
            push: true,
            route: Vec::new(),
        };
        let ending = SwarmRun::ask(name, &ask).finish();
        assert_eq!(ending.ids(), expected, "{name}: {}", ending.log);
        assert_eq!(ending.route().len(), 2, "{name}");
    }
}
