//! The checked-in protobuf code is what the `.proto` files say, made without a system `protoc`.
//!
//! After a change of a `.proto` file run this test once with `UPDATE_GENERATED=1`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

use std::{env, fs, path::Path};

const FILES: [&str; 3] = ["p2pd", "runtime", "dht"];

#[test]
fn generated_code_is_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/proto");
    let names = FILES.map(|name| format!("{name}.proto"));
    let descriptors = protox::compile(&names, [&folder]).unwrap();
    let out = tempfile::tempdir().unwrap();
    prost_build::Config::new()
        .bytes(["."])
        .out_dir(out.path())
        .compile_fds(descriptors)
        .unwrap();
    for name in FILES {
        let file = format!("{name}.rs");
        let fresh = fs::read_to_string(out.path().join(&file)).unwrap();
        let checked_in = folder.join(&file);
        if env::var_os("UPDATE_GENERATED").is_some() {
            fs::write(&checked_in, &fresh).unwrap();
        }
        let stored = fs::read_to_string(&checked_in).unwrap();
        assert_eq!(
            stored, fresh,
            "{file} is stale: run this test with UPDATE_GENERATED=1"
        );
    }
}
