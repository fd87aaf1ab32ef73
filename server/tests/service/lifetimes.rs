//! Time limits, and the end of the server itself.

use std::time::Duration;

use block_client::HopError;
use block_protocol::Rpc;
use block_server::ServiceConfig;

use crate::support::*;
use crate::told_span::*;

#[tokio::test]
async fn an_idle_session_ends_without_a_word() {
    let config = ServiceConfig {
        step_timeout: Duration::from_millis(200),
        ..config()
    };
    let server = Server::with(Box::new(span(0..4)), config).await;
    let client = client(&[&server]).await;
    let mut hop = hop(&client, &server, 0..4).await;
    run(&mut hop, step(&States::wave(1, 2, 0))).await;
    let ended = hop.answer().await;
    assert_eq!(
        ended,
        Err(HopError::Broken("the server ended the session".to_owned()))
    );
    eventually(|| async { server.service.sessions() == 0 }).await;
}

#[tokio::test]
async fn an_old_session_ends_with_an_error_however_busy_it_is() {
    let config = ServiceConfig {
        session_timeout: Duration::from_millis(300),
        ..config()
    };
    let server = Server::with(Box::new(span(0..4)), config).await;
    let client = client(&[&server]).await;
    let mut hop = hop(&client, &server, 0..4).await;
    let nothing = States::wave(1, 1, 0).tokens(0..0);
    let error = loop {
        if let Err(error) = hop.step(step(&nothing)).await {
            break error;
        }
    };
    assert!(refusal::<()>(Err(error)).contains("one session may take 300ms"));
    eventually(|| async { server.service.sessions() == 0 }).await;
}

#[tokio::test]
async fn a_session_that_is_too_old_while_it_computes_is_told() {
    let (span, controls) = tricky(0..4, true);
    let config = ServiceConfig {
        session_timeout: Duration::from_millis(200),
        ..config()
    };
    let server = Server::with(span, config).await;
    let client = client(&[&server]).await;
    let mut hop = hop(&client, &server, 0..4).await;
    let outcome = hop.step(step(&States::wave(1, 2, 0))).await;
    assert!(refusal(outcome).contains("time limit"));
    controls.pass();
    let all = 4 * 2048;
    eventually(|| async { server.free_tokens(&client).await == all }).await;
}

#[tokio::test]
async fn a_forward_has_its_time() {
    let (span, controls) = tricky(0..4, true);
    let config = ServiceConfig {
        request_timeout: Duration::from_millis(200),
        ..config()
    };
    let server = Server::with(span, config).await;
    let client = client(&[&server]).await;
    let input = States::wave(1, 2, 0).wire();
    let unary = forward(0..4, input.clone())
        .run(&client, server.peer(), PATIENCE)
        .await;
    assert!(refusal(unary).contains("one forward request may take 200ms"));
    controls.pass();
    let parts = forward(0..4, input)
        .run_in_parts(&client, server.peer(), PATIENCE)
        .await;
    assert!(refusal(parts).contains("time limit"));
    // A caller that never ends its input has no more time than the others.
    let mut stream = client
        .open(server.peer(), Rpc::ForwardStream.name(), PATIENCE)
        .await
        .unwrap();
    let message = block_protocol::ExpertRequest {
        uid: chain(0..4).to_string(),
        ..block_protocol::ExpertRequest::default()
    };
    stream.send(message.encode().unwrap()).await.unwrap();
    let ended = stream.recv_within(PATIENCE).await.map_err(HopError::from);
    assert!(refusal(ended).contains("time limit"));
}

#[tokio::test]
async fn draining_finishes_what_runs_and_sends_the_rest_elsewhere() {
    let (span, controls) = tricky(0..4, true);
    let server = Server::with(span, config()).await;
    let client = client(&[&server]).await;
    let input = States::wave(1, 2, 60);
    let mut idle = hop(&client, &server, 0..4).await;
    idle.send(step(&input)).await.unwrap();
    controls.inside().await;
    controls.pass();
    idle.answer().await.unwrap();
    let mut running = hop(&client, &server, 0..4).await;
    running.send(step(&input)).await.unwrap();
    controls.inside().await;

    let drain = server.service.drain(PATIENCE);
    let observe = async {
        assert!(refusal(idle.answer().await).contains("shutting down"));
        assert!(server.service.snapshot().draining);
        let mut late = hop(&client, &server, 0..4).await;
        assert!(refusal(late.step(step(&input)).await).contains("shutting down"));
        let forwarded = forward(0..4, input.wire())
            .run(&client, server.peer(), PATIENCE)
            .await;
        assert!(refusal(forwarded).contains("shutting down"));
        controls.pass();
        let answer = States::of(&running.answer().await.unwrap());
        answer.assert_near(&expected(0..4, &input));
        assert!(refusal(running.answer().await).contains("shutting down"));
    };
    tokio::join!(drain, observe);
    assert_eq!(server.service.sessions(), 0);
    server.service.stop().await;
}

#[tokio::test]
async fn draining_ends_at_its_deadline() {
    let (span, mut controls) = tricky(0..4, true);
    let server = Server::with(span, config()).await;
    let client = client(&[&server]).await;
    let mut stuck = hop(&client, &server, 0..4).await;
    stuck.send(step(&States::wave(1, 2, 0))).await.unwrap();
    controls.inside().await;
    server.service.drain(Duration::from_millis(100)).await;
    assert_eq!(server.service.sessions(), 0);
    assert!(stuck.answer().await.is_err());
    controls.open();
    server.service.stop().await;
}
