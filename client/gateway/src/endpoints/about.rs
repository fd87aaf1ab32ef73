//! `GET /info`: what this gateway is. `GET /openapi.json`: its calls, for programs.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::request::MAX_BODY_BYTES;

pub(crate) async fn info(State(gateway): State<Gateway>) -> Json<Value> {
    let models = gateway.models().iter().map(|model| {
        json!({
            "id": model.name(),
            "revision": model.revision(),
            "dht_prefix": model.remote().view.dht_prefix(),
            "blocks": model.remote().view.num_blocks(),
            "max_model_len": model.max_model_len(),
            "max_tokens_cap": model.max_tokens_cap(),
            "chat": model.chat().name(),
        })
    });
    Json(json!({
        "name": "block-gateway",
        "version": env!("CARGO_PKG_VERSION"),
        "models": models.collect::<Vec<_>>(),
        "limits": { "body_bytes": MAX_BODY_BYTES },
    }))
}

pub(crate) async fn openapi() -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (headers, OPENAPI).into_response()
}

/// Kept by hand; a test compares it with the routes and with the fields that are read.
const OPENAPI: &str = include_str!("openapi.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::execution::EXECUTION_FIELDS;
    use crate::request::{chat_fields, text_fields};

    fn document() -> Value {
        serde_json::from_str(OPENAPI).unwrap()
    }

    #[test]
    fn the_schema_has_every_field_that_is_read() {
        let fields = |schema: &str| -> BTreeSet<String> {
            let properties = &document()["components"]["schemas"][schema]["properties"];
            properties.as_object().unwrap().keys().cloned().collect()
        };
        let read = |fields: &mut dyn Iterator<Item = &'static str>| -> BTreeSet<String> {
            fields.map(str::to_owned).collect()
        };
        assert_eq!(fields("ChatRequest"), read(&mut chat_fields()));
        assert_eq!(fields("TextRequest"), read(&mut text_fields()));
        let executed = EXECUTION_FIELDS.iter().map(|field| (*field).to_owned());
        assert_eq!(fields("ExecutionRequest"), executed.collect());
        assert_eq!(document()["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn the_schema_has_every_path_with_its_method() {
        // As the router spells them: `.route("/path/{*id}", method(…))`.
        let sources = [
            include_str!("../routes.rs"),
            include_str!("../execution.rs"),
            include_str!("../petals_chat.rs"),
        ];
        let routes = sources
            .iter()
            .flat_map(|source| source.split(".route(\"").skip(1));
        let routed: BTreeSet<(String, String)> = routes
            .map(|rest| {
                let (path, rest) = rest.split_once("\", ").unwrap();
                let (method, _) = rest.split_once('(').unwrap();
                (path.replace("{*", "{"), method.to_owned())
            })
            .collect();
        let document = document();
        let described = document["paths"].as_object().unwrap().iter();
        let described = described.flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(|method| (path.clone(), method.clone()))
        });
        assert_eq!(described.collect::<BTreeSet<_>>(), routed);
    }
}
