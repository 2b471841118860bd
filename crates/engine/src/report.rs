//! `deployment_report.md`: what one rollout did, for a person in a hurry: the outcome and why first, then what it cost,
//! then every step, then every event. Drawn from the journal alone, and the same every time.

pub mod evidence;
mod format;
mod guard;
mod steps;
mod words;

use crate::{past::Past, store::BatchesDigest};
use davy_core::{
    InstanceId, Release, RolloutId, ServiceKey, Timestamp, Weight,
    rollout::{Event, Outcome, Request, RequestKind, State},
};
use davy_ports::{Batch, Record, Tries};
use format::{capital, code, count, counted, sentence, share, short, text, time};
use std::{collections::BTreeSet, fmt::Write as _};
use steps::{Counts, Step};

/// What there is of a rollout's evidence.
#[derive(Clone, Copy, Debug)]
pub enum Evidence<'a> {
    /// Every stored batch.
    Kept(&'a [Batch]),
    /// None any more, and why.
    LetGo(&'a str),
}

impl<'a> Evidence<'a> {
    const fn batches(self) -> &'a [Batch] {
        match self {
            Self::Kept(batches) => batches,
            Self::LetGo(_) => &[],
        }
    }
}

/// A report that was written while there was evidence, once that has been let go: it says so.
pub(crate) fn without(report: String, why: &str) -> String {
    let why = sentence(why);
    match report.contains(&why) {
        true => report,
        false => format!("{}\n\n## The evidence\n\nThis was written while it was there. {why}\n", report.trim_end()),
    }
}

/// The report of a rollout, from its own events, what was before it, and its evidence; none when the past does not know it. A
/// rollout under way is reported as it stands.
#[must_use]
pub fn report(past: &Past, records: &[Record], rollout: &RolloutId, evidence: Evidence<'_>) -> Option<String> {
    let story = Story::of(past, records, rollout, evidence)?;
    let batches = evidence.batches();
    let mut page = String::new();
    // Writing into a string cannot fail.
    let _ = story.headline(&mut page);
    let _ = story.summary(&mut page);
    let _ = story.requests(&mut page, batches);
    let _ = story.steps(&mut page);
    let _ = guard::guard(&mut page, story.own);
    let _ = story.events(&mut page);
    let _ = story.check(&mut page, batches);
    Some(page)
}

/// A reason of at least so many bytes is told once.
const LONG: usize = 80;

/// What the journal says of one rollout.
struct Story<'a> {
    key: &'a ServiceKey,
    request: &'a Request,
    /// What served before; none for the first deployment, and for one that never began.
    from: Option<&'a Release>,
    own: &'a [Record],
    asked: Timestamp,
    began: Option<Timestamp>,
    promoted: Option<Timestamp>,
    back: Option<Timestamp>,
    finished: Option<Timestamp>,
    standing: Standing,
    steps: Vec<Step>,
    /// All that requests were counted of.
    instances: BTreeSet<InstanceId>,
    /// Why there are no counts, if they were let go.
    let_go: Option<&'a str>,
}

/// How it stands.
enum Standing {
    /// It has not begun.
    Waiting,
    /// It goes on.
    UnderWay {
        /// The state's word.
        word: &'static str,
        /// Why it waits, if it does.
        paused: Option<String>,
        /// What comes next.
        next: String,
    },
    /// Its traffic is being put back.
    GoingBack { outcome: Outcome, why: String },
    /// Its outcome is certain.
    Ended { outcome: Outcome, why: String },
}

