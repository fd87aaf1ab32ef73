//! What `block-server` and `swarm` share as programs.
