//! Opening sessions at servers, several at once. Each begins with a step without tokens: the server reserves its cache
//! and knows the session's name, for pushes, and a refusal comes before anything is lost.

use std::time::Duration;

use block_network::PeerId;
use block_protocol::compression::encode_f32;
use block_protocol::{BlockChain, BlockUid, Compression, DType, Schemas, Span};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::patience::Patience;
use super::segment::{LiveHop, plain_step};
use super::tries::Tries;
use super::wait::Watch;
use super::witness::Witness;
use super::{ChainConfig, Context};
use crate::error::HopError;
use crate::hop::{Hop, Opening};
use crate::link_codec::{Format, Terms};
use crate::model_view::PlannedHop;
use crate::request::info;

/// `rpc_info` of a server that lists no codecs.
const SCHEMA_TIME: Duration = Duration::from_secs(5);

/// Name of the step without tokens.
const OPENING: &str = "open";

/// Once one server of a route has failed, others have this long to fail as well, so that one try finds all dead ones.
const FAIL_TOGETHER: Duration = Duration::from_millis(250);

/// A server that failed to open a session, and why.
pub(super) type Failed = (PeerId, HopError);

/// Opens a session at each server of a route, all at once.
///
/// - `replies`: the codec to ask of each, where it lists any
/// - `tries`: those before, which say how long connecting to each may take, looking up its addresses included
///
/// # Errors
/// Every failure that is known soon after the first, at most one for each server.
pub(super) async fn open_all(
    context: &Context,
    route: &[PlannedHop],
    replies: &[Compression],
    tries: &Tries,
) -> Result<Vec<LiveHop>, Vec<Failed>> {
    let each = route.iter().zip(replies).enumerate();
    let mut opening: FuturesUnordered<_> = each
        .map(|(number, (plan, &reply))| async move {
            let opened = open_one(context, plan, reply, tries.connect_time(plan)).await;
            opened
                .map(|hop| (number, hop))
                .map_err(|error| (plan.peer, error))
        })
        .collect();
    let mut hops = Vec::with_capacity(route.len());
    let mut failures: Vec<Failed> = Vec::new();
    let mut until = None;
    loop {
        let next = opening.next();
        let opened = match until {
            None => next.await,
            Some(until) => timeout_at(until, next).await.unwrap_or(None),
        };
        match opened {
            None => break,
            Some(Ok(hop)) => hops.push(hop),
            Some(Err(failed)) => {
                until.get_or_insert_with(|| Instant::now() + FAIL_TOGETHER);
                if failures.iter().all(|(peer, _)| *peer != failed.0) {
                    failures.push(failed);
                }
            }
        }
    }
    if failures.is_empty() {
        hops.sort_by_key(|(number, _)| *number);
        Ok(hops.into_iter().map(|(_, hop)| hop).collect())
    } else {
        Err(failures)
    }
}

async fn open_one(
    context: &Context,
    plan: &PlannedHop,
    reply: Compression,
    connect_time: Duration,
) -> Result<LiveHop, HopError> {
    let config = &context.config;
    let lists_codecs = plan.server.lists_codecs();
    let session_id = Uuid::new_v4().to_string();
    let span = Span::new(plan.blocks.start, plan.blocks.end)?;
    let chain = BlockChain {
        prefix: context.view.dht_prefix().to_owned(),
        span,
    };
    let opening = Opening {
        session_id: Some(session_id.clone()),
        output_compression: lists_codecs.then_some(reply),
        // One of ours that runs out of cache costs a failover, so more sessions may share it.
        cache_grows: lists_codecs,
        ..Opening::new(chain, config.max_length)
    };
    let since = Instant::now();
    let connecting = Hop::open(&context.node, plan.peer, opening, connect_time).await;
    let mut hop = connecting.map_err(|error| match error {
        // Nothing was sent to it: as good as one that cannot be reached.
        HopError::Timeout => {
            HopError::Unreachable(format!("no connection within {connect_time:?}"))
        }
        other => other,
    })?;
    let watch = Watch {
        node: &context.node,
        peer: plan.peer,
        patience: Patience::new(None),
        since,
    };
    let shape = [config.batch, 0, config.hidden];
    let dtype = plan.server.dtype.unwrap_or(DType::F32);
    let nothing = encode_f32(&[], &shape, dtype, Compression::None)?;
    let step = plain_step(nothing.clone(), OPENING.to_owned(), None, None)?;
    let (answer, schemas) = tokio::try_join!(watch.exchange(&mut hop, step, false), async {
        if lists_codecs {
            return Ok(None);
        }
        schemas(context, plan).await
    })?;
    let mut witness = Witness::default();
    let answer = witness.check(answer, OPENING, &nothing)?;
    Ok(LiveHop {
        hop,
        terms: terms(plan, answer.dtype, reply, schemas.as_ref()),
        plan: plan.clone(),
        session_id,
        witness,
        held: 0,
        owed: None,
        touched: false,
        late_pushes: 0,
    })
}

