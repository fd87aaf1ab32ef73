//! One cell of the matrix.

use std::fmt::{self, Display, Formatter};

/// What happens to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL: its connections break.
    Kill,
    /// SIGSTOP: its connections stay open and it answers nothing.
    Stop,
}

/// The hop that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    First,
    Middle,
    Last,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) fault: Fault,
    pub(crate) place: Place,
    /// New tokens that every generation has when it happens.
    pub(crate) token: usize,
    /// Generations at once.
    pub(crate) sessions: usize,
    pub(crate) codec: &'static str,
    /// Of the servers, as their flag spells it.
    pub(crate) dtype: &'static str,
    pub(crate) push: bool,
}

const FAULTS: [Fault; 2] = [Fault::Kill, Fault::Stop];
const PLACES: [Place; 3] = [Place::First, Place::Middle, Place::Last];
const TOKENS: [usize; 3] = [1, 64, 400];
const SESSIONS: [usize; 2] = [1, 8];
const CODECS: [&str; 2] = ["none", "auto"];
pub(crate) const DTYPES: [&str; 2] = ["f32", "auto"];
const PUSH: [bool; 2] = [true, false];

/// Every cell of one server dtype.
pub(crate) fn all(dtype: &'static str) -> Vec<Case> {
    let mut cases = Vec::new();
    for sessions in SESSIONS {
        for fault in FAULTS {
            for place in PLACES {
                for token in TOKENS {
                    for codec in CODECS {
                        cases.extend(PUSH.map(|push| Case {
                            fault,
                            place,
                            token,
                            sessions,
                            codec,
                            dtype,
                            push,
                        }));
                    }
                }
            }
        }
    }
    cases
}

/// A part of them in which every fault meets every place and every token, and each of these both ways of the rest.
pub(crate) fn slice(dtype: &'static str) -> Vec<Case> {
    let is_f32 = dtype == DTYPES[0];
    let mut cases = Vec::new();
    for (f, fault) in FAULTS.into_iter().enumerate() {
        for (p, place) in PLACES.into_iter().enumerate() {
            for (t, token) in TOKENS.into_iter().enumerate() {
                // A Latin square: the two dtypes share the nine pairs of place and token between them.
                if ((f + p + t) % 2 == 0) != is_f32 {
                    continue;
                }
                cases.push(Case {
                    fault,
                    place,
                    token,
                    sessions: if p == t { 8 } else { 1 },
                    codec: CODECS[(p + usize::from(is_f32)) % 2],
                    dtype,
                    push: PUSH[(f + t) % 2],
                });
            }
        }
    }
    cases
}

impl Place {
    /// Its index in a chain of three hops.
    pub(crate) fn hop(self) -> usize {
        match self {
            Self::First => 0,
            Self::Middle => 1,
            Self::Last => 2,
        }
    }
}

impl Display for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let push = if self.push { "push" } else { "relay" };
        write!(
            f,
            "{:?} {:?} at token {}, {} at once, codec {}, dtype {}, {push}",
            self.fault, self.place, self.token, self.sessions, self.codec, self.dtype
        )
    }
}