impl<'a> Story<'a> {
    fn of(past: &'a Past, own: &'a [Record], rollout: &RolloutId, evidence: Evidence<'a>) -> Option<Self> {
        let batches = evidence.batches();
        let of_its_service = &own.first()?.stream;
        let summary = past.of(Some(of_its_service)).find(|summary| summary.rollout == *rollout)?;
        let state = &past.service(&summary.key)?.state;
        let (first, request) = own.iter().find_map(|record| match &record.entry.event {
            Event::RolloutRequested { request } | Event::RolloutQueued { request } if request.rollout == *rollout => {
                Some((record, request))
            }
            _ => None,
        })?;
        let when =
            |is: fn(&Event) -> bool| own.iter().find(|record| is(&record.entry.event)).map(|record| record.entry.at);
        Some(Self {
            key: &first.stream,
            request,
            from: past.before(summary),
            asked: first.entry.at,
            began: when(|event| matches!(event, Event::RolloutRequested { .. })),
            promoted: when(|event| matches!(event, Event::Promoted)),
            back: when(|event| matches!(event, Event::Reverted { .. })),
            finished: when(|event| matches!(event, Event::RolloutFinished { .. } | Event::RolloutDropped { .. })),
            standing: Standing::of(own, rollout, state),
            steps: steps::steps(own, &request.release.id, batches),
            instances: batches.iter().flat_map(|batch| &batch.window.cells).map(|cell| cell.instance.clone()).collect(),
            let_go: match evidence {
                Evidence::Kept(_) => None,
                Evidence::LetGo(why) => Some(why),
            },
            own,
        })
    }

    /// The first deployment of its service: nothing served before.
    fn is_first(&self) -> bool {
        self.began.is_some() && self.from.is_none()
    }

    /// The last weight that the trial reached.
    fn reached(&self) -> Option<Weight> {
        self.steps.iter().rev().find(|step| step.index.is_some()).map(|step| step.weight)
    }

    /// When what people wait for happened.
    fn decided(&self) -> Option<Timestamp> {
        match &self.standing {
            Standing::Ended { outcome: Outcome::Promoted, .. } => self.promoted.or(self.finished),
            Standing::Ended { .. } => self.back.or(self.finished),
            _ => None,
        }
    }

    fn headline(&self, page: &mut String) -> std::fmt::Result {
        let at = self.reached().map(|weight| format!(" at {weight}")).unwrap_or_default();
        let after = match (self.began, self.decided()) {
            (Some(began), Some(decided)) => format!(", {} after it began", decided.since(began)),
            _ => String::new(),
        };
        let (word, lead) = match &self.standing {
            Standing::Waiting => ("Waiting".to_owned(), "**Not begun yet.** Another rollout comes first.".to_owned()),
            Standing::UnderWay { paused: Some(why), next, .. } => {
                ("Held".to_owned(), format!("**Held{at}.** {} Next: {}", sentence(why), sentence(next)))
            }
            Standing::UnderWay { word, next, .. } => {
                ("Under way".to_owned(), format!("**Under way{at}** ({word}). Next: {}", sentence(next)))
            }
            Standing::GoingBack { outcome, why } => {
                let outcome = words::outcome_words(*outcome);
                (
                    "Going back".to_owned(),
                    format!("**Traffic is going back to stable{at}** ({outcome}). {}", sentence(why)),
                )
            }
            Standing::Ended { outcome, why } => {
                let at = if self.promoted.is_some() { String::new() } else { at };
                let outcome = capital(words::outcome_words(*outcome));
                let lead = format!("**{outcome}{at}{after}.** {}", sentence(why));
                (outcome, lead)
            }
        };
        writeln!(page, "# {word}: {} in {}\n\n{lead}", self.key.service, self.key.environment)?;
        if self.is_first() {
            writeln!(page, "\nNothing was judged: no release of the service served before this one.")?;
        } else if let Some(harm) = self.harm() {
            writeln!(page, "\n{harm}")?;
        }
        if let (Standing::Ended { outcome: Outcome::RolledBack | Outcome::Aborted, .. }, Some(before), true) =
            (&self.standing, self.from, self.back.is_some())
        {
            writeln!(page, "\nRelease {} took over every request again, as before.", code(before.id.as_str()))?;
        }
        writeln!(page)
    }

