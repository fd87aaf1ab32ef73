//! Chains in which our servers and Python Petals servers take turns.

use crate::generate::{continues_long_prompt, forwards, generates, rolls_on};
use crate::swarm::SWARM;

#[test]
fn python_then_rust_then_python() {
    serves_everything("python-rust-python");
}

#[test]
fn rust_then_python_then_rust() {
    serves_everything("rust-python-rust");
}

fn serves_everything(prefix: &str) {
    generates(&SWARM, prefix);
    continues_long_prompt(&SWARM, prefix);
    rolls_on(&SWARM, prefix);
    forwards(&SWARM, prefix);
}
