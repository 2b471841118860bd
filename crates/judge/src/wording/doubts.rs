//! Sentences about what the judge assumes and cannot take for granted.

use crate::bounds::{Bounds, Difference};
use crate::evidence::Evidence;
use crate::honesty::{Calibration, SampleRatio};

use super::{grouped, percent, points};

/// What is added to the sentence of a rollback.
pub(crate) fn harmful(evidence: &Evidence) -> String {
    let mut text = String::new();
    if let Some(id) = evidence.single_instance {
        text += &format!(
            " One instance: without {id:016x} there would be no evidence to speak of, so look at where it runs first."
        );
    }
    if evidence.calibration == Calibration::Uncalibrated {
        text += " Uncalibrated: stable's instances differ among themselves, so that chance may be larger.";
    }
    text
}

pub(crate) fn uncalibrated() -> String {
    "Undecided: uncalibrated: stable's own instances fail so differently from one another that a difference between the \
     versions may be one between instances; no step is left unless a person says so."
        .to_owned()
}

pub(crate) fn clients_forgotten() -> String {
    "Undecided: uncalibrated: more clients failed than are remembered, so a client that fails again and again cannot be told from \
     many; no step is left unless a person says so."
        .to_owned()
}

pub(crate) fn sample_ratio(ratio: &SampleRatio) -> String {
    let SampleRatio { given, due, routed, .. } = *ratio;
    format!(
        "Undecided: the split is not the one configured: of {} requests {} ({}) went to the canary where {} were due; the \
         versions may be given different requests, and no step is left unless a person says so.",
        grouped(routed),
        grouped(given),
        percent(given as f64 / routed as f64),
        grouped(libm::round(due) as u64)
    )
}

/// The canary's failure rate beside stable's.
pub(crate) fn bounds(bounds: &Bounds) -> String {
    let Difference { low, high, .. } = bounds.difference;
    let beside = |difference: f64| match difference {
        0.0 => "stable's".to_owned(),
        _ if difference < 0.0 => format!("{} below stable's", points(-difference)),
        _ => format!("{} above stable's", points(difference)),
    };
    let mut text = match (low > -1.0, high < 1.0) {
        (false, false) => "nothing is known of the difference yet".to_owned(),
        (true, true) if low >= high => {
            format!("the difference has changed: once less than {}, once more than {}", beside(high), beside(low))
        }
        (true, true) => format!("between {} and {}", beside(low), beside(high)),
        (true, false) => format!("more than {}", beside(low)),
        (false, true) => format!("less than {}", beside(high)),
    };
    match bounds.odds_ratio_low {
        0.0 => {}
        1.0 => text += ", and worse than stable's",
        odds => text += &format!(", and its odds of failure more than {odds} times stable's"),
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::bounds::{Bounds, Difference};

    #[test]
    fn bounds_as_people_read_them() {
        let told = |low, high, odds_ratio_low| {
            Bounds { difference: Difference { estimate: None, low, high }, odds_ratio_low }.to_string()
        };
        assert_eq!(told(-1.0, 1.0, 0.0), "nothing is known of the difference yet");
        assert_eq!(told(-1.0, 0.01, 0.0), "less than 1 percentage point above stable's");
        assert_eq!(
            told(-0.005, 0.002, 0.0),
            "between 0.5 percentage points below stable's and 0.2 percentage points above stable's"
        );
        assert_eq!(
            told(0.0, 0.05, 1.25),
            "between stable's and 5 percentage points above stable's, and its odds of failure more than 1.25 times stable's"
        );
        assert_eq!(
            told(0.02, 0.001, 1.0),
            "the difference has changed: once less than 0.1 percentage points above stable's, once more than 2 percentage \
             points above stable's, and worse than stable's"
        );
    }
}