    fn summary(&self, page: &mut String) -> std::fmt::Result {
        let after = |at: Option<Timestamp>| match (at, self.began) {
            (Some(at), Some(began)) => format!("{}, after {}", time(at), at.since(began)),
            (Some(at), None) => time(at),
            (None, _) => "not yet".to_owned(),
        };
        let kind = match self.request.kind {
            RequestKind::Deploy => "",
            RequestKind::Rollback => ", to go back to an earlier release",
            RequestKind::Remove => ", to remove the service",
        };
        let before = match &self.from {
            Some(release) => describe(release),
            None if self.is_first() => "nothing: the first deployment".to_owned(),
            None => "not known: it never began".to_owned(),
        };
        writeln!(page, "| | |\n|---|---|")?;
        let mut row = |name: &str, value: &str| writeln!(page, "| {name} | {value} |");
        row("Service", self.key.service.as_str())?;
        row("Environment", self.key.environment.as_str())?;
        row("Release", &describe(&self.request.release))?;
        row("Stable before", &before)?;
        row("Strategy", self.request.policy.strategy.as_str())?;
        row("Requested by", &format!("{}{kind}", text(self.request.by.as_str())))?;
        if self.began != Some(self.asked) {
            row("Requested", &time(self.asked))?;
        }
        let never = if self.finished.is_some() { "never" } else { "not yet" };
        row("Begun", &self.began.map_or_else(|| never.to_owned(), time))?;
        if self.promoted.is_some() {
            row("Promoted", &after(self.promoted))?;
        }
        if self.back.is_some() {
            row("Traffic back", &after(self.back))?;
        }
        row("Ended", &after(self.finished))?;
        row("Rollout", &code(self.request.rollout.as_str()))?;
        writeln!(page)
    }

    /// The canary's and stable's requests while the two were compared.
    fn on_trial(&self) -> (Counts, Counts) {
        let (mut canary, mut stable) = (Counts::default(), Counts::default());
        for step in self.steps.iter().filter(|step| step.index.is_some()) {
            canary.add(step.canary.routed, step.canary.answered, &step.canary.failures);
            stable.add(step.stable.routed, step.stable.answered, &step.stable.failures);
        }
        (canary, stable)
    }

    /// What the trial cost, in a sentence; none when nothing was counted.
    fn harm(&self) -> Option<String> {
        let (canary, stable) = self.on_trial();
        if canary.answered == 0 && stable.answered == 0 {
            return None;
        }
        let trial = self.steps.iter().filter(|step| step.index.is_some());
        let excess: Vec<f64> = trial.filter_map(Step::excess).collect();
        let excess = match excess.iter().sum::<f64>() {
            _ if excess.is_empty() => "there was nothing beside it to compare with",
            more if more < 0.05 => "no more than at stable's rate",
            more => &format!("about {more:.1} more than at stable's rate"),
        };
        let (failed, exposed) = (count(canary.failed()), counted(canary.answered, "request"));
        Some(format!("On trial the new release answered {exposed}, of which {failed} failed: {excess}."))
    }

    fn requests(&self, page: &mut String, batches: &[Batch]) -> std::fmt::Result {
        if let Some(why) = self.let_go {
            return writeln!(page, "## Requests\n\nThe counts are not there any more: {}\n", sentence(why));
        }
        if batches.is_empty() {
            return writeln!(page, "## Requests\n\nNo requests were counted.\n");
        }
        let (canary, stable) = self.on_trial();
        writeln!(page, "## Requests\n\n| | failed | 5xx | timeout | refused | reset |\n|---|---|---|---|---|---|")?;
        let mut row = |name: &str, counts: &Counts| {
            let davy_core::Failures { status, timeout, refused, reset } = counts.failures;
            let failed = share(counts.failed(), counts.answered);
            writeln!(
                page,
                "| {name} | {failed} | {} | {} | {} | {} |",
                count(status),
                count(timeout),
                count(refused),
                count(reset)
            )
        };
        match self.is_first() {
            true => row("New release", &canary)?,
            false => {
                row("New release, on trial", &canary)?;
                row("Stable, beside it", &stable)?;
            }
        }
        for step in self.steps.iter().filter(|step| step.index.is_none()) {
            let (new, old) = match step.name {
                "bake" => ("New release, in the bake", "Old release, in the bake"),
                "between" | "interruption" => ("New release, between steps", "Old release, between steps"),
                _ => ("New release, afterwards", "Old release, afterwards"),
            };
            for (name, counts) in [(new, &step.canary), (old, &step.stable)] {
                if !counts.is_empty() {
                    row(name, counts)?;
                }
            }
        }
        for (name, of) in [("New release, matched requests", 0), ("New release, copies", 1)] {
            let mut sum = Counts::default();
            for step in &self.steps {
                let counts = [&step.matched, &step.mirrored][of];
                sum.add(counts.routed, counts.answered, &counts.failures);
            }
            if !sum.is_empty() {
                row(name, &sum)?;
            }
        }
        self.metrics(page, batches)?;
        let unserved = batches.iter().fold(0_u64, |sum, batch| sum.saturating_add(batch.window.unserved));
        writeln!(page, "\nRequests that the router failed by itself, for want of an instance: {}.", count(unserved))?;
        let aside = batches.iter().filter(|batch| !batch.evidence);
        let drawn = |cell: &&davy_core::Cell| matches!(cell.role, davy_core::Role::Stable | davy_core::Role::Canary);
        let aside = aside.flat_map(|batch| &batch.window.cells).filter(drawn);
        let aside = aside.fold(0_u64, |sum, cell| sum.saturating_add(cell.answered));
        if aside > 0 && !self.is_first() {
            let aside = counted(aside, "request");
            writeln!(
                page,
                "{aside} are counted here but were no evidence: their weight was over, or nothing was on trial."
            )?;
        }
        let blind: Vec<&Batch> = batches.iter().filter(|batch| batch.blind.is_some()).collect();
        if !blind.is_empty() {
            writeln!(page, "\nWhat could not be measured:\n")?;
            for batch in blind.iter().take(10) {
                let why = batch.blind.as_deref().unwrap_or_default();
                writeln!(page, "- before {}: {}", time(batch.window.from), sentence(why))?;
            }
            if let more @ 1.. = blind.len().saturating_sub(10) {
                writeln!(page, "- and {more} more times")?;
            }
        }
        writeln!(page)
    }

