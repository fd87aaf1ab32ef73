//! Counts fields before prost allocates for them.
//!
//! Two bytes on the wire can stand for an empty submessage that takes a hundred in memory,
//! so a body within its byte limit may still ask for fifty times as much.

use bytes::Bytes;
use prost::Message;

use crate::{error::DecodeError, varint};

/// Decodes `body` as `M` if its top level, together with the inside of all its fields numbered
/// `nested` (a repeated submessage that has repeated fields itself), has at most `max_fields` fields.
pub(crate) fn decode_bounded<M: Message + Default>(
    body: Bytes,
    what: &'static str,
    max_fields: usize,
    nested: Option<u64>,
) -> Result<M, DecodeError> {
    let mut budget = FieldBudget {
        what,
        left: max_fields,
        limit: max_fields,
    };
    budget.spend_message(&body, nested)?;
    M::decode(body).map_err(|error| DecodeError::malformed(what, error.to_string()))
}

struct FieldBudget {
    what: &'static str,
    left: usize,
    limit: usize,
}

impl FieldBudget {
    fn spend_message(&mut self, mut rest: &[u8], nested: Option<u64>) -> Result<(), DecodeError> {
        while !rest.is_empty() {
            let limit = self.limit;
            self.left = self.left.checked_sub(1).ok_or_else(|| {
                let over = limit.saturating_add(1);
                match DecodeError::check_len("number of protobuf fields", over, limit) {
                    Err(error) => error,
                    Ok(()) => self.malformed("too many fields"),
                }
            })?;
            let key = self.varint(&mut rest)?;
            let (field, wire_type) = (key >> 3, key & 7);
            match wire_type {
                0 => {
                    self.varint(&mut rest)?;
                }
                1 => {
                    self.take(&mut rest, 8)?;
                }
                2 => {
                    let length = self.varint(&mut rest)?;
                    let body = self.take(&mut rest, length)?;
                    if Some(field) == nested {
                        self.spend_message(body, None)?;
                    }
                }
                5 => {
                    self.take(&mut rest, 4)?;
                }
                // Groups (3 and 4) are in no schema here and would let a sender nest for free.
                _ => return Err(self.malformed("unknown wire type")),
            }
        }
        Ok(())
    }

    fn varint(&self, rest: &mut &[u8]) -> Result<u64, DecodeError> {
        let (value, length) =
            varint::read(rest)?.ok_or_else(|| self.malformed("ends inside a varint"))?;
        *rest = rest.get(length..).unwrap_or_default();
        Ok(value)
    }

    fn take<'a>(&self, rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = usize::try_from(length)
            .ok()
            .and_then(|length| rest.split_at_checked(length))
            .ok_or_else(|| self.malformed("a field is longer than the message"))?;
        *rest = tail;
        Ok(head)
    }

    fn malformed(&self, reason: &'static str) -> DecodeError {
        DecodeError::malformed(self.what, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{dht, runtime};

    #[test]
    fn repeated_empty_submessages_are_counted_before_decoding() {
        let body = Bytes::from([0x12, 0x00].repeat(100));
        let few = decode_bounded::<runtime::ExpertRequest>(body.clone(), "request", 100, None);
        assert_eq!(few.map(|message| message.tensors.len()), Ok(100));
        let many = decode_bounded::<runtime::ExpertRequest>(body, "request", 99, None);
        assert!(matches!(
            many,
            Err(DecodeError::LimitExceeded { limit: 99, .. })
        ));
    }

    #[test]
    fn fields_of_the_named_submessage_count_too() {
        let result = dht::FindResult {
            nearest_node_ids: vec![Bytes::new(); 50],
            ..dht::FindResult::default()
        };
        let body = Bytes::from(
            dht::FindResponse {
                auth: None,
                results: vec![result; 2],
                peer: None,
            }
            .encode_to_vec(),
        );
        assert!(decode_bounded::<dht::FindResponse>(body.clone(), "x", 102, Some(2)).is_ok());
        assert!(decode_bounded::<dht::FindResponse>(body, "x", 101, Some(2)).is_err());
    }

    #[test]
    fn a_huge_length_is_malformed() {
        let body =
            Bytes::from_static(&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
        assert!(decode_bounded::<runtime::ExpertRequest>(body, "request", 10, None).is_err());
    }
}
