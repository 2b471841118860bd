//! `davy logs`: what a service's instances write.

use crate::{
    cli::Logs,
    client::{Client, refusal},
    commands::rollout::environment,
    exit::{DONE, Exit, Failure},
    output,
};
use bytes::Bytes;
use davy_ports::LogLine;
use http_body_util::BodyExt;
use hyper::Method;

pub(crate) async fn run(asked: Logs, client: &Client, json: bool) -> Result<Exit, Failure> {
    let environment = environment(client, &asked.service, asked.env).await?;
    let path = format!(
        "/api/services/{environment}/{}/logs?canary={}&follow={}&tail={}",
        asked.service, asked.canary, asked.follow, asked.tail
    );
    let response = client.open(Method::GET, &path, Bytes::new()).await?;
    let status = response.status();
    let mut body = response.into_body();
    if !status.is_success() {
        let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        return Err(refusal(status, &bytes));
    }
    let mut rest: Vec<u8> = Vec::new();
    let reading = async {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Err(client.unreachable(&"the connection broke")) };
            rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..]));
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                show(&line, json);
            }
        }
        Ok(())
    };
    tokio::select! {
        read = reading => read.map(|()| DONE),
        _ = tokio::signal::ctrl_c() => Ok(Exit::Detached),
    }
}

fn show(line: &[u8], json: bool) {
    let Ok(line) = serde_json::from_slice::<LogLine>(line) else { return };
    match json {
        true => output::json(&line),
        false => output::data(&format!("{} {}", line.instance, line.line)),
    }
}
