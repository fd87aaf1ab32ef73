//! `swarm`: generates text over a swarm of Petals servers.

fn main() {}
