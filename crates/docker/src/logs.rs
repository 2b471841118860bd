//! What containers wrote, as lines, from every container of a service.

use crate::{container::Labels, engine::failed};
use bollard::{Docker, container::LogOutput, query_parameters::LogsOptionsBuilder};
use davy_core::{InstanceId, ReleaseId, Timestamp};
use davy_ports::{Error, LogLine, LogSource};
use futures_util::{Stream, StreamExt};

/// One container's output.
pub(crate) fn of(
    docker: &Docker,
    id: &str,
    labels: &Labels,
    tail: usize,
    follow: bool,
) -> impl Stream<Item = Result<LogLine, Error>> + Send + 'static {
    let options = LogsOptionsBuilder::new()
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .follow(follow)
        .tail(&tail.to_string())
        .build();
    let (release, instance) = (labels.release.clone(), labels.instance.clone());
    docker.logs(id, Some(options)).filter_map(move |output| {
        let line = match output {
            Ok(output) => line(&output, &release, &instance).map(Ok),
            Err(error) => Some(Err(failed(format!("read the output of {instance}"), &error))),
        };
        std::future::ready(line)
    })
}

fn line(output: &LogOutput, release: &ReleaseId, instance: &InstanceId) -> Option<LogLine> {
    let (source, bytes) = match output {
        LogOutput::StdOut { message } | LogOutput::Console { message } => (LogSource::Stdout, message),
        LogOutput::StdErr { message } => (LogSource::Stderr, message),
        LogOutput::StdIn { .. } => return None,
    };
    let text = String::from_utf8_lossy(bytes);
    let (at, text) = text.split_once(' ').unwrap_or((&text, ""));
    let at = at.parse::<jiff::Timestamp>().ok()?;
    Some(LogLine {
        at: Timestamp(u64::try_from(at.as_millisecond()).ok()?),
        release: release.clone(),
        instance: instance.clone(),
        source,
        line: text.trim_end_matches(['\r', '\n']).to_owned(),
    })
}
