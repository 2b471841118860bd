//! Reports, written beside.

use super::{Beside, Ports, Reconciler};
use crate::{
    past::Known,
    report::{self, Evidence},
};
use davy_core::RolloutId;
use davy_ports::JournalError;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The longest that the writing of a report may take, once it is its turn.
const REPORT: Duration = Duration::from_secs(30);
/// So many reports are written at once: each holds its evidence meanwhile, and who reads a page does not wait behind a thousand.
pub(crate) const AT_ONCE: usize = 2;

impl Reconciler {
    /// Asks for a rollout's report. One that waits is written once, however often it was asked for.
    pub(super) fn report(&mut self, rollout: Option<RolloutId>) {
        if let Some(rollout) = rollout.filter(|rollout| !self.unreported.contains(rollout)) {
            self.unreported.push_back(rollout);
        }
    }

    /// Begins the next report, once everything that it tells of is stored.
    pub(super) fn write_report(&mut self) {
        if self.reporting.is_some() || !self.unstored.is_empty() || self.writing.is_some() {
            return;
        }
        let Some(rollout) = self.unreported.pop_front() else { return };
        let (ports, past, turns) = (self.ports.clone(), self.past.clone(), self.reports.clone());
        self.reporting = Some(Beside::begin(async move {
            let _turn = turns.acquire().await;
            let written = tokio::time::timeout(REPORT, write(&ports, &past, &rollout)).await;
            match written.unwrap_or_else(|_| Err(format!("it took longer than {REPORT:?}"))) {
                Ok(path) => tracing::info!(%rollout, path = %path.display(), "report written"),
                Err(why) => tracing::warn!(%rollout, why, "the report could not be written"),
            }
        }));
    }
}

/// Writes `deployment_report.md` of a rollout and says where. What was written while there was evidence stays when that has been
/// let go, and says so.
///
/// # Errors
/// In words, when the journal cannot be read or the file cannot be written.
pub(crate) async fn write(ports: &Ports, past: &Known, rollout: &RolloutId) -> Result<PathBuf, String> {
    let (text, let_go) = drawn(ports, past, rollout).await?;
    let path = file(ports, rollout);
    let file = path.clone();
    let written = tokio::task::spawn_blocking(move || keep(&file, text, let_go.as_deref())).await;
    match written {
        Ok(Ok(())) => Ok(path),
        Ok(Err(error)) => Err(format!("write {}: {error}", path.display())),
        Err(error) => Err(format!("write {}: {error}", path.display())),
    }
}

/// The text and, where the evidence was let go, what says so.
async fn drawn(ports: &Ports, past: &Known, rollout: &RolloutId) -> Result<(String, Option<String>), String> {
    let records = ports.journal.rollout(rollout).await.map_err(|error| error.to_string())?;
    let (batches, let_go) = match ports.journal.evidence(rollout).await {
        Ok(batches) => (batches, None),
        Err(error @ JournalError::LetGo { .. }) => (Vec::new(), Some(error.to_string())),
        Err(error) => return Err(error.to_string()),
    };
    let evidence = let_go.as_deref().map_or(Evidence::Kept(&batches), Evidence::LetGo);
    let text = report::report(&past.now(), &records, rollout, evidence).ok_or("the journal does not know it")?;
    Ok((text, let_go))
}

/// The report of a rollout as it stands. What was written while there was evidence is told where that has been let go.
///
/// # Errors
/// In words, when the journal cannot be read.
pub(crate) async fn text(ports: &Ports, past: &Known, rollout: &RolloutId) -> Result<String, String> {
    let (text, let_go) = drawn(ports, past, rollout).await?;
    let Some(why) = let_go else { return Ok(text) };
    let file = file(ports, rollout);
    let known = tokio::task::spawn_blocking(move || fs::read_to_string(file)).await;
    Ok(known.ok().and_then(Result::ok).map_or(text, |known| report::without(known, &why)))
}

fn file(ports: &Ports, rollout: &RolloutId) -> PathBuf {
    ports.reports.join(rollout.as_str()).join("deployment_report.md")
}

/// Writes a report, never one without its numbers over one that has them.
fn keep(file: &Path, text: String, let_go: Option<&str>) -> io::Result<()> {
    let known = let_go.and_then(|why| Some(report::without(fs::read_to_string(file).ok()?, why)));
    fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
    fs::write(file, known.unwrap_or(text))
}
