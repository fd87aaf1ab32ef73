//! What to say when a session fails, by who must act.

use block_client::{LocalModelError, RemoteModelError, SessionError};
use block_program::{Exit, Failure, model_failure};

/// What to say when a session cannot be opened or goes wrong. `map` is the command that shows the swarm.
pub(crate) fn session_failure(error: &SessionError, map: &str) -> Failure {
    let more_servers = format!("{map} shows who serves what; start a server for what is missing");
    match error {
        SessionError::NoRoute {
            missing,
            why,
            tried,
        } => {
            let mut failure = Failure::new(Exit::Unavailable, "no route through the swarm");
            failure = failure.cause(why);
            for tried in tried {
                failure = failure.cause(format!("{}: {}", tried.peer, tried.why));
            }
            match missing.first() {
                Some(blocks) => failure.hint(format!(
                    "start a server with --blocks {}:{}; {map} shows who serves what",
                    blocks.start, blocks.end
                )),
                None => failure.hint(more_servers),
            }
        }
        SessionError::RouteLost { why, tried } => {
            let failure = Failure::new(
                Exit::Unavailable,
                "servers were lost and no others could take over",
            );
            tried
                .iter()
                .fold(failure.cause(why), |failure, tried| {
                    failure.cause(format!("{}: {}", tried.peer, tried.why))
                })
                .hint(more_servers)
        }
        SessionError::TooLong { .. } => Failure::usage("the text does not fit in the session")
            .caused_by(error)
            .hint("a larger --max-length, fewer --max-tokens, or a shorter prompt"),
        SessionError::Rejected { .. } => {
            Failure::new(Exit::BadData, "a server refuses this request").caused_by(error).hint(
                "fewer --max-tokens if the session is longer than its servers allow, else another --activation-codec",
            )
        }
        SessionError::Unsupported(_) => {
            Failure::usage("these servers cannot do what was asked").caused_by(error).hint(
                "check --route and --activation-codec, or leave them out",
            )
        }
        SessionError::BadInput(_) => Failure::usage("the request is wrong")
            .caused_by(error)
            .hint("swarm run --help says what each flag accepts"),
        SessionError::Nonsense(_) => Failure::new(Exit::BadData, "the answer makes no sense")
            .caused_by(error)
            .hint("a server or the model's files are damaged: try other servers with --route, or fetch the model again"),
        SessionError::Closed(_) => Failure::new(Exit::Software, "the session has ended before")
            .caused_by(error)
            .hint("run it again"),
    }
}

/// What to say when a model cannot be asked for at its servers.
pub(crate) fn remote_failure(error: &RemoteModelError, model: &str) -> Failure {
    match error {
        RemoteModelError::Local(error) => local_failure(error, model),
        RemoteModelError::NoPrefix { .. } => Failure::usage(error.to_string())
            .hint("name one without dot or space: --dht-prefix my-model-hf"),
        RemoteModelError::Interrupted(_) => {
            Failure::new(Exit::Software, format!("cannot load the model {model}")).caused_by(error)
        }
    }
}

/// What to say when the part of a model that stays at home cannot be used.
pub(crate) fn local_failure(error: &LocalModelError, model: &str) -> Failure {
    match error {
        LocalModelError::Load(error) => model_failure::failure(error, model),
        LocalModelError::Tokenizer { .. } | LocalModelError::Malformed { .. } => {
            Failure::new(Exit::BadData, format!("cannot load the model {model}"))
                .caused_by(error)
                .hint("fetch the file again; a model needs tokenizer.json")
        }
    }
}
