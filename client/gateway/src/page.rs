//! The page for people: the files of `web/`, as they are, inside the program.
//!
//! A build with debug assertions reads them from the source folder instead, so that an edit shows with a reload.
//! Every answer carries the headers of `page_headers.txt`, which the page's own tests are run with as well. Names of
//! files hold no version, so browsers ask each time whether a file has changed; its ETag is the SHA-256 of its bytes.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::Embed;

use crate::{ApiError, ErrorCode};

#[derive(Embed)]
#[folder = "web/"]
struct Files;

const INDEX: &str = "index.html";

/// Lines of `name: value`.
const SECURITY_HEADERS: &str = include_str!("page_headers.txt");

/// `GET /` and `GET /assets/*`, neither with a key: the page asks for one itself.
pub fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new()
        .route("/", get(|headers: HeaderMap| async move { answer(INDEX, &headers) }))
        .route(
            "/assets/{*path}",
            get(|Path(path): Path<String>, headers: HeaderMap| async move { answer(&path, &headers) }),
        )
}

fn answer(path: &str, request: &HeaderMap) -> Response {
    let mut response = match Files::get(path) {
        Some(file) => {
            let etag = format!("\"{}\"", hexadecimal(&file.metadata.sha256_hash()));
            let head = [
                (header::ETAG, etag.clone()),
                (header::CACHE_CONTROL, "no-cache".to_owned()),
            ];
            if is_known(&etag, request) {
                (StatusCode::NOT_MODIFIED, head).into_response()
            } else {
                let content_type = [(header::CONTENT_TYPE, content_type(path))];
                (head, content_type, file.data.into_owned()).into_response()
            }
        }
        None => ApiError::new(ErrorCode::UnknownUrl, "the page has no such file").into_response(),
    };
    response.headers_mut().extend(security_headers());
    response
}

/// `If-None-Match`: a list of tags, perhaps weak ones, or `*`.
fn is_known(etag: &str, request: &HeaderMap) -> bool {
    request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == etag || tag == "*")
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        _ => "text/plain; charset=utf-8",
    }
}

fn security_headers() -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    SECURITY_HEADERS
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::body::{Body, to_bytes};
    use axum::http::{Method, Request};
    use tower::ServiceExt;

    use super::*;

    /// More than the largest file.
    const MAX_FILE_BYTES: usize = 1 << 20;

    async fn ask(method: Method, path: &str, tag: Option<&str>) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        let request = request.body(Body::empty()).expect("a request");
        let response = routes::<()>().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, MAX_FILE_BYTES).await.expect("a body");
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        (parts.status, parts.headers, text)
    }

    async fn get(path: &str) -> (StatusCode, HeaderMap, String) {
        ask(Method::GET, path, None).await
    }

    /// Paths under `assets/` that a file of the page names.
    fn named_in(path: &str, text: &str) -> BTreeSet<String> {
        let quoted = text.split('"').skip(1).step_by(2);
        if path == INDEX {
            return quoted
                .filter_map(|word| word.strip_prefix("assets/"))
                .map(str::to_owned)
                .collect();
        }
        quoted
            .filter_map(|word| word.strip_prefix("./"))
            .map(str::to_owned)
            .collect()
    }

    #[tokio::test]
    async fn the_page_and_all_it_loads_are_served_with_their_types() {
        let mut wanted = BTreeSet::from([INDEX.to_owned()]);
        let mut seen = BTreeSet::new();
        while let Some(path) = wanted.pop_first() {
            let url = if path == INDEX {
                "/".to_owned()
            } else {
                format!("/assets/{path}")
            };
            let (status, headers, text) = get(&url).await;
            assert_eq!(status, StatusCode::OK, "{url}");
            assert_eq!(headers[header::CONTENT_TYPE], content_type(&path), "{url}");
            assert!(!text.contains("://cdn"), "{url} loads from elsewhere");
            seen.insert(path.clone());
            if !path.starts_with("vendor/") {
                wanted.extend(named_in(&path, &text));
            }
            wanted.retain(|path| !seen.contains(path));
        }
        assert!(seen.len() > 20, "{seen:?}");
        assert!(seen.contains("vendor/uplot.js"), "{seen:?}");
    }

    #[tokio::test]
    async fn every_answer_forbids_what_the_page_does_not_need() {
        for path in ["/", "/assets/app.js", "/assets/none.js"] {
            let (_, headers, _) = get(path).await;
            let policy = headers[header::CONTENT_SECURITY_POLICY]
                .to_str()
                .expect("text");
            for rule in [
                "default-src 'none'",
                "script-src 'self'",
                "style-src 'self'",
                "connect-src 'self'",
                "frame-ancestors 'none'",
                "form-action 'none'",
                "base-uri 'none'",
                "require-trusted-types-for 'script'",
            ] {
                assert!(
                    policy.split("; ").any(|part| part == rule),
                    "{path}: {rule}"
                );
            }
            assert!(!policy.contains("unsafe"), "{policy}");
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert_eq!(headers[header::REFERRER_POLICY], "no-referrer");
        }
    }

    #[tokio::test]
    async fn a_file_that_the_browser_has_is_not_sent_again() {
        let (_, headers, text) = get("/assets/app.js").await;
        let etag = headers[header::ETAG].to_str().expect("text").to_owned();
        assert_eq!(headers[header::CACHE_CONTROL], "no-cache");
        for tag in [etag.clone(), format!("\"old\", W/{etag}"), "*".to_owned()] {
            let (status, headers, body) = ask(Method::GET, "/assets/app.js", Some(&tag)).await;
            assert_eq!(status, StatusCode::NOT_MODIFIED, "{tag}");
            assert_eq!(headers[header::ETAG], etag.as_str());
            assert!(headers.contains_key(header::CONTENT_SECURITY_POLICY));
            assert_eq!(body, "");
        }
        let (status, _, body) = ask(Method::GET, "/assets/app.js", Some("\"old\"")).await;
        assert_eq!((status, body), (StatusCode::OK, text));
    }

    #[tokio::test]
    async fn a_head_request_has_the_headers_and_no_body() {
        let (status, headers, body) = ask(Method::HEAD, "/", None).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, ""));
        assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
    }

    #[tokio::test]
    async fn no_path_leads_out_of_the_page() {
        for path in [
            "/assets/none.js",
            "/assets/../Cargo.toml",
            "/assets/%2e%2e/Cargo.toml",
            "/assets/..%2fCargo.toml",
            "/assets/vendor/../../Cargo.toml",
            "/assets//etc/passwd",
            "/assets/%2fetc%2fpasswd",
            "/assets/style",
        ] {
            let (status, _, body) = get(path).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
            assert!(body.contains("unknown_url"), "{path}: {body}");
        }
    }
}
