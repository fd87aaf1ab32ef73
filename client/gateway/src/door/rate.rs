//! How many requests a key or an address may make: buckets that refill evenly (GCRA).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::address::net_of;

/// A limit such as `60/min`: so many at once, and refilled within that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    requests: NonZeroU32,
    per: Duration,
}

/// A text that is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a rate is a number from 1 to {MAX_REQUESTS} per s, min or h, such as 60/min")]
pub struct BadRate;

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Bucket {
    Key(Arc<str>),
    Address(IpAddr),
    /// All addresses that there is no room to tell apart.
    Others,
}

/// What is left of a limit after a request was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    limit: u32,
    remaining: u32,
    /// Until the bucket is full again.
    reset: Duration,
    /// Of a request that is refused: until one is let through.
    pub(super) wait: Option<Duration>,
}

/// The buckets of every rate.
pub(super) struct RateLimits<C: Clock = DefaultClock> {
    clock: C,
    by_rate: Mutex<BTreeMap<Rate, Arc<Limiter<C>>>>,
}

type Limiter<C> = RateLimiter<Bucket, HashMapStateStore<Bucket>, C, StateInformationMiddleware>;

impl Rate {
    fn quota(self) -> Quota {
        let refill = Quota::with_period(self.per / self.requests.get());
        let refill = refill.unwrap_or_else(|| Quota::per_second(self.requests));
        refill.allow_burst(self.requests)
    }
}

impl FromStr for Rate {
    type Err = BadRate;

    fn from_str(text: &str) -> Result<Self, BadRate> {
        let (requests, unit) = text.split_once('/').ok_or(BadRate)?;
        let requests: NonZeroU32 = requests.trim().parse().map_err(|_| BadRate)?;
        let seconds = match unit.trim() {
            "s" | "sec" | "second" => 1,
            "m" | "min" | "minute" => 60,
            "h" | "hour" => 3600,
            _ => return Err(BadRate),
        };
        if requests.get() > MAX_REQUESTS {
            return Err(BadRate);
        }
        Ok(Self {
            requests,
            per: Duration::from_secs(seconds),
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "min",
            _ => "h",
        };
        write!(f, "{}/{unit}", self.requests)
    }
}

impl Bucket {
    /// Of an address. Whoever has one IPv6 address has the whole /64.
    pub(super) fn of_address(ip: Option<IpAddr>) -> Self {
        ip.map_or(Self::Others, |ip| Self::Address(net_of(ip)))
    }
}

impl<C: Clock + Clone> RateLimits<C> {
    pub(super) fn new(clock: C) -> Self {
        Self {
            clock,
            by_rate: Mutex::default(),
        }
    }

    /// Counts a request.
    pub(super) fn count(&self, rate: Rate, bucket: &Bucket) -> Allowance {
        let limiter = self.limiter(rate);
        let mut bucket = bucket;
        if matches!(bucket, Bucket::Address(_)) && limiter.len() >= MAX_BUCKETS {
            // Full buckets are as good as none.
            limiter.retain_recent();
            if limiter.len() >= MAX_BUCKETS {
                bucket = &Bucket::Others;
            }
        }
        let limit = rate.requests.get();
        let refill = rate.per / limit;
        match limiter.check_key(bucket) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                Allowance {
                    limit,
                    remaining,
                    reset: refill * limit.saturating_sub(remaining),
                    wait: None,
                }
            }
            Err(refused) => Allowance {
                limit,
                remaining: 0,
                reset: rate.per,
                wait: Some(refused.wait_time_from(self.clock.now())),
            },
        }
    }

    /// Forgets the buckets of rates that nothing has any more.
    pub(super) fn keep(&self, rates: &[Rate]) {
        let mut by_rate = self.by_rate.lock().unwrap_or_else(PoisonError::into_inner);
        by_rate.retain(|rate, _| rates.contains(rate));
    }

    fn limiter(&self, rate: Rate) -> Arc<Limiter<C>> {
        let mut by_rate = self.by_rate.lock().unwrap_or_else(PoisonError::into_inner);
        let limiter = by_rate.entry(rate).or_insert_with(|| {
            let limiter = RateLimiter::hashmap_with_clock(rate.quota(), self.clock.clone());
            Arc::new(limiter.with_middleware())
        });
        Arc::clone(limiter)
    }
}

impl<C: Clock> fmt::Debug for RateLimits<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimits").finish_non_exhaustive()
    }
}

impl Allowance {
    /// The headers that clients read: how many, how many are left, and when all are there again.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let reset = format!("{}s", self.reset.as_secs_f64().ceil());
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        if let Ok(reset) = HeaderValue::from_str(&reset) {
            headers.insert(RESET, reset);
        }
    }
}

/// Requests of a rate at most: a million per second is no limit.
const MAX_REQUESTS: u32 = 1_000_000;
/// Addresses that are told apart, per rate: about 1 MB.
const MAX_BUCKETS: usize = 10_000;
pub(super) const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");
pub(super) const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");
pub(super) const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset-requests");

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn address(text: &str) -> Bucket {
        Bucket::of_address(Some(text.parse().unwrap()))
    }

    #[test]
    fn rates_are_read_and_shown() {
        for text in ["1/s", "60/min", "1000/h"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for wrong in ["", "60", "0/min", "-1/s", "60/day", "1000001/s", "/min"] {
            assert_eq!(wrong.parse::<Rate>(), Err(BadRate), "{wrong}");
        }
    }

    #[test]
    fn a_bucket_empties_and_refills_evenly() {
        let clock = FakeRelativeClock::default();
        let limits = RateLimits::new(clock.clone());
        let rate: Rate = "3/min".parse().unwrap();
        let key = Bucket::Key("alice".into());
        let left: Vec<_> = (0..3).map(|_| limits.count(rate, &key).remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        let refused = limits.count(rate, &key);
        assert_eq!(refused.wait, Some(Duration::from_secs(20)));
        assert!(
            limits
                .count(rate, &Bucket::Key("bob".into()))
                .wait
                .is_none()
        );
        clock.advance(Duration::from_secs(20));
        let again = limits.count(rate, &key);
        assert_eq!((again.wait, again.remaining), (None, 0));
        let mut headers = HeaderMap::new();
        again.write(&mut headers);
        let shown =
            [LIMIT, REMAINING, RESET].map(|name| headers[name].to_str().unwrap().to_owned());
        assert_eq!(shown, ["3", "0", "60s"]);
    }

    #[test]
    fn a_net_of_ipv6_is_one_caller_and_ipv4_addresses_are_many() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1:2"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_ne!(address("10.0.0.1"), address("10.0.0.2"));
    }

    #[test]
    fn a_flood_of_addresses_makes_no_more_buckets_and_leaves_keys_alone() {
        let clock = FakeRelativeClock::default();
        let limits = RateLimits::new(clock.clone());
        let rate: Rate = "2/min".parse().unwrap();
        for number in 0..30_000_u32 {
            limits.count(rate, &Bucket::Address(IpAddr::V4(number.into())));
        }
        assert!(limits.limiter(rate).len() <= MAX_BUCKETS + 1);
        assert!(limits.count(rate, &address("203.0.113.1")).wait.is_some());
        assert!(limits.count(rate, &Bucket::Key("a".into())).wait.is_none());
        clock.advance(Duration::from_secs(200));
        assert!(limits.count(rate, &address("203.0.113.1")).wait.is_none());
        assert_eq!(limits.limiter(rate).len(), 1);
        limits.keep(&[]);
        assert!(limits.by_rate.lock().unwrap().is_empty());
    }
}
