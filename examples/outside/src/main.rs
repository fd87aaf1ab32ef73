//! Continues a text with a model whose blocks are in a swarm:
//!
//! ```sh
//! cargo run --release -- MODEL_FOLDER ADDRESS_OF_A_SERVER "Once upon a time"
//! ```

use std::error::Error;
use std::io::Write;

use block_client::{
    GenerateConfig, ModelOptions, ModelSource, SessionConfig, Swarm, SwarmConfig,
};

/// Tokens of the answer, and of prompt and answer together.
const MAX_TOKENS: usize = 64;
const MAX_LENGTH: usize = 256;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, address, prompt] = arguments.as_slice() else {
        return Err("usage: outside MODEL_FOLDER ADDRESS PROMPT".into());
    };
    // One for the whole program: sessions share its connections and what it knows of the servers.
    let swarm = Swarm::join(SwarmConfig::new(vec![address.parse()?])).await?;
    let source = ModelSource::directory(folder)?;
    let model = swarm.load(source, ModelOptions::default()).await?;

    let mut session = model.session(SessionConfig::new(MAX_LENGTH)).await?;
    let mut answer = session.generate(prompt.as_str(), GenerateConfig::new(MAX_TOKENS))?;
    print!("{prompt}");
    while let Some(token) = answer.next().await {
        print!("{}", token?.text);
        std::io::stdout().flush()?;
    }
    println!();
    session.close().await;
    swarm.shutdown().await;
    Ok(())
}
