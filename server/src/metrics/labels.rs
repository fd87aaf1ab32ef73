//! The closed label sets of the metrics.

/// A label with a closed set of values.
pub trait Label: Copy + 'static {
    /// Every value.
    const ALL: &'static [Self];
    /// The value's text.
    fn label(self) -> &'static str;
}

/// Defines a label: an enum, its texts, and the list of all of them.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$value_doc])* $value,)*
        }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$value,)*];

            fn label(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)*
                }
            }
        }

        impl $name {
            /// Every text, in order of declaration.
            pub const TEXTS: &'static [&'static str] = &[$($text,)*];
        }
    };
}

label! {
    /// An RPC of the block service.
    Method {
        /// What this server is, and the free cache.
        Info = "rpc_info",
        /// Whole sequences, one message.
        Forward = "rpc_forward",
        /// Whole sequences, in parts.
        ForwardStream = "rpc_forward_stream",
        /// Gradients, one message.
        Backward = "rpc_backward",
        /// Gradients, in parts.
        BackwardStream = "rpc_backward_stream",
        /// One step of a session.
        Inference = "rpc_inference",
        /// A step that another server hands over.
        Push = "rpc_push",
    }
}

label! {
    /// How a request ended.
    Code {
        /// Answered.
        Ok = "ok",
        /// The caller's mistake.
        BadRequest = "bad_request",
        /// Refused for lack of room.
        Overloaded = "overloaded",
        /// A time limit passed.
        Timeout = "timeout",
        /// The caller went away.
        Cancelled = "cancelled",
        /// Our mistake.
        Internal = "internal",
    }
}

label! {
    /// Why a request was refused before work began.
    Rejection {
        /// A queue or a cap was full.
        Overloaded = "overloaded",
        /// No room in the KV cache.
        CacheFull = "cache_full",
        /// Over a length limit.
        TooLong = "too_long",
        /// Blocks that are not served here.
        BadBlocks = "bad_blocks",
        /// Shutting down.
        Draining = "draining",
        /// A peer that the operator does not trust.
        Untrusted = "untrusted",
    }
}

label! {
    /// How a session ended.
    SessionOutcome {
        /// The client ended it.
        Closed = "closed",
        /// No step came in time, or it reached its age limit.
        IdleTimeout = "idle_timeout",
        /// A step failed.
        Error = "error",
        /// The client vanished.
        Cancelled = "cancelled",
    }
}

label! {
    /// What kind of work tokens were run for.
    Phase {
        /// More than one new token per sequence.
        Prefill = "prefill",
        /// One new token per sequence.
        Decode = "decode",
        /// No cache.
        Forward = "forward",
        /// Gradients.
        Backward = "backward",
    }
}

label! {
    /// A stage of a step.
    Stage {
        /// Bytes to numbers.
        Deserialize = "deserialize",
        /// Waiting for the device.
        Queue = "queue",
        /// Arithmetic.
        Compute = "compute",
        /// Numbers to bytes.
        Serialize = "serialize",
    }
}

label! {
    /// A line of tasks before the device.
    Pool {
        /// Steps of sessions.
        Inference = "inference",
        /// Whole sequences.
        Forward = "forward",
        /// Gradients.
        Backward = "backward",
    }
}

label! {
    /// How a push to the next server ended.
    PushOutcome {
        /// Taken.
        Ok = "ok",
        /// Not taken, or not sent.
        Error = "error",
    }
}

label! {
    /// Why a share of the KV cache was refused.
    AllocFailure {
        /// Not free in the time that the caller would wait.
        Timeout = "timeout",
        /// Larger than the whole cache.
        TooLarge = "too_large",
        /// Taken from a growing session, which has ended, for an older one or for want of more.
        Taken = "taken",
    }
}

label! {
    /// What memory is held for.
    MemoryPool {
        /// Weights of the blocks.
        Weights = "weights",
        /// Keys and values that sessions have reserved.
        KvCache = "kv_cache",
    }
}

label! {
    /// The state that the server announces.
    State {
        /// Gone.
        Offline = "offline",
        /// Loading.
        Joining = "joining",
        /// Serving.
        Online = "online",
        /// Finishing.
        Draining = "draining",
    }
}

label! {
    /// A rate in the announced record.
    AnnouncedRate {
        /// What others balance by.
        Throughput = "throughput",
        /// Decode.
        Inference = "inference",
        /// Whole sequences.
        Forward = "forward",
        /// What the link carries.
        Network = "network",
    }
}
