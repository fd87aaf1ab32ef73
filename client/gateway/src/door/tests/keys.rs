//! Keys, their scopes and their limits.

use super::*;

#[tokio::test]
async fn a_key_opens_what_its_scopes_say() {
    let config = with_keys("alice:k1:model=a,bob:k2:model=b,root:k3:admin");
    let routes = door(config, PUBLIC).guard(routes());
    let who = |name, is_admin, a| json!({ "name": name, "is_admin": is_admin, "may_use_a": a });
    for (headers, expected) in [
        (("authorization", "Bearer k1"), who("alice", false, true)),
        (("x-api-key", "k2"), who("bob", false, false)),
        (
            ("sec-websocket-protocol", "bearer.k3"),
            who("root", true, true),
        ),
    ] {
        let (status, body) = ask(&routes, "/v1/models", &[headers]).await;
        assert_eq!((status, body), (StatusCode::OK, expected));
    }
    for path in ["/v1/models", "/v1/sessions", "/nothing", "/tokenize"] {
        for headers in [vec![], vec![("authorization", "Bearer k4")]] {
            let (status, body) = ask(&routes, path, &headers).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
            assert_eq!(body["error"]["code"], "invalid_api_key");
        }
    }
    for (path, key, expected) in [
        ("/v1/sessions", "k1", 403),
        ("/v1/sessions", "k3", 200),
        ("/health", "k4", 200),
    ] {
        let (status, _) = ask(&routes, path, &[("x-api-key", key)]).await;
        assert_eq!(status.as_u16(), expected, "{path} {key}");
    }
}

#[tokio::test]
async fn metrics_are_for_this_machine_or_an_admin() {
    let routes = door(with_keys("alice:k1,root:k3:admin"), PUBLIC).guard(routes());
    let of_proxy = ("x-forwarded-for", "203.0.113.1");
    for (headers, expected) in [
        (vec![], 200),
        (vec![of_proxy], 401),
        (vec![of_proxy, ("x-api-key", "k1")], 403),
        (vec![of_proxy, ("x-api-key", "k3")], 200),
    ] {
        let (status, _) = ask(&routes, "/metrics", &headers).await;
        assert_eq!(status.as_u16(), expected, "{headers:?}");
    }
}

#[test]
fn without_keys_only_this_machine_is_let_in_unless_told_otherwise() {
    let new =
        |config, listen: &str| Door::new(config, listen.parse().unwrap(), CancellationToken::new());
    let no_auth = DoorConfig {
        no_auth: true,
        ..DoorConfig::default()
    };
    assert!(new(DoorConfig::default(), LOCAL).is_ok());
    assert!(new(DoorConfig::default(), "[::1]:80").is_ok());
    for open in [PUBLIC, "10.0.0.1:80", "[::]:80"] {
        let refused = new(DoorConfig::default(), open);
        assert!(matches!(refused, Err(DoorError::NoKeys(_))), "{open}");
        assert!(new(no_auth.clone(), open).is_ok());
    }
    let both = DoorConfig {
        no_auth: true,
        ..with_keys("a:b")
    };
    assert!(matches!(new(both, LOCAL), Err(DoorError::KeysAndNoAuth)));
    let shown = format!("{:?}", with_keys("alice:very-secret"));
    assert!(!shown.contains("very-secret"));
}

#[tokio::test]
async fn a_key_never_reaches_what_is_behind_the_door() {
    let routes = door(with_keys("alice:very-secret"), LOCAL).guard(routes());
    for header in [
        ("authorization", "Bearer very-secret"),
        ("x-api-key", "very-secret"),
        ("sec-websocket-protocol", "bearer.very-secret"),
    ] {
        let (status, _, text) = call(&routes, request("POST", "/tokenize", &[header], "{}")).await;
        assert_eq!(status, StatusCode::OK);
        assert!(!text.contains("very-secret"), "{text}");
    }
}

#[tokio::test]
async fn keys_are_read_again_on_a_hangup_and_a_broken_file_changes_nothing() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "alice:k1").unwrap();
    let config = DoorConfig {
        key_file: Some(file.path().to_owned()),
        ..DoorConfig::default()
    };
    let door = door(config, PUBLIC);
    let routes = door.guard(routes());
    let status = async |key: &str| ask(&routes, "/v1/models", &[("x-api-key", key)]).await.0;

    let watching = {
        let door = door.clone();
        let mut reload = Box::pin(async move { door.reload_on_hangup().await });
        // One look installs the handler.
        assert!(futures::poll!(&mut reload).is_pending());
        tokio::spawn(reload)
    };
    std::fs::write(file.path(), "bob:k2\n").unwrap();
    let pid = std::process::id().to_string();
    let hang_up = tokio::process::Command::new("sh")
        .args(["-c", "kill -HUP $0", &pid])
        .status();
    assert!(hang_up.await.unwrap().success());
    let patience = tokio::time::Instant::now() + Duration::from_secs(10);
    while status("k2").await != StatusCode::OK {
        assert!(tokio::time::Instant::now() < patience);
        tokio::task::yield_now().await;
    }
    assert_eq!(status("k1").await, StatusCode::UNAUTHORIZED);
    watching.abort();

    for broken in ["bob k2\n", "# nothing left\n"] {
        std::fs::write(file.path(), broken).unwrap();
        assert!(door.reload_keys().is_err());
        assert_eq!(status("k2").await, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_limit_counts_by_key_and_wrong_keys_by_address() {
    let config = DoorConfig {
        rate: Some("2/h".parse().unwrap()),
        ..with_keys("alice:k1,bob:k2:rate=1/h")
    };
    let routes = door(config, PUBLIC).guard(routes());
    let status = async |key| {
        ask(&routes, "/v1/models", &[("x-api-key", key)])
            .await
            .0
            .as_u16()
    };
    let seen = [
        status("k1").await,
        status("k1").await,
        status("k1").await,
        status("k2").await,
        status("k2").await,
        status("x1").await,
        status("x2").await,
        status("x3").await,
    ];
    assert_eq!(seen, [200, 200, 429, 200, 429, 401, 401, 429]);

    let again = request("GET", "/v1/models", &[("x-api-key", "k1")], Body::empty());
    let (status, headers, text) = call(&routes, again).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(text.contains("rate_limit_exceeded"), "{text}");
    let seconds: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=1800).contains(&seconds), "{seconds}");
    assert_eq!(headers["x-ratelimit-limit-requests"], "2");
    assert_eq!(headers["x-ratelimit-remaining-requests"], "0");
    assert_eq!(headers["x-ratelimit-reset-requests"], "3600s");
    let cancel = request(
        "POST",
        "/v1/cancel/1",
        &[("x-api-key", "k1")],
        Body::empty(),
    );
    assert_eq!(call(&routes, cancel).await.0, StatusCode::OK);
    assert_eq!(ask(&routes, "/health", &[]).await.0, StatusCode::OK);

    // Wrong keys are counted there as well.
    let guess = async |method, path| {
        let guess = request(method, path, &[("x-api-key", "x")], Body::empty());
        call(&routes, guess).await.0
    };
    for (method, path) in [("POST", "/v1/cancel/1"), ("DELETE", "/v1/sessions/1")] {
        assert_eq!(guess(method, path).await, StatusCode::TOO_MANY_REQUESTS);
    }
}
