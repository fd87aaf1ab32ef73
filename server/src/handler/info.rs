//! `rpc_info`: what this server is, how much cache is free, and the shapes that its blocks take.

use std::sync::Arc;

use block_network::UnaryCall;
use block_protocol::schema::REFERENCE_SCHEMA_LENGTH;
use block_protocol::{Compression, ExpertInfo, ExpertUid, Schemas, ServerRpcInfo};
use bytes::Bytes;

use super::record::Record;
use super::{Context, log_refusal};
use crate::metrics::Method;
use crate::request_error::RequestError;

/// Answers one `rpc_info`. An empty uid asks about the server alone.
pub(super) async fn serve(context: Arc<Context>, call: UnaryCall) {
    let record = Record::begin(Method::Info, call.body.len());
    let outcome = answer(&context, call.body.clone());
    record.end(outcome.as_ref().map(Bytes::len));
    if let Err(error) = &outcome {
        log_refusal(Method::Info, call.peer, error);
    }
    call.respond(outcome.map_err(|error| error.peer_text()));
}

fn answer(context: &Context, body: Bytes) -> Result<Bytes, RequestError> {
    let ExpertUid { uid } = ExpertUid::decode(body)?;
    if !uid.is_empty() {
        context.served_blocks(&uid)?;
    }
    let config = &context.config;
    let schemas = (!uid.is_empty()).then(|| {
        Schemas::for_span(
            config.schema_dtype,
            context.description.hidden,
            REFERENCE_SCHEMA_LENGTH,
            config.compression,
        )
    });
    let info = ServerRpcInfo {
        version: Some(config.version.clone()),
        dht_client_mode: config.dht_client_mode,
        // Keys and values count as one token here, unlike in the DHT record.
        cache_tokens_available: context.budget.free_tokens(),
        schemas,
        codecs: Compression::names_for(config.schema_dtype),
        implementation: Some(config.implementation.clone()),
        torch_dtype: Some(context.description.dtype.name().to_owned()),
        quant_type: Some(config.quant_type.clone()),
    };
    let serialized_info = info.encode().into();
    Ok(ExpertInfo { serialized_info }.encode())
}
