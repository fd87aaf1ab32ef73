//! Whose fault a refusal is, by its text: neither Petals nor its wire has anything else to go by.
//!
//! | text                                                                    | from   | blame    |
//! |-------------------------------------------------------------------------|--------|----------|
//! | `bad request: …`                                                        | ours   | `Caller` |
//! | … of which `start_from_position is …` or `this session_id is in use`    | ours   | `Server` |
//! | `too long: …`                                                           | ours   | `Caller` |
//! | … of which `… this server grants/takes …`; `not supported here: …`       | ours   | `Misfit` |
//! | `this server is busy: …`, `not enough KV cache: …`, `the KV cache ran out: …` | ours | `Busy` |
//! | `Maximum length exceeded`, complaints about shapes, types and metadata  | Petals | `Caller` |
//! | `Cannot allocate KV cache for …`, `Task size greater than …`, adapters   | Petals | `Misfit` |
//! | `Could not allocate … bytes …`                                          | Petals | `Busy`   |
//! | anything else                                                           | both   | `Server` |
//!
//! Ours: `RequestError` of the server. Petals 22afba6: `server/{handler,memory_cache,block_functions,task_pool}.py`; the
//! text is the exception's, in unary calls its `repr`. A server that lies here can only end or lose its own sessions.

/// Who is to blame for a failure at one server, which decides what happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The request itself: no server would take it. No ban, no other try.
    Caller,
    /// The request is over this server's own limits. No ban; another server may take it.
    Misfit,
    /// The server has no room now. It is left out for a moment.
    Busy,
    /// The server, or the way to it. It is banned.
    Server,
}

/// Beginnings of our own texts, the more special ones first.
const OUR_BEGINNINGS: &[(&str, Blame)] = &[
    // The two sides do not agree what the session holds: it must be built anew, somewhere.
    ("bad request: start_from_position is", Blame::Server),
    ("bad request: this session_id is in use", Blame::Server),
    ("bad request: ", Blame::Caller),
    ("not supported here: ", Blame::Misfit),
    ("this server is busy: ", Blame::Busy),
    ("not enough KV cache: ", Blame::Busy),
    ("the KV cache ran out: ", Blame::Busy),
];

/// In our `too long: …` where the limit is that server's and not the session's own.
const OWN_LIMITS: [&str; 2] = ["this server grants", "this server takes"];

/// Pieces of Petals' texts.
const PETALS_PIECES: &[(&str, Blame)] = &[
    ("Cannot allocate KV cache for", Blame::Misfit),
    ("Task size greater than max_batch_size", Blame::Misfit),
    ("Could not allocate", Blame::Busy),
    ("Maximum length exceeded", Blame::Caller),
    ("rpc_inference metadata must contain", Blame::Caller),
    ("should have number of points", Blame::Caller),
    ("User must specify at least one block", Blame::Caller),
    ("User did not provide any uids", Blame::Caller),
    ("Block uids differ in one request", Blame::Caller),
    ("hidden_states must be a 3d tensor", Blame::Caller),
    ("hidden states must be a single 3d tensor", Blame::Caller),
    ("must be a single 3d tensor of hidden states", Blame::Caller),
    ("output_compression must", Blame::Caller),
    ("output_compression tuple should", Blame::Caller),
    ("hypo ids must be int64", Blame::Caller),
    (" prompts for ", Blame::Caller),
];

/// Longest part of a text that is looked at, bytes.
const MAX_READ: usize = 1024;

pub(super) fn blame(text: &str) -> Blame {
    let text = &text[..text.floor_char_boundary(MAX_READ)];
    let ours = OUR_BEGINNINGS
        .iter()
        .find(|(beginning, _)| text.starts_with(beginning));
    if let Some((_, blame)) = ours {
        return *blame;
    }
    if text.starts_with("too long: ") {
        let is_own = OWN_LIMITS.iter().any(|limit| text.contains(limit));
        return if is_own { Blame::Misfit } else { Blame::Caller };
    }
    let is_missing_adapter = text.contains("adapter ") && text.contains(" not found");
    if is_missing_adapter {
        return Blame::Misfit;
    }
    let petals = PETALS_PIECES.iter().find(|(piece, _)| text.contains(piece));
    petals.map_or(Blame::Server, |(_, blame)| *blame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_texts_say_whose_fault_it_is() {
        for (text, expected) in [
            (
                "bad request: hidden states must have the shape [batch, seq, 64], got [1, 2]",
                Blame::Caller,
            ),
            (
                "bad request: start_from_position is 9, but only 4 tokens are in the cache",
                Blame::Server,
            ),
            (
                "too long: 60 tokens are in the cache and 9 new ones came, but the session was opened with max_length 64",
                Blame::Caller,
            ),
            (
                "too long: max_length 9000 was asked for, this server grants 8192",
                Blame::Misfit,
            ),
            (
                "too long: a step of 9000 tokens (batch x length) came, this server takes 8192 at once",
                Blame::Misfit,
            ),
            (
                "not supported here: adapter \"x\" is not loaded here",
                Blame::Misfit,
            ),
            (
                "this server is busy: all its sessions are taken (limit 8); try another server or try again later",
                Blame::Busy,
            ),
            (
                "not enough KV cache: 5 tokens (batch x max_length x blocks) are needed and 1 of 4 are free; ask",
                Blame::Busy,
            ),
            (
                "the KV cache ran out: this session has grown and is the youngest that does, so it ends; continue",
                Blame::Busy,
            ),
            (
                "this server is shutting down; continue on another server",
                Blame::Server,
            ),
            (
                "this server serves blocks 0:4 of \"m\", block 5 was asked for",
                Blame::Server,
            ),
            (
                "this server failed to compute the answer; try another server",
                Blame::Server,
            ),
            ("time limit passed: a session may take 1800s", Blame::Server),
        ] {
            assert_eq!(blame(text), expected, "{text}");
        }
    }

    #[test]
    fn petals_texts_are_known_in_both_forms() {
        for (text, expected) in [
            (
                "Maximum length exceeded: prefix 60 + current 9 exceeds pre-allocated maximum 64",
                Blame::Caller,
            ),
            (
                "AssertionError('hidden_states must be a 3d tensor')",
                Blame::Caller,
            ),
            (
                "Cannot allocate KV cache for 9000 tokens, max = 2048",
                Blame::Misfit,
            ),
            (
                "ValueError(\"Task size greater than max_batch_size (2048), it can't be processed\")",
                Blame::Misfit,
            ),
            (
                "Could not allocate 1048576 bytes immediately: out of memory",
                Blame::Busy,
            ),
            ("'adapter x not found'", Blame::Misfit),
            ("Remote peer does not serve m.3", Blame::Server),
            ("CUDA out of memory", Blame::Server),
            ("", Blame::Server),
            ("AssertionError()", Blame::Server),
        ] {
            assert_eq!(blame(text), expected, "{text}");
        }
    }

    #[test]
    fn endless_texts_are_cut_at_a_character() {
        assert_eq!(blame(&"é".repeat(100_000)), Blame::Server);
    }
}
