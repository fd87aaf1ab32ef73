//! The keys that open the door: `name:key` or `name:key:scopes`, one a line.
//!
//! Scopes are words with blanks between them:
//!
//! | scope | meaning |
//! |---|---|
//! | `admin` | may also see and end the requests of others |
//! | `model=ID` | may use this model; several may be listed; without any, all |
//! | `rate=60/min` | its own limit instead of the general one |
//!
//! Empty lines and those that begin with `#` say nothing. Of a key only its SHA-256 is kept, and nothing here prints it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;

use super::rate::Rate;

/// One key: its name and what it may do.
#[derive(Debug, Clone)]
pub(super) struct ApiKey {
    pub(super) name: Arc<str>,
    digest: [u8; 32],
    pub(super) is_admin: bool,
    /// `None`: all.
    pub(super) models: Option<Arc<[String]>>,
    pub(super) rate: Option<Rate>,
    /// Fires when the key is gone, or is another's or for something else.
    pub(super) revoked: CancellationToken,
}

/// All keys.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyRing(Vec<ApiKey>);

/// A line that is no key. The line itself is not in it: it holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {entry}: {problem}")]
pub struct BadKey {
    /// Which entry, counted from 1.
    pub entry: usize,
    /// What is wrong with it.
    pub problem: String,
}

impl KeyRing {
    /// Keys of a file, one a line.
    ///
    /// # Errors
    /// The first line that is none.
    pub(super) fn of_lines(text: &str) -> Result<Self, BadKey> {
        Self::of_entries(text.lines())
    }

    /// Keys of an environment variable: with commas or ends of lines between them.
    ///
    /// # Errors
    /// The first entry that is none.
    pub(super) fn of_variable(text: &str) -> Result<Self, BadKey> {
        Self::of_entries(text.split([',', '\n']))
    }

    fn of_entries<'a>(entries: impl Iterator<Item = &'a str>) -> Result<Self, BadKey> {
        let mut keys = Vec::new();
        for (index, entry) in entries.enumerate() {
            let entry = entry.trim();
            if entry.is_empty() || entry.starts_with('#') {
                continue;
            }
            let bad = |problem: String| BadKey {
                entry: index + 1,
                problem,
            };
            if keys.len() == MAX_KEYS {
                return Err(bad(format!("more than {MAX_KEYS} keys")));
            }
            keys.push(ApiKey::parse(entry).map_err(bad)?);
        }
        Self(keys).checked()
    }

    /// These and those.
    ///
    /// # Errors
    /// A name or a key is in both.
    pub(super) fn and(mut self, others: Self) -> Result<Self, BadKey> {
        self.0.extend(others.0);
        self.checked()
    }

    fn checked(self) -> Result<Self, BadKey> {
        let (mut names, mut digests) = (HashSet::new(), HashSet::new());
        for (index, key) in self.0.iter().enumerate() {
            let problem = if !names.insert(&key.name) {
                format!("the name {} is taken by an earlier key", key.name)
            } else if !digests.insert(key.digest) {
                format!("{} has the key of an earlier name", key.name)
            } else {
                continue;
            };
            let entry = index + 1;
            return Err(BadKey { entry, problem });
        }
        Ok(self)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key that was sent. Takes the same time whichever it is, and if it is none.
    pub(super) fn find(&self, sent: &str) -> Option<&ApiKey> {
        let digest: [u8; 32] = Sha256::digest(sent.as_bytes()).into();
        let mut found = None;
        for key in &self.0 {
            if bool::from(key.digest.ct_eq(&digest)) {
                found = Some(key);
            }
        }
        found
    }

    /// These keys in the place of those `before`: whoever still holds one that is not among them is told.
    pub(super) fn in_place_of(mut self, before: &Self) -> Self {
        let places = self.0.iter().enumerate();
        let places: HashMap<_, _> = places.map(|(place, key)| (key.digest, place)).collect();
        for old in &before.0 {
            let same = places.get(&old.digest);
            let same = same.and_then(|place| self.0.get_mut(*place));
            match same.filter(|key| key.opens_the_same(old)) {
                Some(key) => key.revoked = old.revoked.clone(),
                None => old.revoked.cancel(),
            }
        }
        self
    }

    /// The limits that keys have of their own.
    pub(super) fn rates(&self) -> impl Iterator<Item = Rate> {
        self.0.iter().filter_map(|key| key.rate)
    }
}

impl ApiKey {
    fn opens_the_same(&self, other: &Self) -> bool {
        (&self.name, self.is_admin, &self.models) == (&other.name, other.is_admin, &other.models)
    }