    /// What the service counted itself.
    fn metrics(&self, page: &mut String, batches: &[Batch]) -> std::fmt::Result {
        let metrics = &self.request.policy.analysis.metrics;
        if metrics.is_empty() {
            return Ok(());
        }
        writeln!(page, "\n| counted by the service itself | new release failed | stable failed |\n|---|---|---|")?;
        for (index, metric) in metrics.iter().enumerate() {
            let all = batches.iter().flat_map(|batch| &batch.metrics);
            let seen = all.filter(|measured| usize::from(measured.metric) == index);
            let (mut canary, mut stable) = ((0_u64, 0_u64), (0_u64, 0_u64));
            let add =
                |sum: (u64, u64), tries: Tries| (sum.0.saturating_add(tries.failed), sum.1.saturating_add(tries.of));
            for interval in seen.filter_map(|measured| measured.seen.as_ref().ok()) {
                (canary, stable) = (add(canary, interval.canary), add(stable, interval.stable));
            }
            let (canary, stable) = (share(canary.0, canary.1), share(stable.0, stable.1));
            writeln!(page, "| {} | {canary} | {stable} |", metric.name)?;
        }
        Ok(())
    }

    fn steps(&self, page: &mut String) -> std::fmt::Result {
        let shown: Vec<&Step> = self
            .steps
            .iter()
            .filter(|step| step.name != "after" || step.canary.routed + step.stable.routed > 0)
            .collect();
        if shown.is_empty() {
            return writeln!(page, "## Steps\n\nNo request was sent to the new release.\n");
        }
        writeln!(page, "## Steps\n")?;
        writeln!(page, "| step | weight | observed | began | took | new release failed | stable failed | ended |")?;
        writeln!(page, "|---|---|---|---|---|---|---|---|")?;
        for step in &shown {
            let name = step.index.map_or_else(|| step.name.to_owned(), |index| (index.saturating_add(1)).to_string());
            let observed = step.observed().map_or_else(|| "nothing".to_owned(), |observed| observed.to_string());
            let took = step.ended.map_or_else(|| "so far".to_owned(), |ended| ended.since(step.began).to_string());
            let failed = |counts: &Counts| match self.let_go {
                Some(_) => "let go".to_owned(),
                None => share(counts.failed(), counts.answered),
            };
            let (canary, stable) = (failed(&step.canary), failed(&step.stable));
            let (weight, began, how) = (step.weight, time(step.began), &step.how);
            writeln!(page, "| {name} | {weight} | {observed} | {began} | {took} | {canary} | {stable} | {how} |")?;
        }
        writeln!(page)?;
        for step in &shown {
            if let (Some(index), Some((at, verdict))) = (step.index, &step.verdict) {
                let analysis = &self.request.policy.analysis;
                let because = sentence(&analysis.told(verdict, &self.instances));
                let (number, weight) = (index.saturating_add(1), step.weight);
                let evidence = capital(&words::evidence(verdict));
                writeln!(page, "- Step {number}, {weight}, verdict of {}: {because} ({evidence}.)", time(*at))?;
                for line in evidence::lines(verdict, analysis) {
                    writeln!(page, "  - {}", sentence(&line))?;
                }
            }
        }
        if shown.iter().any(|step| step.index.is_some() && step.verdict.is_some()) {
            writeln!(page)?;
        }
        Ok(())
    }

