//! How much one asker may ask: a bucket for each that fills again as time passes.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// More than this are not kept: those that are full again say nothing.
const MOST: usize = 10_000;

/// Buckets of one size.
pub(crate) struct Limit<K> {
    each_second: f64,
    most: f64,
    left: Mutex<HashMap<K, (f64, Instant)>>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Asker {
    /// Whoever has this token or session.
    Known([u8; 32]),
    /// Whoever is at this address and has none.
    At(IpAddr),
}

/// One network of the sixth version is one asker: each of its hosts has more addresses than can be counted.
pub(crate) fn at(address: IpAddr) -> Asker {
    Asker::At(match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address => address,
    })
}

impl<K: Eq + Hash> Limit<K> {
    /// So many at once, and so many a second.
    pub(crate) fn new(most: f64, each_second: f64) -> Self {
        Self { each_second, most, left: Mutex::default() }
    }

    /// Whether one more is allowed; else how long it takes until it is.
    pub(crate) fn allows(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let have = left.get(key).map_or(self.most, |bucket| self.now(*bucket, now));
        if have >= 1.0 {
            return Ok(());
        }
        Err(Duration::from_secs_f64(((1.0 - have) / self.each_second).max(0.0)))
    }

    /// Takes one, if one is left; else how long it takes until one is.
    pub(crate) fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        self.allows(&key, now)?;
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if left.len() >= MOST {
            left.retain(|_, bucket| self.now(*bucket, now) < self.most);
        }
        if left.len() >= MOST {
            // Whoever asks under so many names is stopped by the limit of all.
            left.clear();
        }
        let bucket = left.entry(key).or_insert((self.most, now));
        *bucket = ((self.now(*bucket, now) - 1.0).max(0.0), now);
        Ok(())
    }

    fn now(&self, (left, at): (f64, Instant), now: Instant) -> f64 {
        (left + now.saturating_duration_since(at).as_secs_f64() * self.each_second).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::{Asker, Limit, MOST, at};
    use std::time::Duration;
    use tokio::time::Instant;

    #[test]
    fn so_many_at_once_and_then_so_many_a_second() {
        let (limit, now) = (Limit::new(5.0, 1.0 / 12.0), Instant::now());
        for _ in 0..5 {
            assert_eq!(limit.take("a", now), Ok(()));
        }
        assert_eq!(limit.take("a", now), Err(Duration::from_secs(12)));
        assert_eq!(limit.allows(&"a", now), Err(Duration::from_secs(12)), "asking costs nothing");
        assert_eq!(limit.take("b", now), Ok(()), "each has its own");
        let later = now + Duration::from_secs(13);
        assert_eq!((limit.take("a", later), limit.take("a", later).is_err()), (Ok(()), true));
        let much_later = now + Duration::from_secs(100_000);
        for _ in 0..5 {
            assert_eq!(limit.take("a", much_later), Ok(()));
        }
        assert!(limit.take("a", much_later).is_err(), "it never holds more");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (limit, now) = (Limit::new(2.0, 1.0), Instant::now());
        for key in 0..3 * MOST {
            assert_eq!(limit.take(key, now), Ok(()));
        }
        assert!(limit.left.lock().unwrap().len() <= MOST);
    }

    #[test]
    fn a_network_of_the_sixth_version_is_one_asker() {
        let asker = |text: &str| at(text.parse().unwrap());
        assert_eq!(asker("2001:db8:1:2::1"), asker("2001:db8:1:2:ffff::9"));
        assert_ne!(asker("2001:db8:1:2::1"), asker("2001:db8:1:3::1"));
        assert_eq!(asker("::ffff:10.0.0.1"), Asker::At("10.0.0.1".parse().unwrap()));
        assert_ne!(asker("10.0.0.1"), asker("10.0.0.2"));
    }
}
