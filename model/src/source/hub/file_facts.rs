//! What the hub says of a file before any of it is fetched.

use std::fmt;

use reqwest::header::{CONTENT_LENGTH, ETAG, HeaderMap, HeaderName};

use super::super::hub_options::is_plain;

/// A file's contents by their name in the cache, and their size.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BlobName {
    /// The checksum of the contents where the hub has one (see `checksum`); always a plain file name.
    pub(super) etag: String,
    /// Bytes.
    pub(super) size: u64,
}

/// The hub's answer about a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FileFacts {
    /// Its contents.
    pub(super) blob: BlobName,
    /// The commit that the revision stands for.
    pub(super) commit: String,
    /// Whether the contents lie in the hub's store of shared chunks.
    pub(super) is_chunked: bool,
}

impl FileFacts {
    /// Reads the headers of the hub's own answer, not those of the host that it redirects to.
    ///
    /// # Errors
    /// What is missing from the answer, or wrong in it.
    pub(super) fn parse(headers: &HeaderMap) -> Result<Self, String> {
        let text = |names: [HeaderName; 2]| {
            let value = names.iter().find_map(|name| headers.get(name))?;
            value.to_str().ok().map(str::to_owned)
        };
        let plain = |name: &str, value: Option<String>| match value {
            Some(value) if is_plain(&value) => Ok(value),
            Some(value) => Err(format!("the hub's answer has {value:?} for {name}")),
            None => Err(format!("the hub's answer has no {name}")),
        };
        let etag = text([LINKED_ETAG, ETAG]).map(|etag| {
            let strong = etag.strip_prefix("W/").unwrap_or(&etag);
            strong.trim_matches('"').to_owned()
        });
        let size = text([LINKED_SIZE, CONTENT_LENGTH]).and_then(|size| size.parse().ok());
        Ok(Self {
            blob: BlobName {
                etag: plain("etag", etag)?,
                size: size.ok_or("the hub's answer has no size of the file")?,
            },
            commit: plain("x-repo-commit", text([COMMIT, COMMIT]))?,
            is_chunked: headers.contains_key(CHUNKED_HASH),
        })
    }
}

impl BlobName {
    /// Reads what [`fmt::Display`] wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (etag, size) = text.strip_suffix('\n')?.split_once(' ')?;
        let etag = is_plain(etag).then(|| etag.to_owned())?;
        Some(Self {
            etag,
            size: size.parse().ok()?,
        })
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} {}", self.etag, self.size)
    }
}

const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");
const COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");
const CHUNKED_HASH: HeaderName = HeaderName::from_static("x-xet-hash");

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

    use super::{BlobName, FileFacts};

    fn parse(headers: &[(&'static str, &'static str)]) -> Result<FileFacts, String> {
        let pairs = headers.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        FileFacts::parse(&pairs.collect::<HeaderMap>())
    }

    #[test]
    fn a_redirect_speaks_for_the_file_and_not_for_its_own_text() {
        let facts = parse(&[
            ("etag", "\"of-the-redirect\""),
            ("content-length", "1300"),
            ("x-linked-etag", "\"0a1b\""),
            ("x-linked-size", "5000000000"),
            ("x-repo-commit", "c0ffee"),
            ("x-xet-hash", "77"),
        ]);
        let blob = BlobName {
            etag: "0a1b".to_owned(),
            size: 5_000_000_000,
        };
        assert_eq!(BlobName::parse(&blob.to_string()), Some(blob.clone()));
        let commit = "c0ffee".to_owned();
        let expected = FileFacts {
            blob,
            commit,
            is_chunked: true,
        };
        assert_eq!(facts, Ok(expected));
        let small = parse(&[
            ("etag", "W/\"1c\""),
            ("content-length", "7"),
            ("x-repo-commit", "c0ffee"),
        ]);
        assert_eq!(small.unwrap().blob.to_string(), "1c 7\n");
    }

    #[test]
    fn what_is_missing_or_leads_elsewhere_is_named() {
        for (headers, named) in [
            (
                &[("etag", "\"1\""), ("content-length", "1")][..],
                "x-repo-commit",
            ),
            (&[("etag", "\"1\""), ("x-repo-commit", "1")], "size"),
            (&[("content-length", "1"), ("x-repo-commit", "1")], "etag"),
            (
                &[
                    ("etag", "\"../../1\""),
                    ("content-length", "1"),
                    ("x-repo-commit", "1"),
                ],
                "etag",
            ),
            (
                &[
                    ("etag", "1"),
                    ("content-length", "1"),
                    ("x-repo-commit", "../1"),
                ],
                "x-repo-commit",
            ),
        ] {
            let reason = parse(headers).unwrap_err();
            assert!(reason.contains(named), "{reason}");
        }
        assert_eq!(BlobName::parse("1c 7"), None);
        assert_eq!(BlobName::parse("1c\n"), None);
    }
}
