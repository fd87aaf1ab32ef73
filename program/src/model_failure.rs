//! What to say when a model's files cannot be used.

use std::io::ErrorKind;
use std::path::Path;

use block_model::{ConfigError, HubError, LoadError};

use crate::error_report::{Exit, Failure};

/// Who must act on a failed load, and how.
pub fn failure(error: &LoadError, model: &str) -> Failure {
    let (exit, hint) = verdict(error, model);
    let failure = Failure::new(exit, format!("cannot load the model {model}")).caused_by(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn verdict(error: &LoadError, model: &str) -> (Exit, Option<String>) {
    let hint = |text: &str| Some(text.to_owned());
    match error {
        LoadError::NotFound { path } => (
            Exit::NoInput,
            conversion_beside(path)
                .or_else(|| hint("a model folder holds config.json and .safetensors files")),
        ),
        LoadError::MissingShard { .. } => (Exit::NoInput, hint("fetch the file")),
        LoadError::Damaged { .. } => (
            Exit::BadData,
            hint("delete the file, fetch it again, and start again"),
        ),
        LoadError::MissingTensor { .. } | LoadError::WrongShape { .. } => (
            Exit::BadData,
            hint("fetch config.json and the weights from the same place again"),
        ),
        LoadError::UnsupportedDType { .. } => (
            Exit::BadData,
            hint("choose a checkpoint with weights of a supported type"),
        ),
        LoadError::BlocksOutsideModel { .. } | LoadError::FamilyOnDevice { .. } => {
            (Exit::Usage, None)
        }
        LoadError::Config {
            source: ConfigError::UnsupportedArchitecture { supported, .. },
            ..
        } => (
            Exit::BadData,
            Some(format!(
                "choose a model of a supported architecture: {supported}"
            )),
        ),
        LoadError::Config { .. } => (
            Exit::BadData,
            hint("fetch config.json again, or choose another model"),
        ),
        LoadError::PickleOnly { model, file } => {
            let is_folder = Path::new(model).exists();
            let more = if is_folder { "" } else { CONVERTED_ON_THE_HUB };
            (Exit::NoInput, Some(conversion(file, model) + more))
        }
        LoadError::Hub(error) => hub_verdict(error, model),
        LoadError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            (Exit::NoPermission, hint("let this user read the file"))
        }
        LoadError::Io { .. } => (Exit::NoInput, None),
        LoadError::Kernels(_) => (
            Exit::Usage,
            hint("leave BLOCK_SERVER_KERNELS out; block-server devices shows what runs here"),
        ),
        LoadError::Device { .. } | LoadError::Place(_) => (Exit::Unavailable, None),
    }
}

fn hub_verdict(error: &HubError, model: &str) -> (Exit, Option<String>) {
    match error {
        HubError::NotFound { .. } => (
            Exit::NoInput,
            Some(
                "check the name and --revision; a local folder needs ./ before its name".to_owned(),
            ),
        ),
        HubError::AccessDenied { .. } => (
            Exit::NoPermission,
            Some(format!(
                "ask for access on https://huggingface.co/{model}, then give a token with --token-file or HF_TOKEN"
            )),
        ),
        HubError::NotCached { .. } => (
            Exit::NoInput,
            Some(format!(
                "fetch it with swarm pull {model}, or start once without --offline and HF_HUB_OFFLINE"
            )),
        ),
        HubError::RateLimited { .. } => (
            Exit::Unavailable,
            Some("wait, or give a token with --token-file or HF_TOKEN".to_owned()),
        ),
        HubError::Changed { .. } => (
            Exit::BadData,
            Some("delete the file that the error ends with, and start again".to_owned()),
        ),
        HubError::Damaged { .. } => (
            Exit::BadData,
            Some("start again to fetch it anew; another HF_ENDPOINT may have it whole".to_owned()),
        ),
        HubError::Disk { source, .. } => disk_verdict(source.kind()),
        HubError::Unreachable { .. } => (
            Exit::Unavailable,
            Some("try again; --offline uses what is in the cache".to_owned()),
        ),
        HubError::Client(_) => (Exit::Usage, None),
    }
}

fn disk_verdict(kind: ErrorKind) -> (Exit, Option<String>) {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => (
            Exit::Unavailable,
            Some(
                "make room and start again, which goes on where this ended; or choose another --cache-dir, or fewer --blocks"
                    .to_owned(),
            ),
        ),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => (
            Exit::NoPermission,
            Some("let this user write to the cache, or choose another --cache-dir".to_owned()),
        ),
        _ => (Exit::NoInput, None),
    }
}

/// How to convert the weights beside the missing file `path`, if there are only pickled ones.
fn conversion_beside(path: &Path) -> Option<String> {
    let folder = path.parent()?;
    if path.file_name()? != SAFETENSORS_FILE {
        return None;
    }
    let names = std::fs::read_dir(folder)
        .ok()?
        .take(MAX_LISTED_FILES)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let pickled = names
        .filter(|name| PICKLED.iter().any(|ending| name.ends_with(ending)))
        .min()?;
    Some(conversion(&pickled, &folder.display().to_string()))
}

/// How to convert the weights `from`, a folder or a repository, of which `pickled` is one of the files.
fn conversion(pickled: &str, from: &str) -> String {
    format!(
        "{pickled} is a pickle, which can run code and is never read; if you trust it, convert it once with \
         python3 -c \"from transformers import AutoModelForCausalLM as M; \
         M.from_pretrained('{from}', torch_dtype='auto').save_pretrained('{from}-safetensors')\", \
         copy its tokenizer files, and name the new folder"
    )
}

/// What to add for a repository of the hub, which converts what is asked for.
const CONVERTED_ON_THE_HUB: &str =
    "; or look for a conversion among its pull requests, and take it with --revision refs/pr/N";

/// The file that is missed where there is no index of several.
const SAFETENSORS_FILE: &str = "model.safetensors";
/// Endings of files that Python's pickle reads.
const PICKLED: [&str; 4] = [".bin", ".pt", ".pth", ".ckpt"];
/// Files of a folder that are looked at; a checkpoint has some hundreds at most.
const MAX_LISTED_FILES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_pickles_is_told_how_to_convert() {
        let folder = tempfile::tempdir().unwrap();
        let missing = |file: &str| LoadError::NotFound {
            path: folder.path().join(file),
        };
        let told = |file: &str| failure(&missing(file), "m").to_string();
        assert!(told("model.safetensors").contains("a model folder holds"));
        std::fs::write(folder.path().join("pytorch_model.bin"), "").unwrap();
        let text = told("model.safetensors");
        for part in [
            "pytorch_model.bin is a pickle",
            "never read",
            "save_pretrained",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(told("config.json").contains("a model folder holds"));
    }

    #[test]
    fn a_disk_that_takes_no_more_is_told_apart() {
        let told = |kind: ErrorKind| {
            let (path, source) = ("blob".into(), kind.into());
            let error = LoadError::Hub(HubError::Disk { path, source });
            failure(&error, "m").to_string()
        };
        assert!(told(ErrorKind::StorageFull).contains("make room and start again"));
        assert!(told(ErrorKind::PermissionDenied).contains("let this user write"));
        assert!(!told(ErrorKind::InvalidData).contains("hint"));
    }
}
