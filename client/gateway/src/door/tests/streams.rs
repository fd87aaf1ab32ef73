//! Seats and deadlines of bodies on their way out.

use super::*;

/// A route that streams what a test sends.
fn streaming(path: &str) -> (Router, mpsc::Sender<&'static str>) {
    let (sender, receiver) = mpsc::channel(4);
    let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
    let stream = move || {
        let receiver = Arc::clone(&receiver);
        async move {
            let events = futures::stream::unfold(receiver, |receiver| async move {
                let text: &str = receiver.lock().await.recv().await?;
                assert!(text != "panic", "the secret of the stream");
                Some((Ok::<_, Infallible>(Event::default().data(text)), receiver))
            });
            Sse::new(events).into_response()
        }
    };
    (
        Router::new().route(path, post(stream.clone()).get(stream)),
        sender,
    )
}

async fn next(body: &mut axum::body::BodyDataStream) -> Option<String> {
    let bytes = body.next().await?.unwrap();
    Some(String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_seat_is_held_until_the_stream_has_ended_or_is_dropped() {
    let config = DoorConfig {
        max_concurrent: 1,
        max_queue: 0,
        ..DoorConfig::default()
    };
    let door = door(config, LOCAL);
    let (routes, sender) = streaming("/v1/chat/completions");
    let routes = door.guard(routes);
    let start = || {
        routes
            .clone()
            .oneshot(request("POST", "/v1/chat/completions", &[], "{}"))
    };

    let first = start().await.unwrap();
    assert_eq!(door.queue().free_seats(), 0);
    let (status, headers, text) =
        call(&routes, request("POST", "/v1/chat/completions", &[], "")).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(
        text.contains("queue_full") && headers.contains_key("retry-after"),
        "{text}"
    );
    drop(first);
    assert_eq!(door.queue().free_seats(), 1);

    let mut body = start().await.unwrap().into_body().into_data_stream();
    sender.send("one").await.unwrap();
    assert_eq!(next(&mut body).await.unwrap(), "data: one\n\n");
    assert_eq!(door.queue().free_seats(), 0);
    drop(sender);
    assert_eq!(next(&mut body).await, None);
    assert_eq!(door.queue().free_seats(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_or_panics_ends_with_the_error_object_and_frees_its_seat() {
    let config = DoorConfig {
        request_timeout: Duration::from_secs(60),
        ..DoorConfig::default()
    };
    let door = door(config, LOCAL);
    let (stream, sender) = streaming("/v1/chat/completions");
    let never = post(|| async { std::future::pending::<()>().await });
    let routes = door.guard(stream.route("/v1/completions", never));

    let (status, _, text) = call(&routes, request("POST", "/v1/completions", &[], "")).await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    assert!(text.contains(r#""code":"timeout""#), "{text}");

    for (sent, code) in [("one", "timeout"), ("panic", "internal_error")] {
        let started = request("POST", "/v1/chat/completions", &[], "");
        let response = routes.clone().oneshot(started).await.unwrap();
        let mut body = response.into_body().into_data_stream();
        assert_eq!(door.queue().free_seats(), 31);
        sender.send(sent).await.unwrap();
        let mut last = next(&mut body).await.unwrap();
        if sent == "one" {
            last = next(&mut body).await.unwrap();
        }
        let event: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(event["error"]["code"], code);
        assert!(!last.contains("secret"), "{last}");
        assert_eq!(next(&mut body).await, None);
        assert_eq!(door.queue().free_seats(), 32);
    }
}

#[tokio::test(start_paused = true)]
async fn other_streams_have_no_deadline_and_end_with_the_gateway() {
    let ending = CancellationToken::new();
    let door = Door::new(
        DoorConfig::default(),
        LOCAL.parse().unwrap(),
        ending.clone(),
    )
    .unwrap();
    let (stream, sender) = streaming("/v1/system/events");
    let routes = door.guard(stream);
    let started = request("GET", "/v1/system/events", &[], "");
    let response = routes.clone().oneshot(started).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    tokio::time::advance(Duration::from_secs(10_000)).await;
    sender.send("one").await.unwrap();
    assert_eq!(next(&mut body).await.unwrap(), "data: one\n\n");
    ending.cancel();
    assert_eq!(next(&mut body).await, None);
}
