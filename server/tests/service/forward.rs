//! Whole sequences: one message, parts, codecs, prompts; and backward, which is not there yet.

use block_client::request::Forward;
use block_protocol::compression::encode_f32;
use block_protocol::{Compression, DType, ExpertRequest, Rpc, StepMetadata};
use block_server::ServiceConfig;

use crate::support::*;

#[tokio::test]
async fn one_message_and_parts_give_the_same() {
    let server = Server::start(0..4).await;
    let client = client(&[&server]).await;
    let input = States::wave(3, 20, 40);
    let whole = expected(1..4, &input);
    let unary = forward(1..4, input.wire())
        .run(&client, server.peer(), PATIENCE)
        .await
        .unwrap();
    States::of(&unary).assert_near(&whole);
    let parts = forward(1..4, input.wire())
        .run_in_parts(&client, server.peer(), PATIENCE)
        .await;
    assert_eq!(States::of(&parts.unwrap()), States::of(&unary));
}

#[tokio::test]
async fn parts_of_any_size_are_joined() {
    let server = Server::start(0..4).await;
    let client = client(&[&server]).await;
    let input = States::wave(1, 20, 41);
    let name = Rpc::ForwardStream.name();
    let mut stream = client.open(server.peer(), name, PATIENCE).await.unwrap();
    for part in block_protocol::parts::split(input.wire(), 700) {
        let message = ExpertRequest {
            uid: chain(0..4).to_string(),
            tensors: vec![part],
            ..ExpertRequest::default()
        };
        stream.send(message.encode().unwrap()).await.unwrap();
    }
    stream.end_input().await.unwrap();
    let body = stream.recv_within(PATIENCE).await.unwrap().unwrap();
    let answer = block_protocol::ExpertResponse::decode(body).unwrap();
    States::of(&answer.tensors[0]).assert_near(&expected(0..4, &input));
    assert_eq!(stream.recv_within(PATIENCE).await, Ok(None));
}

#[tokio::test]
async fn prompts_codecs_and_empty_sequences() {
    let server = Server::start(0..4).await;
    let client = client(&[&server]).await;
    let input = States::wave(2, 9, 42);
    let shape = [4, 2, 3, HIDDEN];
    let values = States::wave(8, 3, 43).values;
    let whole = expected_with(0..4, &input, Some((&values, shape)));
    let request = Forward {
        prompts: Some(encode_f32(&values, &shape, DType::F32, Compression::None).unwrap()),
        output_compression: Some(Compression::MeanStd16),
        ..forward(0..4, input.packed(DType::BF16, Compression::None))
    };
    let answer = request.run(&client, server.peer(), PATIENCE).await.unwrap();
    assert_eq!(answer.compression, Compression::MeanStd16);
    States::of(&answer).assert_within(&whole, 5e-2);
    let nothing = forward(0..4, States::wave(2, 0, 0).wire());
    let answer = nothing.run(&client, server.peer(), PATIENCE).await.unwrap();
    assert_eq!(answer.shape, [2, 0, HIDDEN]);
}

#[tokio::test]
async fn an_answer_too_large_for_one_message_says_where_to_go() {
    let config = ServiceConfig {
        max_batch_tokens: 20_000,
        ..config()
    };
    let server = Server::with(Box::new(span(0..1)), config).await;
    let client = client(&[&server]).await;
    let input = States::wave(1700, 10, 44);
    let request = || Forward {
        output_compression: Some(Compression::None),
        ..forward(0..1, input.packed(DType::F32, Compression::Uniform8))
    };
    // The reference decides by the uncompressed size; this caller is stubborn.
    let body = ExpertRequest {
        uid: chain(0..1).to_string(),
        tensors: vec![request().hidden_states],
        ..ExpertRequest::default()
    };
    let call = client.call(
        server.peer(),
        Rpc::Forward.name(),
        body.encode().unwrap(),
        PATIENCE,
    );
    let refused = call.await.map_err(block_client::HopError::from);
    assert!(refusal(refused).contains("rpc_forward_stream"));
    let parts = request()
        .run(&client, server.peer(), PATIENCE)
        .await
        .unwrap();
    assert_eq!(parts.shape, [1700, 10, HIDDEN]);
}

#[tokio::test]
async fn bad_requests_are_explained() {
    let server = Server::start(0..4).await;
    let client = client(&[&server]).await;
    let small = States::wave(1, 2, 0).wire();
    let mut outside = forward(0..4, small.clone());
    outside.chain = chain(3..6);
    let many = forward(0..4, States::wave(5, 205, 0).wire());
    let values = [0.5; 64];
    let narrow = encode_f32(&values, &[2, 1, 32], DType::F32, Compression::None).unwrap();
    let narrow = forward(0..4, narrow);
    for (request, words) in [
        (outside, "block 4 was asked for"),
        (
            many,
            "1025 tokens (batch x length) in one request, this server takes 1024",
        ),
        (narrow, "[batch, seq, 64]"),
    ] {
        let unary = request.clone().run(&client, server.peer(), PATIENCE).await;
        assert!(refusal(unary).contains(words));
        let parts = request.run_in_parts(&client, server.peer(), PATIENCE).await;
        assert!(refusal(parts).contains(words));
    }
}

#[tokio::test]
async fn bad_streams_are_explained() {
    let server = Server::start(0..4).await;
    let client = client(&[&server]).await;
    let message = |uid: &str, tensors| ExpertRequest {
        uid: uid.to_owned(),
        tensors,
        ..ExpertRequest::default()
    };
    let parts = block_protocol::parts::split(States::wave(1, 20, 0).wire(), 1000);
    let cases = [
        (
            vec![message("tiny-llama-hf.0", vec![parts[1].clone()])],
            "continues no tensor",
        ),
        (
            vec![
                message("tiny-llama-hf.0", vec![parts[0].clone()]),
                message("tiny-llama-hf.1", vec![parts[1].clone()]),
            ],
            "different blocks",
        ),
        (
            vec![message("tiny-llama-hf.0", vec![parts[0].clone()])],
            "bad request",
        ),
        (vec![message("tiny-llama-hf.0", vec![])], "missing"),
        (vec![], "ended before"),
    ];
    for (messages, words) in cases {
        let name = Rpc::ForwardStream.name();
        let mut stream = client.open(server.peer(), name, PATIENCE).await.unwrap();
        for message in messages {
            stream.send(message.encode().unwrap()).await.unwrap();
        }
        stream.end_input().await.unwrap();
        let outcome = stream
            .recv_within(PATIENCE)
            .await
            .map_err(block_client::HopError::from);
        let text = refusal(outcome);
        assert!(text.contains(words), "{text:?} does not say {words:?}");
    }
}

#[tokio::test]
async fn backward_says_that_it_is_not_built() {
    let server = Server::start(0..4).await;
    let client = client(&[&server]).await;
    let input = States::wave(1, 2, 0).wire();
    let request = ExpertRequest {
        uid: chain(0..4).to_string(),
        tensors: vec![input.clone(), input],
        metadata: StepMetadata::default().encode().into(),
    };
    let body = request.encode().unwrap();
    let unary = client
        .call(server.peer(), Rpc::Backward.name(), body.clone(), PATIENCE)
        .await;
    assert!(refusal(unary.map_err(block_client::HopError::from)).contains("not built"));
    let name = Rpc::BackwardStream.name();
    let mut stream = client.open(server.peer(), name, PATIENCE).await.unwrap();
    stream.send(body).await.unwrap();
    let parts = stream
        .recv_within(PATIENCE)
        .await
        .map_err(block_client::HopError::from);
    assert!(refusal(parts).contains("not built"));
}
