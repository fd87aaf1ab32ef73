//! From what went wrong with a request to who must act, and whether to try again.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use hf_hub::HFError;

use super::patience::Again;
use super::token;
use crate::error::HubError;
use crate::source::HubOptions;

/// A request that failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// What to say if it is not made again.
    pub(super) error: HubError,
    /// Whether it may succeed next time.
    pub(super) again: Again,
}

/// What a request is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) options: &'a HubOptions,
    pub(super) endpoint: &'a str,
    /// Branch, tag or commit.
    pub(super) revision: &'a str,
    pub(super) file: &'a str,
}

/// An answer that is not the one hoped for.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// Whose answer it is: the hub redirects to hosts that have the contents.
    pub(super) host: String,
    /// The hub's own name for it.
    pub(super) code: Option<String>,
    /// The hub's own words.
    pub(super) message: Option<String>,
    pub(super) retry_after: Option<Duration>,
}

impl Subject<'_> {
    /// Sorts an answer.
    pub(super) fn refused(&self, refusal: &Refusal) -> Failure {
        let repository = self.options.repository.clone();
        let file = self.file.to_owned();
        let detail = refusal.text();
        let is_of_hub = host(self.endpoint) == refusal.host;
        let again = refusal.retry_after.map_or(Again::Soon, Again::After);
        match refusal.status {
            401 | 403 if is_of_hub => {
                let is_gated =
                    refusal.status == 403 || refusal.code.as_deref() == Some("GatedRepo");
                let first = if is_gated {
                    format!("ask for access at {}/{repository}", self.endpoint)
                } else {
                    "check the name".to_owned()
                };
                let advice = format!(
                    "{first}, and pass a token that may read it ({})",
                    token::PLACES
                );
                Failure::for_good(HubError::AccessDenied {
                    repository,
                    file,
                    advice,
                    detail,
                })
            }
            404 if is_of_hub => Failure::for_good(HubError::NotFound {
                repository,
                revision: self.revision.to_owned(),
                file,
                detail,
            }),
            429 => Failure {
                error: HubError::RateLimited {
                    repository,
                    file,
                    retry_after: refusal.retry_after,
                    detail,
                },
                again,
            },
            // A link to the contents is good for a while only; the next request gets a new one.
            408 | 500 | 502 | 503 | 504 | 401 | 403 | 404 => Failure {
                error: self.unreachable(detail),
                again,
            },
            _ => Failure::for_good(self.unreachable(detail)),
        }
    }

    /// Sorts the hub client's errors.
    pub(super) fn failed(&self, error: HFError) -> Failure {
        match error {
            HFError::AuthRequired { context }
            | HFError::Forbidden { context }
            | HFError::Http { context }
            | HFError::RepoNotFound {
                context: Some(context),
                ..
            }
            | HFError::RevisionNotFound {
                context: Some(context),
                ..
            }
            | HFError::EntryNotFound {
                context: Some(context),
                ..
            } => self.refused(&Refusal {
                status: context.status.as_u16(),
                host: host(&context.url),
                code: context.error_code,
                message: context.server_message,
                retry_after: None,
            }),
            HFError::RateLimited {
                retry_after,
                context,
            } => self.refused(&Refusal {
                status: context.status.as_u16(),
                host: host(&context.url),
                code: context.error_code,
                message: context.server_message,
                retry_after,
            }),
            HFError::RepoNotFound { .. }
            | HFError::RevisionNotFound { .. }
            | HFError::EntryNotFound { .. } => Failure::for_good(HubError::NotFound {
                repository: self.options.repository.clone(),
                revision: self.revision.to_owned(),
                file: self.file.to_owned(),
                detail: error.to_string(),
            }),
            HFError::Request { source, .. } => self.cut(&source),
            HFError::Io(source) => Failure::for_good(disk(PathBuf::from(self.file), source)),
            HFError::Xet { .. } | HFError::CacheLockTimeout { .. } => {
                self.interrupted(chain(&error))
            }
            other => Failure::for_good(self.unreachable(chain(&other))),
        }
    }

    /// A connection that was not made, or ended early.
    pub(super) fn cut(&self, error: &reqwest::Error) -> Failure {
        // Not the whole address: those of contents hold signatures that let anybody in.
        let host = error
            .url()
            .map_or_else(|| host(self.endpoint), |url| host(url.as_str()));
        let mut cause: &dyn Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let detail = format!("{host}: {cause}");
        if error.is_builder() || error.is_redirect() {
            Failure::for_good(self.unreachable(detail))
        } else {
            self.interrupted(detail)
        }
    }

    /// Something that another try may mend.
    pub(super) fn interrupted(&self, detail: String) -> Failure {
        Failure {
            error: self.unreachable(detail),
            again: Again::Soon,
        }
    }

    /// The hub does not supply the file.
    pub(super) fn unreachable(&self, detail: String) -> HubError {
        HubError::Unreachable {
            repository: self.options.repository.clone(),
            file: self.file.to_owned(),
            detail,
        }
    }
}

