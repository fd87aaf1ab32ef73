//! Where an access token is found.

use std::path::PathBuf;

use crate::error::HubError;

/// The token that was given; else that of the environment; else that of the hub client's files.
///
/// # Errors
/// [`HubError::Client`] if it cannot be sent; the text does not show it.
pub(super) fn find(
    given: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<String>, HubError> {
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let token = match given {
        Some(token) => Some(token.to_owned()),
        None if set("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some() => None,
        None => VARIABLES.iter().find_map(|name| set(name)).or_else(|| {
            let file = set("HF_TOKEN_PATH").map_or_else(|| home(set).join("token"), Into::into);
            std::fs::read_to_string(file).ok()
        }),
    };
    let token = token.map(|token| token.trim().to_owned());
    match token.filter(|token| !token.is_empty()) {
        Some(token) if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(HubError::Client(format!(
                "the token holds characters that no token has (it is looked for in this order: {PLACES})"
            )))
        }
        token => Ok(token),
    }
}

/// The folder of hub clients, as all of them find it.
fn home(set: impl Fn(&str) -> Option<String>) -> PathBuf {
    let user = || PathBuf::from(set("HOME").unwrap_or_default()).join(".cache");
    let cache = || set("XDG_CACHE_HOME").map_or_else(user, Into::into);
    set("HF_HOME").map_or_else(|| cache().join("huggingface"), Into::into)
}

/// Where a token is looked for, in this order.
pub(super) const PLACES: &str = "given, HF_TOKEN, the hub client's token file";

/// The second is an older name of the first.
const VARIABLES: [&str; 2] = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"];

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn the_nearest_token_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, token: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, token).unwrap();
        };
        write("elsewhere", "hf_elsewhere");
        write("hf/token", "hf_home\n");
        write("xdg/huggingface/token", "hf_xdg");
        write("user/.cache/huggingface/token", "hf_user");
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let found = |given: Option<&str>, variables: &[(&str, &str)]| {
            let variable = |name: &str| {
                let set = variables.iter().find(|(known, _)| *known == name);
                set.map(|(_, value)| (*value).to_owned())
            };
            find(given, variable).unwrap()
        };
        let some = |token: &str| Some(token.to_owned());
        let new = ("HF_TOKEN", " hf_new\n");
        let old = ("HUGGING_FACE_HUB_TOKEN", "hf_old");
        let off = ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
        let elsewhere = ("HF_TOKEN_PATH", &*path("elsewhere"));
        let home = ("HF_HOME", &*path("hf"));
        let cache = ("XDG_CACHE_HOME", &*path("xdg"));
        let user = ("HOME", &*path("user"));
        assert_eq!(found(Some("hf_given"), &[new]), some("hf_given"));
        assert_eq!(found(None, &[old, new, elsewhere]), some("hf_new"));
        assert_eq!(found(None, &[old, elsewhere]), some("hf_old"));
        let empty = ("HF_TOKEN", "");
        assert_eq!(found(None, &[empty, elsewhere]), some("hf_elsewhere"));
        assert_eq!(found(None, &[home, cache, user]), some("hf_home"));
        assert_eq!(found(None, &[cache, user]), some("hf_xdg"));
        assert_eq!(found(None, &[user]), some("hf_user"));
        assert_eq!(found(None, &[]), None);
        assert_eq!(found(None, &[new, off]), None);
        assert_eq!(found(Some("hf_given"), &[off]), some("hf_given"));
    }

    #[test]
    fn a_token_that_cannot_be_sent_is_not_shown() {
        let error = find(Some("hf_sec\u{e9}ret"), |_| None).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("token") && !text.contains("hf_sec"), "{text}");
    }
}
