use proptest::prelude::*;

use super::*;

fn any_tensor() -> impl Strategy<Value = WireTensor> {
    (
        prop::sample::select(vec![DType::F32, DType::BF16, DType::I64, DType::Continued]),
        prop::collection::vec(any::<u32>(), 0..MAX_TENSOR_DIMS),
        prop::sample::select(Compression::ALL.to_vec()),
        0..i32::MAX as u32,
        any::<bool>(),
        prop::collection::vec(any::<u8>(), 0..60),
    )
        .prop_map(
            |(dtype, shape, compression, chunks, requires_grad, buffer)| WireTensor {
                dtype,
                shape: shape.into_iter().map(|length| length as usize).collect(),
                compression,
                chunks,
                requires_grad,
                buffer: buffer.into(),
            },
        )
}

fn proto_tensor() -> runtime::Tensor {
    runtime::Tensor {
        dtype: "float32".to_owned(),
        ..runtime::Tensor::default()
    }
}

fn decode_tensor(tensor: &runtime::Tensor) -> Result<WireTensor, DecodeError> {
    WireTensor::decode(tensor.encode_to_vec().into())
}

#[test]
fn unknown_dtypes_and_codecs_are_named() {
    let mut tensor = proto_tensor();
    tensor.dtype = "complex64".to_owned();
    assert_eq!(
        decode_tensor(&tensor).unwrap_err().to_string(),
        "dtype \"complex64\" is not supported"
    );
    tensor = proto_tensor();
    tensor.compression = 6;
    assert!(matches!(
        decode_tensor(&tensor),
        Err(DecodeError::Unsupported {
            what: "compression",
            ..
        })
    ));
}

#[test]
fn too_many_dimensions_or_tensors_are_refused() {
    let mut tensor = proto_tensor();
    tensor.size = vec![1; MAX_TENSOR_DIMS + 1];
    assert!(matches!(
        decode_tensor(&tensor),
        Err(DecodeError::LimitExceeded { .. })
    ));
    for (count, fits) in [
        (MAX_TENSORS_PER_MESSAGE, true),
        (MAX_TENSORS_PER_MESSAGE + 1, false),
    ] {
        let message = runtime::ExpertRequest {
            tensors: vec![proto_tensor(); count],
            ..runtime::ExpertRequest::default()
        };
        let decoded = ExpertRequest::decode(message.encode_to_vec().into());
        assert_eq!(decoded.is_ok(), fits);
    }
    let flood = Bytes::from([0x12, 0x00].repeat(1_000_000));
    assert!(matches!(
        ExpertResponse::decode(flood),
        Err(DecodeError::LimitExceeded { .. })
    ));
}

#[test]
fn oversized_strings_are_refused() {
    let uid = ExpertUid {
        uid: "m".repeat(MAX_CHAIN_BYTES + 1),
    };
    assert!(ExpertUid::decode(uid.encode()).is_err());
    let request = ExpertRequest {
        metadata: vec![0; MAX_METADATA_BYTES + 1].into(),
        ..ExpertRequest::default()
    };
    assert!(ExpertRequest::decode(request.encode().unwrap()).is_err());
}

#[test]
fn a_shape_over_32_bits_cannot_be_sent() {
    let tensor = WireTensor {
        shape: vec![1 << 32],
        ..decode_tensor(&proto_tensor()).unwrap()
    };
    assert!(matches!(tensor.encode(), Err(EncodeError::Invalid { .. })));
}

#[test]
fn negative_chunks_mean_nothing() {
    let mut tensor = proto_tensor();
    tensor.chunks = -1;
    assert_eq!(decode_tensor(&tensor).map(|tensor| tensor.chunks), Ok(0));
}

proptest! {
    #[test]
    fn requests_and_responses_round_trip(
        uid in "[a-z.0-9 ]{0,40}",
        tensors in prop::collection::vec(any_tensor(), 0..4),
        metadata in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let metadata = Bytes::from(metadata);
        let response = ExpertResponse { tensors: tensors.clone(), metadata: metadata.clone() };
        prop_assert_eq!(ExpertResponse::decode(response.encode().unwrap()), Ok(response));
        let request = ExpertRequest { uid, tensors, metadata };
        prop_assert_eq!(ExpertRequest::decode(request.encode().unwrap()), Ok(request));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _ = ExpertUid::decode(bytes.clone());
        let _ = ExpertInfo::decode(bytes.clone());
        let _ = ExpertRequest::decode(bytes.clone());
        let _ = ExpertResponse::decode(bytes.clone());
        let _ = WireTensor::decode(bytes);
    }
}
