//! `swarm pull` from a hub on loopback.

use std::fs;
use std::path::PathBuf;

use block_testing::{Home, MockHub, fable, mock_hub};
use serde_json::Value;

/// The repository's model on a hub, and `swarm` with an empty cache that asks it.
pub(crate) fn pull(home: &Home, hub: &MockHub, more: &[&str]) -> Value {
    let line = [&["pull", mock_hub::REPOSITORY, "--json"], more].concat();
    let output = home
        .command(line)
        .env_remove("HF_HUB_OFFLINE")
        .env("HF_ENDPOINT", &hub.endpoint)
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), told.as_str()), (Some(0), ""));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A hub with the repository's model, and the folder that its files come from.
pub(crate) fn publish(home: &Home) -> (MockHub, PathBuf) {
    let folder = home.path().join("published");
    fs::create_dir(&folder).unwrap();
    for name in [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
    ] {
        fs::copy(fable().join(name), folder.join(name)).unwrap();
    }
    (MockHub::of_folder(&folder), folder)
}

#[test]
fn what_is_pulled_serves_offline_and_is_fetched_once() {
    let home = Home::new("swarm");
    let (hub, folder) = publish(&home);
    let client = pull(&home, &hub, &[]);
    assert_eq!(client["commit"], mock_hub::FIRST_COMMIT);
    assert_eq!(client["blocks"], Value::Null);
    let names: Vec<&str> = client["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"tokenizer.json"), "{names:?}");
    let weights = hub.contents("model.safetensors");
    let whole = fs::metadata(folder.join("model.safetensors"))
        .unwrap()
        .len();
    drop(weights);

    // Blocks that are not here say so.
    let line = ["pull", mock_hub::REPOSITORY, "--blocks", "0:2"];
    home.output(line).fails_with(66, &["hint:"]);

    let blocks = pull(&home, &hub, &["--blocks", "0:2"]);
    let fetched = blocks["blocks"]["fetched_bytes"].as_u64().unwrap();
    assert!(fetched > 0 && fetched < whole / 2, "{fetched} of {whole}");
    let again = pull(&home, &hub, &["--blocks", "0:2"]);
    assert_eq!(again["blocks"]["fetched_bytes"], 0);
    let offline = home.output(line);
    assert_eq!(offline.code, Some(0), "{}", offline.stderr);
    for part in [
        "model   own/model @ 0123456\n",
        "blocks  0:2 are here, 0 B fetched\n",
    ] {
        assert!(
            offline.stdout.contains(part),
            "{part} in {}",
            offline.stdout
        );
    }
}

#[test]
fn a_folder_is_whole_already_and_has_no_more_blocks_than_it_has() {
    let home = Home::new("swarm");
    let model = fable();
    let model = model.to_str().unwrap();
    let output = home.output(["pull", model, "--blocks", "all"]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(
        output.stdout.contains("nothing is fetched"),
        "{}",
        output.stdout
    );
    home.output(["pull", model, "--blocks", "0:40"])
        .fails_with(2, &["the model has 8 blocks, 0:8 is all of them"]);
}