    fn parse(entry: &str) -> Result<Self, String> {
        let mut parts = entry.splitn(3, ':');
        let name = parts.next().unwrap_or_default().trim();
        let Some(key) = parts.next().map(str::trim) else {
            return Err("a key is given as name:key".to_owned());
        };
        let is_fit = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(is_fit) {
            return Err(format!(
                "a name has 1 to {MAX_NAME_BYTES} letters, digits, dots, dashes, underscores or @"
            ));
        }
        if key.is_empty() || key.len() > MAX_KEY_BYTES || !key.chars().all(|c| c.is_ascii_graphic())
        {
            return Err(format!(
                "the key of {name} has to have 1 to {MAX_KEY_BYTES} visible ASCII characters"
            ));
        }
        let mut parsed = Self {
            name: name.into(),
            digest: Sha256::digest(key.as_bytes()).into(),
            is_admin: false,
            models: None,
            rate: None,
            revoked: CancellationToken::new(),
        };
        let mut models = Vec::new();
        for scope in parts.next().unwrap_or_default().split_whitespace() {
            match scope.split_once('=') {
                None if scope == "admin" => parsed.is_admin = true,
                Some(("model", model)) if !model.is_empty() => models.push(model.to_owned()),
                Some(("rate", rate)) => {
                    parsed.rate = Some(rate.parse().map_err(|error| format!("{name}: {error}"))?);
                }
                // A word that is none may be a part of the key.
                _ => {
                    return Err(format!(
                        "the scopes of {name} are admin, model=ID and rate=60/min"
                    ));
                }
            }
        }
        if !models.is_empty() {
            parsed.models = Some(models.into());
        }
        Ok(parsed)
    }
}

/// Most keys: each is compared with what was sent, about 20 ns each.
const MAX_KEYS: usize = 10_000;
/// Longest name, in bytes: it stands in every line of the log.
const MAX_NAME_BYTES: usize = 64;
/// Longest key, in bytes; usual ones have under 200.
const MAX_KEY_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_with_their_scopes_and_found_by_what_was_sent() {
        let ring = KeyRing::of_lines(
            "# people\n\nalice:sk-a1\n bob : sk-b2 : admin rate=5/s\ncarol:sk-c3:model=org/name:8b model=other\n",
        )
        .unwrap();
        let alice = ring.find("sk-a1").unwrap();
        assert_eq!((&*alice.name, alice.is_admin), ("alice", false));
        assert!(alice.models.is_none() && alice.rate.is_none());
        let bob = ring.find("sk-b2").unwrap();
        assert_eq!((&*bob.name, bob.is_admin), ("bob", true));
        assert_eq!(bob.rate, Some("5/s".parse().unwrap()));
        let carol = ring.find("sk-c3").unwrap();
        assert_eq!(carol.models.as_deref().unwrap(), ["org/name:8b", "other"]);
        for wrong in ["", "sk-a", "sk-a11", "alice", "SK-A1"] {
            assert!(ring.find(wrong).is_none(), "{wrong}");
        }
        let variable = KeyRing::of_variable("a:one,b:two:admin").unwrap();
        assert!(variable.find("two").unwrap().is_admin);
        assert!(ring.and(variable).unwrap().find("one").is_some());
    }

    #[test]
    fn a_key_that_is_gone_or_for_something_else_is_revoked() {
        let before = KeyRing::of_lines("a:k1\nb:k2\nc:k3:model=x\nd:k4").unwrap();
        let now = KeyRing::of_lines("e:k5\na:k1:rate=5/s\nc:k3:model=y\nd2:k4").unwrap();
        let now = now.in_place_of(&before);
        let is_revoked =
            |ring: &KeyRing, sent: &str| ring.find(sent).unwrap().revoked.is_cancelled();
        let of_before = ["k1", "k2", "k3", "k4"].map(|sent| is_revoked(&before, sent));
        assert_eq!(of_before, [false, true, true, true]);
        assert!(
            ["k1", "k3", "k4", "k5"]
                .iter()
                .all(|sent| !is_revoked(&now, sent))
        );
        // Also after a second reading.
        let last = KeyRing::of_lines("e:k5").unwrap().in_place_of(&now);
        assert!(is_revoked(&before, "k1") && !is_revoked(&last, "k5"));
    }

    #[test]
    fn a_bad_line_is_named_without_its_secret() {
        for (text, problem) in [
            ("ok:k1\nnothing-secret", "name:key"),
            ("ok:k1\n:secret", "a name has"),
            ("ok:k1\nbob:", "the key of bob"),
            ("ok:k1\nbob:with secret", "the key of bob"),
            ("ok:k1\nbob:k2:secret", "the scopes of bob"),
            ("ok:k1\nbob:k2:rate=secret", "bob: a rate"),
            ("ok:k1\nok:secret", "the name ok"),
            ("ok:secret\nbob:secret", "the key of an earlier"),
        ] {
            let error = KeyRing::of_lines(text).unwrap_err();
            assert_eq!(error.entry, 2, "{text}");
            let shown = error.to_string();
            assert!(shown.contains(problem), "{shown}");
            assert!(!shown.contains("secret"), "{shown}");
        }
        let ring = KeyRing::of_lines("bob:very-secret").unwrap();
        assert!(!format!("{ring:?}").contains("very-secret"));
    }
}
