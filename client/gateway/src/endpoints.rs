//! What each path does.
//!
//! - `completions`: chat and text; `models`: what is served; `sessions`: what runs, and its end
//! - `tokens`: text ↔ ids; `health`, `about`: the gateway itself

pub(crate) mod about;
pub(crate) mod completions;
pub(crate) mod health;
pub(crate) mod models;
pub(crate) mod sessions;
pub(crate) mod tokens;
