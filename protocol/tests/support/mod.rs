//! Reads the golden bytes in `tests/fixtures`.

#![allow(dead_code, reason = "each test file uses its own part of this module")]

use std::{fs, path::Path};

/// One entry of a fixture file.
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// What the capturing side printed; for people and spot checks.
    pub(crate) decoded: String,
}

/// Every file of vectors with names (`bnb_dynamic_map_256.json` is a bare list of numbers).
pub(crate) const FILES: [&str; 7] = [
    "dht_inbound_from_python",
    "dht_outbound_calls_to_go_peer",
    "misc_push",
    "negotiation_and_markers",
    "petals_calls_to_python_server",
    "petals_inbound_from_python_client",
    "python_serialization",
];

/// The entries of `tests/fixtures/{file}.json`, in order.
pub(crate) fn vectors(file: &str) -> Vec<Vector> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(file)
        .with_extension("json");
    let text = fs::read_to_string(&path).unwrap();
    let entries: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    entries.iter().map(vector_of).collect()
}

/// The entry called `name` in `file`.
pub(crate) fn vector(file: &str, name: &str) -> Vector {
    vectors(file)
        .into_iter()
        .find(|vector| vector.name == name)
        .unwrap_or_else(|| panic!("no {name} in {file}"))
}

fn vector_of(entry: &serde_json::Value) -> Vector {
    let text = |key: &str| entry[key].as_str().unwrap().to_owned();
    let hex = text("hex");
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    Vector {
        name: text("name"),
        bytes: (0..hex.len()).step_by(2).map(digits).collect(),
        decoded: text("decoded"),
    }
}
