//! What containers wrote, as lines, from every container of a service.

use crate::{container::Labels, engine::failed};
use bollard::{Docker, container::LogOutput, query_parameters::LogsOptionsBuilder};
use davy_core::{InstanceId, ReleaseId, Timestamp};
use davy_place::{Mask, Masked};
use davy_ports::{Error, LogLine, LogSource};
use futures_util::{Stream, StreamExt, stream};
use std::sync::Arc;

/// One container's output, without its secrets.
pub(crate) fn of(
    docker: &Docker,
    id: &str,
    labels: &Labels,
    tail: usize,
    follow: bool,
    mask: Arc<Mask>,
) -> impl Stream<Item = Result<LogLine, Error>> + Send + 'static {
    let options = LogsOptionsBuilder::new()
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .follow(follow)
        .tail(&tail.to_string())
        .build();
    let mut reader = Reader::new(labels.release.clone(), labels.instance.clone(), mask);
    let output = docker.logs(id, Some(options)).map(Some).chain(stream::iter([None]));
    output.flat_map(move |output| {
        let lines = match output {
            Some(Ok(output)) => reader.take(&output).into_iter().map(Ok).collect(),
            Some(Err(error)) => vec![Err(failed(format!("read the output of {}", reader.instance), &error))],
            None => reader.end().into_iter().map(Ok).collect(),
        };
        stream::iter(lines)
    })
}

/// The engine cuts long lines into pieces; a secret may lie over the cut.
struct Reader {
    release: ReleaseId,
    instance: InstanceId,
    mask: Arc<Mask>,
    stdout: Part,
    stderr: Part,
}

#[derive(Default)]
struct Part {
    masked: Masked,
    /// When what is held back was written.
    at: Timestamp,
}

impl Reader {
    fn new(release: ReleaseId, instance: InstanceId, mask: Arc<Mask>) -> Self {
        Self { release, instance, mask, stdout: Part::default(), stderr: Part::default() }
    }

    fn take(&mut self, output: &LogOutput) -> Option<LogLine> {
        let (source, part, bytes) = match output {
            LogOutput::StdOut { message } | LogOutput::Console { message } => {
                (LogSource::Stdout, &mut self.stdout, message)
            }
            LogOutput::StdErr { message } => (LogSource::Stderr, &mut self.stderr, message),
            LogOutput::StdIn { .. } => return None,
        };
        let cut = bytes.iter().position(|byte| *byte == b' ')?;
        let at = std::str::from_utf8(&bytes[..cut]).ok()?.parse::<jiff::Timestamp>().ok()?;
        part.at = Timestamp(u64::try_from(at.as_millisecond()).ok()?);
        let shown = part.masked.take(&self.mask, &bytes[cut + 1..]);
        // What is held back is shown with the next piece.
        let whole = bytes.ends_with(b"\n") || !shown.is_empty();
        whole.then(|| self.line(source, &shown))
    }

    fn line(&self, source: LogSource, shown: &[u8]) -> LogLine {
        let at = match source {
            LogSource::Stdout => self.stdout.at,
            LogSource::Stderr => self.stderr.at,
        };
        let text = String::from_utf8_lossy(shown);
        let line = text.trim_end_matches(['\r', '\n']).to_owned();
        LogLine { at, release: self.release.clone(), instance: self.instance.clone(), source, line }
    }

    /// What was held back when the output ended.
    fn end(&mut self) -> Vec<LogLine> {
        let rest = [
            (LogSource::Stdout, self.stdout.masked.end(&self.mask)),
            (LogSource::Stderr, self.stderr.masked.end(&self.mask)),
        ];
        rest.iter().filter(|(_, rest)| !rest.is_empty()).map(|(source, rest)| self.line(*source, rest)).collect()
    }
}
