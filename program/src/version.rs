//! `version`: what this build is.

use block_model::Level;
use serde_json::json;

/// The Petals version whose behaviour we have: the one that honours `start_from_position`. Monitors and clients parse it
/// by PEP 440.
pub const PETALS_VERSION: &str = "2.3.0.dev2";

/// The commit that was built, where whoever built it said so in this variable.
const COMMIT: Option<&str> = option_env!("BLOCK_SERVER_COMMIT");

/// Flags of `version`.
#[derive(Debug, Clone, clap::Args)]
pub struct VersionFlags {
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub json: bool,
}

/// The text for stdout about the program `name`.
pub fn text(name: &str, flags: &VersionFlags) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let kernels = Level::choose().map_or("none", |choice| choice.level.name());
    if flags.json {
        let version = json!({
            "name": name,
            "version": version,
            "commit": COMMIT,
            "backends": ["cpu"],
            "kernels": kernels,
            "petals": PETALS_VERSION,
        });
        return version.to_string();
    }
    let commit = COMMIT.unwrap_or("not told to the build");
    format!(
        "{name} {version}\ncommit    {commit}\nbackends  cpu ({kernels})\nprotocol  that of Petals {PETALS_VERSION}"
    )
}
