//! What can go wrong between a model's name and its weights in memory, by who must act.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::config::{ConfigError, Family};
use crate::kernels::level::LevelError;

/// Why a model, a span of it or its head could not be loaded. Each text names the file.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The operator named a directory or file that is not there.
    #[error("{}: not found", .path.display())]
    NotFound {
        /// What was looked for.
        path: PathBuf,
    },
    /// The checkpoint's index names a shard that is not there: fetch it.
    #[error("{}: shard is missing; it holds {tensor}; fetch it or choose other blocks", .path.display())]
    MissingShard {
        /// Where the shard should be.
        path: PathBuf,
        /// A tensor of the requested span that it should hold.
        tensor: String,
    },
    /// A file that the operator must replace: truncated, overwritten or of another format.
    #[error("{}: damaged: {reason}; delete it, with what it links to, and fetch it again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// The checkpoint does not hold a tensor that its configuration calls for.
    #[error("{}: tensor {tensor} is missing; the checkpoint does not fit its config.json", .path.display())]
    MissingTensor {
        /// The file or index that was searched.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
    },
    /// A tensor whose shape contradicts the configuration.
    #[error(
        "{}: tensor {tensor} has shape {found:?}, config.json calls for {expected:?}",
        .path.display()
    )]
    WrongShape {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
        /// Shape by the configuration.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// A tensor of a type that is not read.
    #[error("{}: tensor {tensor} is {found}; supported: {supported}", .path.display())]
    UnsupportedDType {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
        /// Its type as the file names it.
        found: String,
        /// All that would work, separated by commas.
        supported: &'static str,
    },
    /// The operator asked for blocks that the model does not have.
    #[error(
        "blocks {}:{} are outside the model; it has {num_blocks} blocks, 0:{num_blocks} is all of them",
        .requested.start, .requested.end
    )]
    BlocksOutsideModel {
        /// Blocks asked for.
        requested: Range<usize>,
        /// Blocks of the model.
        num_blocks: usize,
    },
    /// A `config.json` that is not understood.
    #[error("{}: {source}", .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: ConfigError,
    },
    /// The weights are pickled, and reading such a file runs what it says: the operator must convert it.
    #[error("{model}: no safetensors weights, only pickled ones: {file}")]
    PickleOnly {
        /// `owner/name`, or the directory.
        model: String,
        /// The file found instead of weights that can be read.
        file: String,
    },
    /// The hub could not supply a file.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The operating system refused a file.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its answer.
        source: std::io::Error,
    },
    /// The device is not there or not in this build.
    #[error("device {device}: {reason}")]
    Device {
        /// As the operator named it.
        device: String,
        /// What the driver says.
        reason: String,
    },
    /// The device has no kernels for this family of models: the operator must choose another one.
    #[error(
        "{family} models do not run on device {device}; supported there: llama; with --device cpu all families run"
    )]
    FamilyOnDevice {
        /// The model's.
        family: Family,
        /// As the operator named it.
        device: String,
    },
    /// The operator forced kernels that do not run here.
    #[error(transparent)]
    Kernels(#[from] LevelError),
    /// The device could not take the weights.
    #[error("cannot place the weights: {0}")]
    Place(String),
}

impl LoadError {
    /// A damaged file; in the hub's cache it is a link, and deleting that alone would not help.
    pub(crate) fn damaged(path: &Path, reason: impl std::fmt::Display) -> Self {
        let reason = match path.read_link() {
            Ok(target) => format!("{reason} (it links to {})", target.display()),
            Err(_) => reason.to_string(),
        };
        Self::Damaged {
            path: path.to_owned(),
            reason,
        }
    }

    /// Hides the tensor library's error type.
    pub(crate) fn place(error: impl std::fmt::Display) -> Self {
        Self::Place(error.to_string())
    }
}

/// Why the hub did not supply a file.
#[derive(Debug, Error)]
pub enum HubError {
    /// No such repository, revision or file: the operator must correct the name.
    #[error("{repository}@{revision}: {file} does not exist on the hub ({detail})")]
    NotFound {
        /// `owner/name`.
        repository: String,
        /// Branch, tag or commit.
        revision: String,
        /// File in the repository.
        file: String,
        /// The hub's own words.
        detail: String,
    },
    /// The repository is gated or private: the operator must ask for access or supply a token.
    #[error("{repository}: access denied for {file}; {advice} ({detail})")]
    AccessDenied {
        /// `owner/name`.
        repository: String,
        /// File in the repository.
        file: String,
        /// What to do.
        advice: String,
        /// The hub's own words.
        detail: String,
    },
    /// Offline, and the file was never fetched.
    #[error(
        "{repository}@{revision}: {file} is not in the cache at {}; fetch it once without offline mode",
        .cache_dir.display()
    )]
    NotCached {
        /// `owner/name`.
        repository: String,
        /// Branch, tag or commit.
        revision: String,
        /// File in the repository.
        file: String,
        /// Where it was looked for.
        cache_dir: PathBuf,
    },
    /// Too many requests: the operator must wait, or ask with a token, which may make more.
    #[error(
        "{repository}: the hub refuses {file} after too many requests{}; a token raises the limit ({detail})",
        wait(*.retry_after)
    )]
    RateLimited {
        /// `owner/name`.
        repository: String,
        /// File in the repository.
        file: String,
        /// How long the hub asks to wait.
        retry_after: Option<Duration>,
        /// The hub's own words.
        detail: String,
    },
    /// A file of a commit, which can never change, is another than before. Its parts cannot be mixed.
    #[error(
        "{repository}: {file} was {was} and is {is} on the hub, though its commit is the same; to use what the hub has now, delete {}",
        .path.display()
    )]
    Changed {
        /// `owner/name`.
        repository: String,
        /// File in the repository.
        file: String,
        /// Etag and size by which parts of it were fetched.
        was: String,
        /// Etag and size now.
        is: String,
        /// Where it is noted what it was.
        path: PathBuf,
    },
    /// What came is not what the hub says it has; it has been deleted: try again later.
    #[error("{repository}: {file} does not fit its checksum {etag}; what came was deleted")]
    Damaged {
        /// `owner/name`.
        repository: String,
        /// File in the repository.
        file: String,
        /// Its checksum.
        etag: String,
    },
    /// The cache cannot be read or written, for example because the disk is full.
    #[error("{}: {source}", .path.display())]
    Disk {
        /// A file of the cache.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The hub did not answer, or stopped answering: try again later.
    #[error("{repository}: cannot fetch {file}: {detail}")]
    Unreachable {
        /// `owner/name`.
        repository: String,
        /// File in the repository.
        file: String,
        /// Last error.
        detail: String,
    },
    /// Our own options are wrong, for example an endpoint that is no URL.
    #[error("hub client: {0}")]
    Client(String),
}

fn wait(retry_after: Option<Duration>) -> String {
    let seconds = retry_after.map(|wait| wait.as_secs());
    seconds.map_or_else(String::new, |seconds| {
        format!(" and asks to wait {seconds} s")
    })
}
