//! The closed label sets of the client's metrics.

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
    /// How a session ended.
    SessionOutcome {
        /// Closed after its last step.
        Ok = "ok",
        /// An error that could not be repaired.
        Failed = "failed",
        /// Dropped by its owner.
        Cancelled = "cancelled",
    }
}

label! {
    /// What a route was chosen for.
    RouteFor {
        /// The next token soon.
        MinLatency = "min_latency",
        /// Many tokens at once.
        MaxThroughput = "max_throughput",
    }
}

label! {
    /// Whether there was a route.
    RouteOutcome {
        /// Every block is covered.
        Ok = "ok",
        /// Some block has no server.
        NoRoute = "no_route",
    }
}

label! {
    /// What kind of work a step is.
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

impl Phase {
    /// The phase of a session's step with this many new tokens per sequence. A step without tokens (it opens a
    /// session or reorders its rows) is none.
    #[must_use]
    pub fn of_step(tokens: usize) -> Option<Self> {
        match tokens {
            0 => None,
            1 => Some(Self::Decode),
            _ => Some(Self::Prefill),
        }
    }
}

label! {
    /// Why a hop failed.
    HopFailure {
        /// No connection could be made.
        Connect = "connect",
        /// No answer within the deadline.
        Timeout = "timeout",
        /// The server had no room.
        Overloaded = "overloaded",
        /// An error frame, or a request that cannot be sent.
        Protocol = "protocol",
        /// An answer that is none to the step: of another shape, with bytes that do not fit it, or unasked for.
        BadTensor = "bad_tensor",
        /// The stream ended.
        Disconnected = "disconnected",
    }
}

label! {
    /// How the repair of a session ended.
    Failover {
        /// It went on over other servers.
        Ok = "ok",
        /// No replacement was found in time.
        Failed = "failed",
    }
}

label! {
    /// How a refresh of the swarm view ended.
    RefreshOutcome {
        /// Records were read.
        Ok = "ok",
        /// The DHT gave nothing.
        Error = "error",
    }
}

label! {
    /// State of a server as the swarm view sees it.
    SeenState {
        /// Serving.
        Online = "online",
        /// Loading.
        Joining = "joining",
        /// Announced as gone.
        Offline = "offline",
        /// Announced as serving, and not to be reached from here.
        Unreachable = "unreachable",
    }
}

label! {
    /// A kind of announced rate.
    RateKind {
        /// Steps of sessions.
        Inference = "inference",
        /// Whole sequences.
        Forward = "forward",
        /// What the link carries.
        Network = "network",
    }
}
