//! `block-server`: flags to configuration to `block_server::run`.
fn main() {}
