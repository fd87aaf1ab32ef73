//! The story model, carried by this program.

use std::path::{Path, PathBuf};

use block_program::{Exit, Failure};

/// Blocks of the model.
pub(super) const NUM_BLOCKS: usize = 8;

macro_rules! model_file {
    ($name:literal) => {
        (
            $name,
            include_bytes!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../models/fable-7m/",
                $name
            )),
        )
    };
}

/// What servers and clients read of it.
const FILES: [(&str, &[u8]); 4] = [
    model_file!("config.json"),
    model_file!("generation_config.json"),
    model_file!("model.safetensors"),
    model_file!("tokenizer.json"),
];

/// Writes the model into `folder`, and returns its own folder there.
///
/// # Errors
/// The folder cannot be written (exit 71).
pub(super) fn write(folder: &Path) -> Result<PathBuf, Failure> {
    let model = folder.join("fable-7m");
    let written = std::fs::create_dir(&model).and_then(|()| {
        FILES
            .iter()
            .try_for_each(|(name, bytes)| std::fs::write(model.join(name), bytes))
    });
    written.map_err(|error| {
        Failure::new(
            Exit::OsError,
            format!("the story model cannot be written to {}", model.display()),
        )
        .caused_by(&error)
        .hint("it needs 15 MB; TMPDIR names another place")
    })?;
    Ok(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_that_is_written_can_be_read() {
        let root = tempfile::tempdir().unwrap();
        let folder = write(root.path()).unwrap();
        let source = block_model::ModelSource::directory(&folder).unwrap();
        assert_eq!(source.config().num_blocks, NUM_BLOCKS);
        block_client::LocalModel::load(&source).unwrap();
    }
}
