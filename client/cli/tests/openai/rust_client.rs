//! `async-openai`, the client that Rust programs use, unmodified.

use std::future::Future;
use std::time::{Duration, Instant};

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::{ApiErrorResponse, OpenAIError};
use async_openai::types::chat::{
    ChatCompletionRequestUserMessage, ChatCompletionStreamOptions, CompletionFinishReason,
    CreateChatCompletionRequest, CreateChatCompletionRequestArgs, FinishReason, Prompt,
    StopConfiguration,
};
use async_openai::types::completions::{CreateCompletionRequest, CreateCompletionRequestArgs};
use futures::StreamExt;
use tokio::runtime::Runtime;

use crate::Servers;

const MODEL: &str = "fable-7m";
const STORY: &str = "Once upon a time, there was a little fox.";
const BEGINNING: &str = "Once upon a time";

fn client(url: &str, key: &str) -> Client<OpenAIConfig> {
    let base = format!("{url}/v1");
    let config = OpenAIConfig::new().with_api_base(base).with_api_key(key);
    Client::with_config(config)
}

fn chat() -> CreateChatCompletionRequestArgs {
    let mut request = CreateChatCompletionRequestArgs::default();
    request
        .model(MODEL)
        .messages([ChatCompletionRequestUserMessage::from(STORY).into()])
        .max_tokens(24_u32)
        .temperature(0.0);
    request
}

fn text() -> CreateCompletionRequestArgs {
    let mut request = CreateCompletionRequestArgs::default();
    request
        .model(MODEL)
        .prompt(BEGINNING)
        .max_tokens(24_u32)
        .temperature(0.0);
    request
}

/// What each choice of a chat says.
async fn said(
    client: &Client<OpenAIConfig>,
    request: &mut CreateChatCompletionRequestArgs,
) -> Vec<String> {
    let answer = client.chat().create(request.build().unwrap()).await;
    let choices = answer.unwrap().choices.into_iter();
    choices
        .map(|choice| choice.message.content.unwrap())
        .collect()
}

/// The same of a stream, in which the pieces of all choices come as they come.
async fn streamed(
    client: &Client<OpenAIConfig>,
    request: CreateChatCompletionRequest,
) -> (Vec<String>, Vec<FinishReason>) {
    let mut texts = vec![String::new(); usize::from(request.n.unwrap_or(1))];
    let mut ends = Vec::new();
    let mut chunks = client.chat().create_stream(request).await.unwrap();
    while let Some(chunk) = chunks.next().await {
        for choice in chunk.unwrap().choices {
            texts[choice.index as usize] += choice.delta.content.as_deref().unwrap_or_default();
            ends.extend(choice.finish_reason);
        }
    }
    (texts, ends)
}

async fn refused<T: std::fmt::Debug>(
    call: impl Future<Output = Result<T, OpenAIError>>,
    status: u16,
    code: &str,
    param: Option<&str>,
) {
    let error = call.await.unwrap_err();
    let OpenAIError::ApiError(ApiErrorResponse {
        status_code,
        api_error,
    }) = error
    else {
        unreachable!("an error object was expected, not {error:?}");
    };
    assert_eq!(
        (
            status_code.as_u16(),
            api_error.code.as_deref(),
            api_error.param.as_deref()
        ),
        (status, Some(code), param),
        "{api_error}"
    );
}

#[test]
fn the_rust_client_is_answered_and_refused_as_by_openai() {
    let servers = Servers::start("openai-rust", &["0:4", "4:8"]);
    let (_gateway, url) = servers.gateway("openai-rust", &[]);
    Runtime::new().unwrap().block_on(async {
        let client = client(&url, "sk-user");
        models_are_listed_and_retrieved(&client).await;
        chats_come_whole_and_as_a_stream(&client).await;
        several_choices_and_seeds(&client).await;
        stop_strings_and_logarithms(&client).await;
        texts_are_completed(&client).await;
        errors_have_their_status(&client, &url).await;
        an_aborted_stream_ends(&client, &url).await;
    });
}

async fn models_are_listed_and_retrieved(client: &Client<OpenAIConfig>) {
    let models = client.models().list().await.unwrap();
    assert!(models.data.iter().any(|model| model.id == MODEL));
    let model = client.models().retrieve(MODEL).await.unwrap();
    assert_eq!((model.id.as_str(), model.object.as_str()), (MODEL, "model"));
}

async fn chats_come_whole_and_as_a_stream(client: &Client<OpenAIConfig>) {
    let answer = client.chat().create(chat().build().unwrap()).await.unwrap();
    assert!(answer.id.starts_with("chatcmpl-") && answer.model == MODEL);
    let [choice] = answer.choices.as_slice() else {
        unreachable!("one choice was asked for: {answer:?}");
    };
    assert_eq!(choice.finish_reason, Some(FinishReason::Length));
    let usage = answer.usage.as_ref().unwrap();
    assert_eq!(usage.completion_tokens, 24);
    assert_eq!(usage.total_tokens, usage.prompt_tokens + 24);

    let whole = choice.message.content.clone().unwrap();
    let request = chat().build().unwrap();
    let (texts, ends) = streamed(client, request).await;
    assert_eq!((texts, ends), (vec![whole], vec![FinishReason::Length]));

    let options = ChatCompletionStreamOptions {
        include_usage: Some(true),
        ..ChatCompletionStreamOptions::default()
    };
    let request = chat().stream_options(options).build().unwrap();
    let chunks = client.chat().create_stream(request).await.unwrap();
    let last = chunks.collect::<Vec<_>>().await.pop().unwrap().unwrap();
    let usage = last.usage.unwrap();
    assert_eq!(usage.completion_tokens, 24);
    // The very question was answered twice before, but is too short for its session to be worth a search.
    let details = usage.prompt_tokens_details.unwrap();
    assert_eq!(details.cached_tokens, Some(0));
}

