//! The first step of a session: what it asks for, checked, and its share of the cache.

use block_network::PeerId;
use block_protocol::{ExpertRequest, OpenMetadata, StepMetadata, args};
use tokio::time::Instant;
use tracing::debug;

use super::super::Context;
use super::super::inputs::Inputs;
use super::super::push::PushPlaces;
use super::super::record::SessionRecord;
use super::super::request::check_adapter;
use super::Stay;
use super::alarm::Alarm;
use crate::cache_budget::Share;
use crate::request_error::RequestError;
use crate::session::{Session, SessionTerms};

impl<'a> Stay<'a> {
    /// Checks what the first step asks for and waits for its share of the cache.
    pub(super) async fn open(
        context: &'a Context,
        peer: PeerId,
        inputs: &'a mut Inputs,
        request: ExpertRequest,
    ) -> Result<(Self, ExpertRequest, StepMetadata), RequestError> {
        context.check_open()?;
        let mut seat = context.sessions.enter(peer)?;
        let metadata = OpenMetadata::decode(&request.metadata)?;
        check_adapter(metadata.active_adapter.as_deref())?;
        let blocks = context.served_blocks(&request.uid)?;
        let compression = context.output_compression(metadata.output_compression.as_deref())?;
        let arguments = args::resolve(metadata.step.args.as_ref(), request.tensors.clone())?;
        let [batch, first_length, _] =
            context.hidden_shape(arguments.first().and_then(Option::as_ref))?;
        let max_length = metadata.max_length;
        if max_length > context.config.inference_max_length {
            return Err(RequestError::TooLong(format!(
                "max_length {max_length} was asked for, this server grants {}",
                context.config.inference_max_length
            )));
        }
        let session_id = metadata.step.session_id.as_deref();
        let pushes = session_id.map(|id| seat.bind(id)).transpose()?;
        let share = Share {
            rows: (batch as u64).saturating_mul(blocks.len() as u64),
            max_length: max_length as u64,
            // A span that is not paged takes the memory of the whole length when the cache is opened.
            first_length: (metadata.cache_grows && context.description.kv_page_tokens > 1)
                .then_some(first_length as u64),
        };
        let share = async {
            let patience = metadata.alloc_timeout.min(context.config.max_alloc_timeout);
            let reservation = context.budget.reserve(share, patience).await?;
            context
                .compute
                .open(blocks.clone(), batch, max_length, reservation)
                .await
        };
        let lease = inputs.meanwhile(context.unless_draining(share)).await?;
        seat.count_as_session();
        debug!(?blocks, batch, max_length, "session opened");
        let terms = SessionTerms {
            batch,
            max_length,
            max_step_tokens: context.config.max_batch_tokens,
            step_timeout: context.config.step_timeout,
            session_timeout: context.config.session_timeout,
        };
        let session = Session::new(terms, Instant::now().into_std());
        let stay = Self {
            context,
            peer,
            inputs,
            alarm: Alarm::new(&session),
            session,
            lease,
            blocks,
            args: metadata.step.args.clone(),
            compression,
            pushes,
            push_places: PushPlaces::new(),
            record: SessionRecord::begin(),
            _seat: seat,
        };
        Ok((stay, request, metadata.step))
    }
}
