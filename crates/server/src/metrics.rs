//! Whether a service's own metrics could be read now. Only the source that is deployed there is asked: nobody scans a network by this.

use crate::{
    Shared,
    openapi::{Malformed, Unfit, Unknown, Unread},
    routes::Answer,
    services::key,
    take::{Nothing, Path},
    wire::{CounterChecked, MetricChecked, MetricsChecked},
};
use axum::{Json, extract::State};
use davy_engine::now;
use davy_ports::{Error, Looked, Of, Watch};
use tokio::sync::Semaphore;

/// So many sources are asked at once, whoever wants to know.
static ROOM: Semaphore = Semaphore::const_new(8);

/// Asks the metrics source that is deployed for a service what its counters stand at now.
#[utoipa::path(post, path = "/api/services/{environment}/{service}/metrics/check", operation_id = "checkMetrics", tag = "services",
    responses((status = 200, description = "What it says, counter by counter.", body = MetricsChecked), Malformed, Unknown, Unfit, Unread))]
pub(crate) async fn check(
    State(shared): State<Shared>,
    Path((environment, service)): Path<(String, String)>,
    _: Nothing,
) -> Answer<MetricsChecked> {
    let watch = shared.engine.watched(&key(&environment, &service)?).await?;
    let mut checked = MetricsChecked {
        kind: "metrics-checked".to_owned(),
        source: watch.as_ref().map(|watch| watch.source.prometheus.clone()),
        token: watch.as_ref().and_then(|watch| Some(watch.source.token.as_ref()?.name.to_string())),
        interval_ms: watch.as_ref().map(|watch| watch.source.interval.0),
        trouble: None,
        hint: String::new(),
        metrics: Vec::new(),
    };
    let Some(mut watch) = watch else { return Ok(Json(checked)) };
    let found = asked(&shared, &mut watch).await;
    let all = found.as_deref().unwrap_or_default();
    let metrics = watch.metrics.iter().zip(0..).map(|(metric, index)| {
        let own = all.iter().filter(|looked| looked.metric == index);
        let counters: Vec<CounterChecked> = own.map(|looked| counter(&watch, looked)).collect();
        let ok = !counters.is_empty() && counters.iter().all(|counter| counter.ok);
        MetricChecked { name: metric.name.clone(), ok, counters }
    });
    checked.metrics = metrics.collect();
    if let Err(error) = found {
        (checked.trouble, checked.hint) = (Some(error.to_string()), hint(error));
    }
    Ok(Json(checked))
}

/// Asks with the token that the rollout under way has, else as it is set now: the next one will have that.
async fn asked(shared: &Shared, watch: &mut Watch) -> Result<Vec<Looked>, Error> {
    if let Some(token) = watch.source.token.as_mut().filter(|_| watch.canary == watch.stable) {
        shared.vault.pin(&watch.key, std::slice::from_mut(token)).await?;
    }
    let _room = ROOM.acquire().await;
    shared.engine.look(watch).await
}

fn hint(error: Error) -> String {
    match error.hint.as_str() {
        "" => "can the server reach this address, and does a Prometheus server answer there?".to_owned(),
        _ => error.hint,
    }
}

fn counter(watch: &Watch, looked: &Looked) -> CounterChecked {
    let Looked { of, release, query, count, trouble, .. } = looked;
    let role = if *release == watch.stable { "stable" } else { "canary" };
    CounterChecked {
        of: match of {
            Of::Failures => "failures",
            Of::Tries => "tries",
        }
        .to_owned(),
        release: release.clone(),
        role: role.to_owned(),
        query: query.clone(),
        series: count.map_or(0, |count| count.series),
        value: count.map(|count| count.value),
        age_ms: count.map(|count| now().since(count.at).0),
        ok: trouble.is_none(),
        trouble: trouble.as_ref().map(|error| error.happened.clone()),
        hint: trouble.as_ref().map(|error| error.hint.clone()).unwrap_or_default(),
    }
}