    fn events(&self, page: &mut String) -> std::fmt::Result {
        writeln!(page, "## What happened\n\n| event | time | after | by | what |\n|---|---|---|---|---|")?;
        let mut reason = String::new();
        for record in self.own {
            let davy_ports::Entry { at, by, event, .. } = &record.entry;
            let after = at.since(self.began.unwrap_or(self.asked));
            let what = words::event(event, self.request, &self.instances);
            // Who reads why once need not read it with every event that follows from it.
            let what = if reason.len() < LONG { what } else { what.replace(&reason, "See above.") };
            reason = words::reason(event, self.request, &self.instances).unwrap_or(reason);
            let (position, at, by) = (record.position, time(*at), text(by.as_str()));
            writeln!(page, "| {position} | {at} | {after} | {by} | {what} |")?;
        }
        writeln!(page)
    }

    fn check(&self, page: &mut String, batches: &[Batch]) -> std::fmt::Result {
        let (Some(first), Some(last)) = (self.own.first(), self.own.last()) else { return Ok(()) };
        writeln!(page, "## How to check this\n")?;
        writeln!(
            page,
            "Everything above comes from events {} to {} of stream {} (sequence numbers {} to {}). `davy audit verify` computes \
             every hash again; after event {} the chain stands at\n\n    {}",
            first.position,
            last.position,
            code(&self.key.to_string()),
            first.sequence,
            last.sequence,
            last.position,
            last.hash
        )?;
        let mut digest = BatchesDigest::new();
        batches.iter().for_each(|batch| digest.add(batch));
        if let Some(batches) = digest.batches() {
            writeln!(
                page,
                "\nThe requests come from batches {} to {} of evidence, with digest\n\n    {}",
                batches.first, batches.last, batches.digest
            )?;
        }
        Ok(())
    }
}

impl Standing {
    fn of(own: &[Record], rollout: &RolloutId, state: &State) -> Self {
        for record in own.iter().rev() {
            match &record.entry.event {
                Event::RolloutFinished { outcome, why, .. } => {
                    return Self::Ended { outcome: *outcome, why: why.clone() };
                }
                Event::RolloutDropped { rollout: dropped, by } if dropped == rollout => {
                    let why = format!("rollout {by} took its place before it began");
                    return Self::Ended { outcome: Outcome::Superseded, why };
                }
                _ => {}
            }
        }
        let Some(current) = state.rollout.as_ref().filter(|current| current.request.rollout == *rollout) else {
            return Self::Waiting;
        };
        if let Some((outcome, cause)) = &current.ending {
            let (outcome, why) = (*outcome, cause.sentence());
            return match own.iter().any(|record| matches!(record.entry.event, Event::Reverted { .. })) {
                true => Self::Ended { outcome, why },
                false => Self::GoingBack { outcome, why },
            };
        }
        let last = own.iter().rev().find_map(|record| match &record.entry.event {
            Event::VerdictReached { verdict, .. } => Some((record.entry.at, &**verdict)),
            _ => None,
        });
        let next = current.next(last);
        let next = match next.at {
            Some(at) => format!("{}, at {}", next.what, time(at)),
            None => next.what,
        };
        if current.promoted {
            return Self::Ended { outcome: Outcome::Promoted, why: format!("the bake is not over: {next}") };
        }
        let paused = current.pause.as_ref().map(|pause| pause.why.sentence());
        Self::UnderWay { word: current.word(), paused, next }
    }
}

/// A release as people tell one from another.
fn describe(release: &Release) -> String {
    let command = release.workload.run.words().join(" ");
    format!("{}, {}, digest {}", code(release.id.as_str()), code(&command), code(&short(release.digest.as_str())))
}
