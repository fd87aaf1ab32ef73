//! `swarm pull`: a model's files into the hub cache.
//!
//! | field    | meaning                                                                             |
//! |----------|-------------------------------------------------------------------------------------|
//! | `commit` | where the files come from; `null` for a folder                                      |
//! | `files`  | whole files that are here; of the weights a client needs only a part, which is not listed |
//! | `blocks` | the range that was asked for, and how many bytes of it had to be fetched            |

use std::ops::Range;
use std::path::{Path, PathBuf};

use block_client::LocalModel;
use block_model::ModelSource;
use block_program::amounts::bytes;
use block_program::{Exit, Failure, model_failure, on_blocking_thread};
use serde::Serialize;

use crate::cli::{PullFlags, WantedBlocks};
use crate::ending::Ending;
use crate::model_files;
use crate::output;
use crate::session_failure::local_failure;

/// What is here now.
#[derive(Debug, Serialize)]
struct Pulled {
    model: String,
    commit: Option<String>,
    folder: PathBuf,
    files: Vec<PulledFile>,
    blocks: Option<PulledBlocks>,
}

#[derive(Debug, Serialize)]
struct PulledFile {
    name: String,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct PulledBlocks {
    start: usize,
    end: usize,
    fetched_bytes: u64,
}

/// Fetches what is missing, and says what is here.
///
/// # Errors
/// A file cannot be had.
pub(crate) async fn run(flags: PullFlags) -> Result<(), Ending> {
    let is_json = flags.json;
    let pulled = on_blocking_thread(move || pull(&flags)).await?;
    if is_json {
        output::json(&pulled)
    } else {
        output::text(&text(&pulled))
    }
}

fn pull(flags: &PullFlags) -> Result<Pulled, Failure> {
    let source = model_files::find(&flags.model)?.source;
    let model = &flags.model.model;
    let wanted = flags.blocks.as_ref();
    let range = wanted.map(|wanted| range(wanted, &source, model));
    let range = range.transpose()?;
    LocalModel::fetch(&source).map_err(|error| local_failure(&error, model))?;
    let blocks = range.map(|range| pull_blocks(&source, range, model));
    let blocks = blocks.transpose()?;
    let config = source.file("config.json");
    let config = config.map_err(|error| model_failure::failure(&error, model))?;
    let folder = config.parent().unwrap_or_else(|| Path::new(".")).to_owned();
    Ok(Pulled {
        model: source.name(),
        commit: source.commit().map(str::to_owned),
        files: files(&folder)?,
        folder,
        blocks,
    })
}

fn range(
    wanted: &WantedBlocks,
    source: &ModelSource,
    model: &str,
) -> Result<Range<usize>, Failure> {
    let num_blocks = source.config().num_blocks;
    match wanted {
        WantedBlocks::All => Ok(0..num_blocks),
        WantedBlocks::Range(range) if range.end <= num_blocks => Ok(range.clone()),
        WantedBlocks::Range(range) => Err(Failure::usage(format!(
            "--blocks {}:{} is more than {model} has",
            range.start, range.end
        ))
        .hint(format!(
            "the model has {num_blocks} blocks, 0:{num_blocks} is all of them"
        ))),
    }
}

fn pull_blocks(
    source: &ModelSource,
    range: Range<usize>,
    model: &str,
) -> Result<PulledBlocks, Failure> {
    let failed = |error| model_failure::failure(&error, model);
    let before = source.span_files(range.clone()).map_err(failed)?;
    source.fetch(range.clone()).map_err(failed)?;
    Ok(PulledBlocks {
        start: range.start,
        end: range.end,
        fetched_bytes: before.download_bytes,
    })
}

/// Whole files of a snapshot or a folder.
fn files(folder: &Path) -> Result<Vec<PulledFile>, Failure> {
    let listed = std::fs::read_dir(folder).and_then(|entries| {
        let mut files = Vec::new();
        for entry in entries {
            let path = entry?.path();
            // Snapshots hold links.
            let facts = std::fs::metadata(&path)?;
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some(name) = name.filter(|_| facts.is_file()) {
                let (name, bytes) = (name.to_owned(), facts.len());
                files.push(PulledFile { name, bytes });
            }
        }
        files.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(files)
    });
    listed.map_err(|error| {
        Failure::new(Exit::NoInput, format!("cannot read {}", folder.display())).caused_by(&error)
    })
}

fn text(pulled: &Pulled) -> String {
    let commit = match &pulled.commit {
        Some(commit) => format!(" @ {}", commit.get(..SHORT_COMMIT).unwrap_or(commit)),
        None => ", a folder: nothing is fetched".to_owned(),
    };
    let mut text = format!("model   {}{commit}\n", pulled.model);
    text.push_str("client  tokenizer, embeddings and head are here\n");
    if let Some(blocks) = &pulled.blocks {
        text.push_str(&format!(
            "blocks  {}:{} are here, {} fetched\n",
            blocks.start,
            blocks.end,
            bytes(blocks.fetched_bytes)
        ));
    }
    text.push_str(&format!("folder  {}\n", pulled.folder.display()));
    for file in &pulled.files {
        text.push_str(&format!("        {}  {}\n", file.name, bytes(file.bytes)));
    }
    text
}

/// As much of a commit as tells commits apart.
const SHORT_COMMIT: usize = 7;