/// What a server without a list of codecs says of its tensors.
async fn schemas(context: &Context, plan: &PlannedHop) -> Result<Option<Schemas>, HopError> {
    let uid = BlockUid {
        prefix: context.view.dht_prefix().to_owned(),
        index: plan.blocks.start,
    };
    let answer = info(&context.node, plan.peer, &uid.to_string(), SCHEMA_TIME).await?;
    Ok(answer.schemas)
}

/// What the server takes and gives. `dtype` is that of its answers.
fn terms(plan: &PlannedHop, dtype: DType, reply: Compression, schemas: Option<&Schemas>) -> Terms {
    if plan.server.lists_codecs() {
        return Terms {
            codecs: plan.server.codecs.clone(),
            input: Format {
                dtype,
                codec: Compression::None,
            },
            output: Format {
                dtype,
                codec: reply,
            },
        };
    }
    let of = |descriptor: Option<&block_protocol::TensorDescriptor>| {
        descriptor
            .filter(|descriptor| descriptor.dtype.is_float())
            .map_or(
                Format {
                    dtype,
                    codec: Compression::None,
                },
                |descriptor| Format {
                    dtype: descriptor.dtype,
                    codec: descriptor.compression,
                },
            )
    };
    Terms {
        codecs: Vec::new(),
        input: of(schemas.and_then(|schemas| schemas.inference.first())),
        output: of(schemas.and_then(|schemas| schemas.outputs.first())),
    }
}

/// The codec to ask of each server's answers when a session is opened over `route`: the smallest for one token that it
/// lists, and the next server, too, if that one lists any, so that it can be pushed to. The client reads them all.
pub(super) fn first_replies(context: &Context, route: &[PlannedHop]) -> Vec<Compression> {
    let config = &context.config;
    let token = [config.batch, 1, config.hidden];
    let nexts = route.iter().skip(1).map(Some).chain([None]);
    let pairs = route.iter().zip(nexts);
    let replies = pairs.map(|(from, to)| {
        let dtype = from.server.dtype.unwrap_or(DType::F32);
        config.codec.choose(dtype, token, |codec| {
            let for_next = |to: &PlannedHop| to.server.reads(codec) || !to.server.lists_codecs();
            from.server.reads(codec) && to.is_none_or(for_next)
        })
    });
    replies.collect()
}

/// The format of the boundary behind each server: that of its answers. Behind one that lists no codecs it is what the
/// next server is sent, so that the link to one of ours is as small as others; the client packs it.
pub(super) fn boundaries(config: &ChainConfig, hops: &[LiveHop]) -> Vec<Format> {
    let token = [config.batch, 1, config.hidden];
    let nexts = hops.iter().skip(1).map(Some).chain([None]);
    let pairs = hops.iter().zip(nexts);
    let formats = pairs.map(|(from, to)| match to {
        Some(to) if from.terms.codecs.is_empty() && !to.terms.codecs.is_empty() => {
            let dtype = to.terms.input.dtype;
            let reads = |codec| to.terms.codecs.contains(&codec);
            match config.codec.choose(dtype, token, reads) {
                Compression::None => from.terms.output,
                codec => Format { dtype, codec },
            }
        }
        _ => from.terms.output,
    });
    formats.collect()
}
