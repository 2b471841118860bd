//! When a step expects to be left: what its verdict says of the proof, as what comes next for a person.

use super::Next;
use crate::{Millis, Timestamp, Weight};
use davy_judge::{Calibration, Evidence, Forecast, Kind, Promotion, Verdict};

/// After a step that is left by proof: to `given`, or to what the judge chooses. `seen` is its last verdict, and when that was.
pub(super) fn next(seen: Option<(Timestamp, &Verdict)>, given: Option<Weight>, held: Timestamp) -> Next {
    let says = |what: String, at| Next { what, at };
    let ramp = seen.and_then(|(_, verdict)| verdict.evidence.ramp);
    let chosen = ramp.filter(|ramp| given.is_none() && Some(ramp.next) > seen.map(|(_, verdict)| verdict.weight));
    let chosen = chosen.and_then(|ramp| Weight::new(ramp.next).ok());
    let waits = given.is_none() && ramp.is_some() && chosen.is_none();
    let target = match given.or(chosen) {
        Some(weight) if given.is_none() => format!("{weight}, as it stands,"),
        Some(weight) => weight.to_string(),
        None => "a larger share".to_owned(),
    };
    let when = format!("{target} once the hold has passed and the margin is proven");
    match proof(seen) {
        _ if waits => says("a larger share once more is known, or more of the budget is left".to_owned(), None),
        Proof::Proven => says(format!("{target} once the hold has passed: the margin is proven"), Some(held)),
        Proof::Unknown if given.is_none() => says(format!("{when}, and the budget allows it"), Some(held)),
        Proof::Unknown => says(when, Some(held)),
        Proof::Against => says(format!("{when}, and nothing speaks against the canary any more"), None),
        Proof::Person => says(format!("{target} once a person promotes it: see the verdict"), None),
        Proof::OutOfReach => says(format!("{when}, which is out of reach with what was counted so far"), None),
        Proof::Waits { requests } => {
            says(format!("{when}, which needs about {requests} more canary requests, and none come"), None)
        }
        Proof::Missing(missing) => says(format!("{when}, {missing}"), None),
        Proof::Expected { at } => says(format!("{when}, expected at the present traffic"), Some(at.max(held))),
    }
}

/// What is missing for any step that has to show something, where something is.
pub(super) const fn missing(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::NoTraffic => Some("and no request comes to the canary"),
        Kind::Blind => Some("and something it needs cannot be measured now"),
        Kind::Harmful | Kind::Safe | Kind::Undecided => None,
    }
}

/// How far a proof is.
enum Proof {
    Unknown,
    Proven,
    Against,
    Person,
    OutOfReach,
    Waits { requests: u64 },
    Missing(&'static str),
    Expected { at: Timestamp },
}

fn proof(seen: Option<(Timestamp, &Verdict)>) -> Proof {
    let Some((at, verdict)) = seen else { return Proof::Unknown };
    let evidence = &verdict.evidence;
    match verdict.kind {
        Kind::Safe => return Proof::Proven,
        Kind::Undecided if doubted(evidence) => return Proof::Person,
        Kind::Undecided if evidence.amber || evidence.hanging => return Proof::Against,
        Kind::Undecided => {}
        kind => return missing(kind).map_or(Proof::Unknown, Proof::Missing),
    }
    let speed = evidence.speed.as_ref().map(|speed| speed.proof);
    let open: Vec<Promotion> = evidence.promotion.into_iter().chain(speed).filter(|proof| !proof.proven).collect();
    if open.is_empty() {
        return Proof::Unknown;
    }
    let Some(forecasts) = open.iter().map(|proof| proof.forecast).collect::<Option<Vec<Forecast>>>() else {
        return Proof::OutOfReach;
    };
    let requests = forecasts.iter().map(|forecast| forecast.requests).max().unwrap_or_default();
    match forecasts.iter().map(|forecast| forecast.seconds).collect::<Option<Vec<f64>>>() {
        None => Proof::Waits { requests },
        Some(seconds) => {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
            let wait = Millis((seconds.into_iter().fold(0.0, f64::max).ceil() as u64).saturating_mul(1000));
            Proof::Expected { at: at.plus(wait) }
        }
    }
}

/// Whether what the judge takes for granted does not hold, so that no proof is enough.
fn doubted(evidence: &Evidence) -> bool {
    evidence.calibration == Calibration::Uncalibrated || evidence.sample_ratio.is_some_and(|ratio| ratio.wrong)
}

#[cfg(test)]
mod tests {
    use super::next;
    use crate::{Timestamp, Weight};
    use davy_judge::{Counts, Judge, Policy, Verdict, Window};

