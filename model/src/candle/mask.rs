//! The causal mask.

use candle_core::{Device, Result, Tensor};

/// Which keys are in the future of which queries.
///
/// The queries are the last `queries` of `total` tokens. Returns `[queries, total]` of `u8`, 1
/// where the key comes after the query; `None` if no key does.
pub(crate) fn future_keys(queries: usize, total: usize, device: &Device) -> Result<Option<Tensor>> {
    if queries == 1 {
        return Ok(None);
    }
    let past = total - queries;
    let mask: Vec<u8> = (0..queries)
        .flat_map(|query| (0..total).map(move |key| u8::from(key > past + query)))
        .collect();
    Tensor::from_vec(mask, (queries, total), device).map(Some)
}

#[cfg(test)]
mod tests {
    use super::{Device, future_keys};

    #[test]
    fn a_query_sees_the_past_and_itself() {
        let mask = future_keys(2, 4, &Device::Cpu).unwrap().unwrap();
        assert_eq!(mask.to_vec2::<u8>().unwrap(), [[0, 0, 0, 1], [0, 0, 0, 0]]);
        assert!(future_keys(1, 4, &Device::Cpu).unwrap().is_none());
    }
}
