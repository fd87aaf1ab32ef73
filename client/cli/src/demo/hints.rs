//! What to try with `swarm demo --page`, as commands that work as they are printed.

use std::net::SocketAddr;
use std::path::Path;

use block_program::amounts::shell_word;

use super::server_process::{ServerProcess, Stage};
use super::{MODEL_NAME, SPARE};

/// Where the story model is in a clone of the repository, which another machine has to have.
pub(super) const MODEL_IN_CLONE: &str = "models/fable-7m";
/// Where cargo puts the server program in one.
const PROGRAM_IN_CLONE: &str = "target/release/block-server";

/// What to open and what to try.
pub(super) fn text(address: SocketAddr, stage: &Stage, servers: &[ServerProcess]) -> String {
    let url = format!("http://{address}");
    let lost = servers.get(SPARE).map_or(0, |server| server.pid);
    let way_in = servers.first().map_or("", |server| server.address.as_str());
    let add = add_a_server(stage, way_in);
    format!(
        "
Chat page: {url}/

Try, from another terminal:
- Lose a server while the page writes. The text goes on through others, and the Swarm tab shows who:
    kill -9 {lost}
- Ask from a program:
    curl {url}/v1/chat/completions -H 'content-type: application/json' \\
      -d '{{\"model\": \"{MODEL_NAME}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Once upon a time\"}}]}}'
- With OpenAI's client (pip install openai):
    python3 -c \"import openai; print(openai.OpenAI(base_url='{url}/v1', api_key='none').completions.create(model='{MODEL_NAME}', prompt='Once upon a time').choices[0].text)\"
{add}
The servers wait a little at each step, as those of a larger model would take. Ctrl-C ends everything."
    )
}

/// How to bring a server of another machine in, or why not, and one of this machine.
fn add_a_server(stage: &Stage, way_in: &str) -> String {
    if stage.is_shared {
        return format!(
            "- Add another machine, in its own clone of this repository after cargo build --release:
    {PROGRAM_IN_CLONE} --model {MODEL_IN_CLONE} --initial-peers {way_in}"
        );
    }
    format!(
        "- Add a server of this machine:
    {} --model {} --no-config-files --port 0 --admin-listen off --identity {} --initial-peers {way_in}
  Other machines cannot reach these servers: swarm demo --page --share prints the command for them.",
        word(near(&stage.program)),
        word(&stage.model),
        word(&stage.folder.path().join("one-more.key"))
    )
}

/// For a shell.
fn word(path: &Path) -> String {
    shell_word(&path.display().to_string())
}

/// As it is called from the current folder.
fn near(program: &Path) -> &Path {
    let here = std::env::current_dir().unwrap_or_default();
    match program.strip_prefix(&here) {
        // A bare name would be looked for elsewhere.
        Ok(near) if near.components().count() > 1 => near,
        _ => program,
    }
}