    /// After `seconds` of 100 requests a second, a tenth of them to the canary.
    fn seen(seconds: u64, failed: u64, ramp: Option<f64>) -> Verdict {
        let mut judge = Judge::new(Policy { ramp, ..Policy::default() }).expect("a policy");
        for second in 0..seconds {
            let counts = |n, x| Counts { n, x, admitted: n, repeated: 0 };
            judge.observe(&Window {
                epoch: 1,
                weight: 1_000,
                from_ms: second * 1000,
                to_ms: (second + 1) * 1000,
                canary: counts(10, if second == 0 { failed } else { 0 }),
                stable: counts(90, 0),
            });
        }
        judge.verdict()
    }

    /// A time that passes is not told where nothing comes of it.
    #[test]
    fn a_step_that_nothing_comes_to_names_no_time() {
        let (held, given) = (Timestamp(5_000), Weight::new(5_000).ok());
        let mut judge = Judge::new(Policy::default()).expect("a policy");
        let quiet = |second: u64, stable: u64| Window {
            epoch: 1,
            weight: 1_000,
            from_ms: second * 1000,
            to_ms: (second + 1) * 1000,
            canary: Counts::default(),
            stable: Counts { n: stable, x: 0, admitted: stable, repeated: 0 },
        };
        (0..60).for_each(|second| judge.observe(&quiet(second, 0)));
        let idle = next(Some((Timestamp(60_000), &judge.verdict())), given, held);
        assert_eq!(idle.at, None);
        assert!(idle.what.ends_with("no request comes to the canary"), "{}", idle.what);
        judge.blind(davy_judge::Blindness::Silence);
        let blind = next(Some((Timestamp(60_000), &judge.verdict())), given, held);
        assert_eq!(blind.at, None);
        assert!(blind.what.ends_with("something it needs cannot be measured now"), "{}", blind.what);
    }

    #[test]
    fn a_step_says_when_it_expects_to_be_left() {
        let (held, given) = (Timestamp(5_000), Weight::new(5_000).ok());
        let told = |verdict: &Verdict, given| next(Some((Timestamp(100_000), verdict)), given, held);
        let general = next(None, given, held);
        assert_eq!(
            (general.what.as_str(), general.at),
            ("50 % once the hold has passed and the margin is proven", Some(held))
        );
        let waits = seen(5, 0, None);
        let proof = waits.evidence.promotion.and_then(|proof| proof.forecast).and_then(|forecast| forecast.seconds);
        let ahead = proof.expect("there is traffic");
        let expected = told(&waits, given);
        assert!(expected.what.ends_with("expected at the present traffic"), "{}", expected.what);
        let at = expected.at.expect("a time").0;
        assert!(at >= 100_000 + (ahead * 1000.0) as u64 && at < 102_000 + (ahead * 1000.0) as u64, "{at} for {ahead}");
        let proven = told(&seen(2_000, 0, None), given);
        assert_eq!(
            (proven.what.as_str(), proven.at),
            ("50 % once the hold has passed: the margin is proven", Some(held))
        );
        let against = told(&seen(1, 1, None), given);
        assert!(
            against.what.ends_with("nothing speaks against the canary any more") && against.at.is_none(),
            "{against:?}"
        );
        let chosen = told(&seen(2_000, 0, Some(1.0)), None);
        assert!(
            chosen.what.contains("as it stands, once the hold has passed: the margin is proven"),
            "{}",
            chosen.what
        );
    }
}
