//! Attempts to sign in that have begun: each belongs to one browser and one provider, and counts once.

use crate::{Refused, text::draw};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// So long an attempt may take.
pub(crate) const LENGTH: Duration = Duration::from_secs(600);
/// Whoever has not signed in may begin: this many are remembered, the last ones.
const MOST: usize = 1_000;

/// One attempt.
pub(crate) struct Flow {
    provider: String,
    /// Goes there and back again.
    pub(crate) state: Zeroizing<String>,
    /// Stands in what the provider signs.
    pub(crate) nonce: Zeroizing<String>,
    /// Proves that the code is fetched by who asked for it (RFC 7636).
    pub(crate) verifier: Zeroizing<String>,
    /// What the browser keeps.
    browser: Zeroizing<String>,
    began: Instant,
}

/// An attempt has begun.
pub struct Started {
    /// Where the browser goes.
    pub location: String,
    /// What it keeps, and shows when it comes back.
    pub kept: Zeroizing<String>,
    /// How long.
    pub length: Duration,
}

impl Flow {
    pub(crate) fn begin(provider: &str) -> Result<Self, Refused> {
        let (state, nonce, verifier, browser) = (draw()?, draw()?, draw()?, draw()?);
        Ok(Self { provider: provider.to_owned(), state, nonce, verifier, browser, began: Instant::now() })
    }

    /// What the provider is told of the verifier.
    pub(crate) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, self.verifier.as_bytes()))
    }
}

#[derive(Default)]
pub(crate) struct Flows(Mutex<VecDeque<Flow>>);

impl Flows {
    /// Remembers one.
    pub(crate) fn keep(&self, flow: Flow, location: String) -> Started {
        let kept = flow.browser.clone();
        let mut flows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flows.retain(|flow| flow.began.elapsed() < LENGTH);
        if flows.len() >= MOST {
            flows.pop_front();
        }
        flows.push_back(flow);
        Started { location, kept, length: LENGTH }
    }

    /// Takes the one of this state, if it was begun with this provider in the browser that keeps one of `kept`. An attempt that
    /// somebody else comes back with is over, too.
    pub(crate) fn take<'a>(&self, provider: &str, state: &str, kept: impl Iterator<Item = &'a str>) -> Option<Flow> {
        let mut flows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flows.retain(|flow| flow.began.elapsed() < LENGTH);
        let at = flows.iter().position(|flow| same(&flow.state, state))?;
        let flow = flows.remove(at)?;
        drop(flows);
        // All are compared.
        let own = kept.fold(false, |own, kept| own | same(&flow.browser, kept));
        (own && flow.provider == provider).then_some(flow)
    }
}

/// Compares in constant time.
pub(crate) fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::{Flow, Flows, MOST};

    fn begun(flows: &Flows, provider: &str) -> (String, String) {
        let flow = Flow::begin(provider).unwrap();
        let state = flow.state.to_string();
        (state, flows.keep(flow, String::new()).kept.to_string())
    }

    #[test]
    fn an_attempt_counts_once_for_its_browser_and_its_provider() {
        let flows = Flows::default();
        let (state, browser) = begun(&flows, "company");
        assert!(flows.take("company", "other", [&*browser].into_iter()).is_none());
        assert!(flows.take("company", "", [&*browser].into_iter()).is_none());
        assert!(flows.take("company", &state, ["x", &*browser].into_iter()).is_some());
        assert!(flows.take("company", &state, [&*browser].into_iter()).is_none(), "used");
        for (provider, kept) in [("other", Some(())), ("company", None)] {
            let (state, browser) = begun(&flows, "company");
            assert!(flows.take(provider, &state, kept.map(|()| &*browser).into_iter()).is_none());
            assert!(flows.take("company", &state, [&*browser].into_iter()).is_none(), "over");
        }
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let flows = Flows::default();
        let first = begun(&flows, "a");
        for _ in 0..MOST {
            begun(&flows, "a");
        }
        assert_eq!(flows.0.lock().unwrap().len(), MOST);
        assert!(flows.take("a", &first.0, [&*first.1].into_iter()).is_none());
    }
}
