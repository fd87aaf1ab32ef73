//! The protobuf messages as the wire has them: generated code and the guard in front of it.
//!
//! Private to the crate; the public types made of them live in `message`, `frame` and `dht`.

/// What generated code may do that ours may not.
macro_rules! generated {
    ($($name:ident)*) => {$(
        #[rustfmt::skip]
        #[allow(
            dead_code,
            unreachable_pub,
            unused_qualifications,
            clippy::use_self,
            reason = "generated code"
        )]
        pub(crate) mod $name;
    )*};
}

generated!(dht p2pd runtime);

mod guard;

pub(crate) use guard::decode_bounded;