async fn several_choices_and_seeds(client: &Client<OpenAIConfig>) {
    let mut request = chat();
    request
        .n(3_u8)
        .temperature(1.0)
        .seed(7_i64)
        .max_tokens(12_u32);
    let plain = said(client, &mut request).await;
    assert!(plain.len() == 3 && plain.iter().any(|text| *text != plain[0]));
    assert_eq!(streamed(client, request.build().unwrap()).await.0, plain);
    let mut once = Vec::new();
    for seed in [11_i64, 11, 12] {
        once.push(said(client, chat().temperature(1.0).seed(seed)).await);
    }
    assert!(once[0] == once[1] && once[1] != once[2], "{once:?}");
}

async fn stop_strings_and_logarithms(client: &Client<OpenAIConfig>) {
    let whole = said(client, &mut chat()).await.remove(0);
    // From the middle of one word into the next.
    let start = whole.floor_char_boundary(whole.len() / 2);
    let stop = &whole[start..whole.floor_char_boundary(start + 9)];
    let before = &whole[..whole.find(stop).unwrap()];
    let stops = StopConfiguration::StringArray(vec![stop.to_owned(), "never said".to_owned()]);
    let request = chat().stop(stops).build().unwrap();
    let (texts, ends) = streamed(client, request).await;
    assert_eq!(
        (texts[0].as_str(), ends),
        (before, vec![FinishReason::Stop])
    );

    let request = chat()
        .logprobs(true)
        .top_logprobs(3_u8)
        .max_tokens(8_u32)
        .build();
    let answer = client.chat().create(request.unwrap()).await.unwrap();
    let tokens = answer.choices[0].logprobs.clone().unwrap().content.unwrap();
    assert_eq!(tokens.len(), 8);
    for token in &tokens {
        assert!(token.logprob <= 0.0 && token.top_logprobs.len() == 3);
        // Greedy: the chosen token is the likeliest.
        assert_eq!(token.top_logprobs[0].token, token.token);
    }
}

async fn texts_are_completed(client: &Client<OpenAIConfig>) {
    let complete = |request: CreateCompletionRequest| async move {
        client.completions().create(request).await
    };
    let one = complete(text().build().unwrap()).await.unwrap();
    let [choice] = one.choices.as_slice() else {
        unreachable!("one choice was asked for: {one:?}");
    };
    assert_eq!(choice.finish_reason, Some(CompletionFinishReason::Length));
    let prompts = Prompt::StringArray(vec![BEGINNING.to_owned(), "The end".to_owned()]);
    let many = text().prompt(prompts).logprobs(2_u8).echo(true).build();
    let many = complete(many.unwrap()).await.unwrap();
    assert_eq!(many.choices[0].text, format!("{BEGINNING}{}", choice.text));
    let logprobs = many.choices[1].logprobs.as_ref().unwrap();
    assert_eq!(logprobs.tokens.len(), logprobs.token_logprobs.len());
    assert_eq!(logprobs.token_logprobs[0], None, "nothing comes before it");

    let request = text().build().unwrap();
    let mut chunks = client.completions().create_stream(request).await.unwrap();
    let mut streamed = String::new();
    while let Some(chunk) = chunks.next().await {
        streamed.extend(chunk.unwrap().choices.into_iter().map(|choice| choice.text));
    }
    assert_eq!(streamed, choice.text);
}

async fn errors_have_their_status(user: &Client<OpenAIConfig>, url: &str) {
    let ask = |client: Client<OpenAIConfig>, request: &mut CreateChatCompletionRequestArgs| {
        let request = request.build().unwrap();
        async move { client.chat().create(request).await }
    };
    let user = || user.clone();
    let wrong = client(url, "sk-wrong");
    refused(ask(wrong, &mut chat()), 401, "invalid_api_key", None).await;
    let narrow = client(url, "sk-narrow");
    let model = Some("model");
    refused(ask(narrow, &mut chat()), 403, "model_not_allowed", model).await;
    let nobody = ask(user(), chat().model("nobody/nothing"));
    refused(nobody, 404, "model_not_found", model).await;
    let missing = user();
    let missing = async move { missing.models().retrieve("nobody/nothing").await };
    refused(missing, 404, "model_not_found", model).await;
    for (request, param) in [
        (chat().temperature(3.0), "temperature"),
        (chat().n(5_u8), "n"),
        (chat().messages([]), "messages"),
    ] {
        refused(ask(user(), request), 400, "invalid_value", Some(param)).await;
    }
    let long = ChatCompletionRequestUserMessage::from("word ".repeat(5000));
    let long = ask(user(), chat().messages([long.into()]));
    refused(long, 400, "context_length_exceeded", Some("messages")).await;
}

async fn an_aborted_stream_ends(client: &Client<OpenAIConfig>, url: &str) {
    let request = chat().max_tokens(400_u32).build().unwrap();
    let mut chunks = client.chat().create_stream(request).await.unwrap();
    for _ in 0..3 {
        chunks.next().await.unwrap().unwrap();
    }
    drop(chunks);
    let dropped = Instant::now();
    loop {
        let sessions = reqwest::Client::new()
            .get(format!("{url}/v1/sessions"))
            .bearer_auth("sk-admin");
        let running: serde_json::Value = sessions.send().await.unwrap().json().await.unwrap();
        if running["data"].as_array().unwrap().is_empty() {
            break;
        }
        assert!(dropped.elapsed() < Duration::from_secs(1), "{running}");
    }
    // The gateway goes on.
    assert!(!said(client, &mut chat()).await.is_empty());
}
