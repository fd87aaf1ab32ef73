//! Command lines written for Petals' `run_server`: flags that mean nothing here, and flags that are refused because
//! ignoring them would mislead. Its other spellings are aliases in `flags`.

use block_program::settings::foreign::Foreign;

/// Source: `petals/cli/run_server.py` of petals 2.2.0.post1 and of its main branch.
pub(super) const FOREIGN: &[Foreign] = &[
    Foreign::ignored("num-handlers", 1, "one process serves all requests"),
    Foreign::ignored("prefetch-batches", 1, "batches are always prepared ahead"),
    Foreign::ignored("sender-threads", 1, "replies are always sent in parallel"),
    Foreign::ignored("increase-file-limit", 1, "the file limit is always raised"),
    Foreign::ignored("stats-report-interval", 1, "see /metrics on the admin port"),
    Foreign::ignored("daemon-startup-timeout", 1, "there is no daemon"),
    Foreign::ignored("min-batch-size", 1, "it has no effect in Petals either"),
    Foreign::ignored(
        "max-chunk-size-bytes",
        1,
        "prompts are cut by the scheduler",
    ),
    Foreign::ignored("no-auto-relay", 0, "relays are not used in this version"),
    Foreign::ignored("no-relay", 0, "relays are not used in this version"),
    Foreign::ignored("use-auth-token", 0, "a saved hub token is always used"),
    Foreign::refused(
        "custom-module-path",
        "code from files is never loaded; leave the flag out",
    ),
    Foreign::refused(
        "tensor-parallel-devices",
        "start one server per device with its own --blocks",
    ),
    Foreign::refused(
        "adapters",
        "adapters are not in this version; leave the flag out",
    ),
    Foreign::refused(
        "max-disk-space",
        "the hub cache is not trimmed in this version; --blocks decides how much is downloaded",
    ),
];