impl Failure {
    /// A failure that no other try would mend.
    pub(super) fn for_good(error: HubError) -> Self {
        Self {
            error,
            again: Again::Never,
        }
    }
}

impl Refusal {
    fn text(&self) -> String {
        let words = [&self.code, &self.message].into_iter().flatten();
        let words: Vec<_> = words.map(|text| printable(text)).collect();
        format!(
            "{} answers {}: {}",
            self.host,
            self.status,
            words.join(", ")
        )
        .trim_end_matches(": ")
        .to_owned()
    }
}

/// A file of the cache that cannot be written or read.
pub(super) fn disk(path: PathBuf, source: std::io::Error) -> HubError {
    HubError::Disk { path, source }
}

/// Name and port of the host in an address; the rest may hold secrets.
pub(super) fn host(url: &str) -> String {
    let parsed = reqwest::Url::parse(url).ok();
    match parsed.as_ref().map(|url| (url.host_str(), url.port())) {
        Some((Some(host), Some(port))) => format!("{host}:{port}"),
        Some((Some(host), None)) => host.to_owned(),
        _ => "?".to_owned(),
    }
}

/// An error with its causes on one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    printable(&text)
}

/// Words from outside, fit for one line of a terminal.
fn printable(text: &str) -> String {
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    visible.take(MAX_DETAIL_CHARS).collect()
}

/// Longer explanations are pages of HTML.
const MAX_DETAIL_CHARS: usize = 300;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Again, HubError, HubOptions, Refusal, Subject};

    fn refused(status: u16, host: &str, retry_after: Option<Duration>) -> (HubError, Again) {
        let options = HubOptions::new("own/model");
        let subject = Subject {
            options: &options,
            endpoint: "https://hub.example",
            revision: "main",
            file: "weights",
        };
        let failure = subject.refused(&Refusal {
            status,
            host: host.to_owned(),
            code: Some("Code".to_owned()),
            message: Some("two\nlines\u{1b}[31m".to_owned()),
            retry_after,
        });
        (failure.error, failure.again)
    }

    #[test]
    fn refusals_are_sorted_by_who_must_act() {
        let hub = "hub.example";
        assert!(matches!(
            refused(401, hub, None),
            (HubError::AccessDenied { .. }, Again::Never)
        ));
        assert!(matches!(
            refused(404, hub, None),
            (HubError::NotFound { .. }, Again::Never)
        ));
        assert!(matches!(
            refused(503, hub, None),
            (HubError::Unreachable { .. }, Again::Soon)
        ));
        assert!(matches!(
            refused(418, hub, None),
            (HubError::Unreachable { .. }, Again::Never)
        ));
        let asked = Duration::from_secs(7);
        let (error, again) = refused(429, hub, Some(asked));
        assert!(matches!(error, HubError::RateLimited { .. }));
        assert_eq!(again, Again::After(asked));
        assert_eq!(refused(429, hub, None).1, Again::Soon);
    }

    #[test]
    fn a_stale_link_to_the_contents_is_no_denial() {
        let (error, again) = refused(403, "cdn.example", None);
        assert!(matches!(error, HubError::Unreachable { .. }), "{error:?}");
        assert_eq!(again, Again::Soon);
    }

    #[test]
    fn the_hubs_words_cannot_move_the_cursor() {
        let text = refused(403, "hub.example", None).0.to_string();
        assert!(
            text.contains("two lines [31m") && !text.contains('\n'),
            "{text}"
        );
        assert!(text.contains("https://hub.example/own/model"), "{text}");
    }
}
