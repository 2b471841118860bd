//! The set-up of a service: what runs already, the form for it, what it makes, checks and a forecast. Nothing here changes
//! anything: what a form makes is deployed as any file is.

mod check;
mod forecast;
mod settings;
pub mod wire;

use crate::{
    Shared,
    access::{denied, reach},
    openapi::{Malformed, Unknown, Wrong as Refused},
    problem::Problem,
    routes::Answer,
    take::Body,
    wire::{Deploy, changes},
};
use axum::{Extension, Json, extract::State, http::StatusCode};
use davy_config::{
    Deployment,
    draft::{self, Compose, Dockerfile, Form, Refusal},
};
use davy_core::{Place, Release};
use davy_engine::Caller;
use std::path::Path;
use wire::{Checked, Choice, Draft, Field, Forecast, Found, Review, Site, Sites, Start, Wrong};

/// What runs at the places and is not Davy's. Of its variables nothing is told.
#[utoipa::path(get, path = "/api/set-up/found", operation_id = "listFound", tag = "set-up",
    responses((status = 200, description = "Place by place.", body = Sites)))]
pub(crate) async fn found(State(shared): State<Shared>) -> Answer<Sites> {
    let live = shared.engine.live();
    let deployed = |name: &str| {
        let of = live.iter().filter(|live| live.key.service.as_str() == name);
        of.map(|live| live.key.environment.to_string()).collect()
    };
    let one = |found: davy_core::Found| {
        let called = found.compose.as_ref().map_or(&found.name, |(_, service)| service);
        Found {
            deployed: deployed(&draft::service_name(called)),
            project: found.compose.map(|(project, _)| project),
            ports: found.ports.iter().map(|port| port.value).collect(),
            kind: "container".to_owned(),
            id: found.id,
            name: found.name,
            image: found.image,
        }
    };
    let sites = shared.engine.found().await.into_iter().map(|site| Site {
        platform: site.place.as_str().to_owned(),
        called: site.called,
        found: site.found.into_iter().map(one).collect(),
        trouble: site.trouble,
        hint: site.hint,
    });
    Ok(Json(Sites { kind: "sites".to_owned(), sites: sites.collect() }))
}

/// A form to begin with: from what runs, from a Compose file or a Dockerfile, or blank. Each field says where it comes from.
#[utoipa::path(post, path = "/api/set-up/draft", operation_id = "draftService", tag = "set-up", request_body = Start,
    responses((status = 200, description = "The form.", body = Draft), Malformed, Unknown, Refused))]
pub(crate) async fn draft(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(start): Body<Start>,
) -> Answer<Draft> {
    let (form, notes, choices) = match start {
        Start::Blank { platform } => {
            let places = [Place::Docker, Place::Local];
            let place = places.into_iter().find(|place| place.as_str() == platform);
            let wrong = || Problem::new(StatusCode::BAD_REQUEST, "A004", "`platform` is neither `docker` nor `local`");
            (Some(Form::blank(place.ok_or_else(wrong)?)), Vec::new(), Vec::new())
        }
        Start::Found { id } => {
            let (form, notes) = draft::of_container(&running(&shared, &caller, &id).await?);
            (Some(form), notes, Vec::new())
        }
        Start::Dockerfile { text, service } => {
            let read = Dockerfile::read("Dockerfile", text.as_bytes(), None);
            let draft = read.map_err(|refusal| unread("Dockerfile", &refusal))?.draft(&draft::service_name(&service));
            (Some(draft.form), draft.notes.iter().map(told).collect(), Vec::new())
        }
        Start::Compose { text, service, folder } => compose(&text, service.as_deref(), folder.as_deref())?,
    };
    let fields = form.map(|form| form.fields()).unwrap_or_default();
    let fields = fields.into_iter().map(|(key, field)| Field {
        key: key.name.to_owned(),
        value: field.value,
        default: key.default.to_owned(),
        origin: field.origin,
        sure: field.sure,
    });
    Ok(Json(Draft { kind: "draft".to_owned(), fields: fields.collect(), notes, choices }))
}

type Drafted = (Option<Form>, Vec<String>, Vec<Choice>);

fn compose(text: &str, service: Option<&str>, folder: Option<&str>) -> Result<Drafted, Problem> {
    const NAME: &str = "compose.yaml";
    let folder = folder.map(Path::new).filter(|folder| folder.is_absolute());
    let read = Compose::read(NAME, text.as_bytes(), folder.unwrap_or_else(|| Path::new("/")));
    let compose = read.map_err(|refusal| unread(NAME, &refusal))?;
    let all = compose.services();
    let choice =
        |one: &draft::Service| Choice { name: one.name.clone(), what: one.what.clone(), likely: one.is_likely };
    let choices = all.iter().map(choice).collect();
    let likely: Vec<&draft::Service> = all.iter().filter(|one| one.is_likely).collect();
    let taken = match (service, likely.as_slice(), all) {
        (Some(name), ..) => all.iter().find(|one| one.name == name),
        (None, [only], _) => Some(*only),
        (None, _, [only]) => Some(only),
        _ => None,
    };
    let Some(taken) = taken else {
        return Ok((None, Vec::new(), choices));
    };
    let draft = compose.draft(taken, None);
    let mut notes: Vec<String> = draft.notes.iter().map(told).collect();
    if let Some((dockerfile, _)) = &taken.dockerfile {
        let path = dockerfile.display();
        notes.push(format!(
            "it is built from {path}, which was not read: what it says of ports and health is not known"
        ));
    }
    if folder.is_none() && draft.form.value("volumes").lines().any(|volume| volume.starts_with('/')) {
        notes.push("relative paths were taken from /, since the file's folder was not given: see `volumes`".to_owned());
    }
    Ok((Some(draft.form), notes, choices))
}

fn told(note: &draft::Note) -> String {
    format!("{}:{}: {}", note.file, note.line, note.message)
}

fn unread(name: &str, refusal: &Refusal) -> Problem {
    let Refusal { line, message, hint } = refusal;
    let detail = format!("{name}:{line}: {message}");
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "A040", detail).hint(hint.clone())
}

/// Something that runs. It is of no environment, and its variables are told: whoever asks has to reach all of them.
async fn running(shared: &Shared, caller: &Caller, id: &str) -> Result<davy_core::Found, Problem> {
    if !caller.is_everywhere() {
        return Err(denied(caller, "what runs on the server's machine needs a token for every environment"));
    }
    let all = shared.engine.found().await.into_iter().flat_map(|site| site.found);
    let gone = || {
        let why = "what was found does not run any more, or cannot be asked now";
        Problem::new(StatusCode::NOT_FOUND, "A041", why).hint("look again at what runs, or go on with a blank form")
    };
    { all }.find(|found| found.id == id).ok_or_else(gone)
}

/// What a form makes.
struct Made {
    file: String,
    notes: Vec<String>,
    deploy: Deploy,
    result: Result<Deployment, Vec<Wrong>>,
}

/// The file of a form, and what it says of its environment, which has to be in the caller's reach.
fn made(caller: &Caller, asked: &wire::Form) -> Result<Made, Problem> {
    let form = Form::filled(asked.values.clone()).map_err(|unknown| {
        Problem::new(StatusCode::BAD_REQUEST, "A004", format!("the form has no field `{}`", unknown.0))
    })?;
    let written = form.write();
    let wrong = |(key, error): &(&str, davy_config::Diagnostic)| Wrong {
        key: (*key).to_owned(),
        code: error.code.to_string(),
        message: error.message.clone(),
        hint: error.hint.clone(),
        line: error.line,
    };
    let mut errors: Vec<Wrong> = written.errors.iter().map(wrong).collect();
    let folder = match form.place() {
        Place::Docker => "/",
        Place::Local => form.value("folder"),
    };
    if !Path::new(folder).is_absolute() {
        errors.push(Wrong {
            key: "folder".to_owned(),
            code: "A005".to_owned(),
            message: "`folder` is not an absolute path".to_owned(),
            hint: "name the folder on the server that the command's paths are taken from, such as /srv/logo".to_owned(),
            line: 1,
        });
    }
    let file = written.file.as_ref();
    let environment = file.and_then(|file| file.environments().first()).map(ToString::to_string);
    let deploy = Deploy {
        file: written.text.clone(),
        folder: folder.to_owned(),
        environment: environment.clone(),
        service: None,
        image: None,
    };
    let result = match file.map(|file| file.resolve(environment.as_deref(), None)) {
        Some(Ok(deployment)) if errors.is_empty() => {
            reach(caller, deployment.key.environment.as_str())?;
            Ok(deployment)
        }
        _ => Err(errors),
    };
    let notes = file.map(|file| file.notes().iter().map(|note| note.message.clone()).collect()).unwrap_or_default();
    Ok(Made { file: written.text, notes, deploy, result })
}

/// The deployment of a form without errors.
fn deployment(caller: &Caller, asked: &wire::Form) -> Result<(Deploy, Deployment), Problem> {
    let Made { deploy, result, .. } = made(caller, asked)?;
    let deployment = result.map_err(|errors| {
        let errors = errors.iter().filter_map(|error| serde_json::to_value(error).ok()).collect();
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "A006", "the form has errors").errors(errors)
    })?;
    Ok((deploy, deployment))
}

/// What a form makes: the file, its errors field by field, in what it differs from what serves, and what does the same.
#[utoipa::path(post, path = "/api/set-up/review", operation_id = "reviewService", tag = "set-up", request_body = wire::Form,
    responses((status = 200, description = "What it makes.", body = Review), Malformed))]
pub(crate) async fn review(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::Form>,
) -> Answer<Review> {
    let Made { file, notes, deploy, result } = made(&caller, &asked)?;
    let mut review = Review {
        kind: "review".to_owned(),
        file,
        notes,
        serves: false,
        changes: Vec::new(),
        errors: Vec::new(),
        command: "davy deploy --watch".to_owned(),
        deploy: None,
    };
    match result {
        Err(errors) => review.errors = errors,
        Ok(deployment) => {
            let key = &deployment.key;
            let serving = shared.engine.service(key).and_then(|live| live.state.stable.clone());
            review.serves = serving.is_some();
            let (changes, lost) = differences(&shared, serving.as_ref(), &deployment).await;
            review.changes = changes;
            if !lost.is_empty() {
                review.notes.push(format!(
                    "the form has no field for {}, and what serves is configured otherwise: applied like this, that is lost; \
                     keep it with the file that it was deployed from, or write it into this one and deploy that",
                    lost.join(", ")
                ));
            }
            review.command = format!("davy deploy {} --env {} --watch", key.service, key.environment);
            review.deploy = Some(deploy);
        }
    }
    Ok(Json(review))
}

/// In what a deployment differs from what serves, and which of these settings the form has no field for; which artifact it is to
/// be is not known before it is deployed.
async fn differences(
    shared: &Shared,
    serving: Option<&Release>,
    deployment: &Deployment,
) -> (Vec<crate::wire::Change>, Vec<String>) {
    let Deployment { key, workload, policy } = deployment;
    let digest = serving.map_or_else(|| davy_core::Digest::new("new"), |release| release.digest.clone());
    let mut workload = workload.clone();
    // One that is not set is told by the check.
    shared.vault.pin(key, &mut workload.secrets).await.ok();
    let mut all = changes(serving, &Release::new(key, digest, workload));
    all.retain(|change| change.key != "artifact");
    for change in &mut all {
        let name = change.key.strip_prefix("env.").unwrap_or_default();
        let hide = |value: &mut String| {
            if draft::is_likely_secret(name, value) {
                "not shown: it looks like a secret".clone_into(value);
            }
        };
        change.from.iter_mut().chain(&mut change.to).for_each(hide);
    }
    let mut dropped = Vec::new();
    if let Some(serving) = serving {
        let before = shared.engine.policy_with(key, &serving.id).await.unwrap_or_default();
        let changed = |before: Vec<(&'static str, String)>, after: Vec<(&'static str, String)>| {
            let pairs = before.into_iter().zip(after).filter(|((_, from), (_, to))| from != to);
            let told = |((key, from), (_, to)): ((&str, String), (_, String))| crate::wire::Change {
                key: key.to_owned(),
                from: Some(from),
                to: Some(to),
            };
            pairs.map(told).collect::<Vec<_>>()
        };
        all.extend(changed(settings::asked(&before).into(), settings::asked(policy).into()));
        dropped = changed(settings::beyond(&before, policy), settings::beyond(policy, &before));
    }
    let lost = dropped.iter().map(|change| format!("`{}`", change.key)).collect();
    all.extend(dropped);
    (all, lost)
}

/// What can be looked at before anything is deployed: engine, image, port, secrets, route, traffic, and the health of what runs
/// already, which is asked now.
#[utoipa::path(post, path = "/api/set-up/check", operation_id = "checkService", tag = "set-up", request_body = wire::Form,
    responses((status = 200, description = "One after the other.", body = Checked), Malformed, Unknown, Refused))]
pub(crate) async fn check(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::Form>,
) -> Answer<Checked> {
    let (deploy, deployment) = deployment(&caller, &asked)?;
    let target = check::target(&shared, &caller, &asked, &deployment).await?;
    let checks = check::all(&shared, Path::new(&deploy.folder), &deployment, target).await;
    Ok(Json(Checked { kind: "checked".to_owned(), checks }))
}

/// What the chosen limits catch at the service's traffic: simulated rollouts of versions that fail so and so often.
#[utoipa::path(post, path = "/api/set-up/forecast", operation_id = "forecastService", tag = "set-up", request_body = wire::Form,
    responses((status = 200, description = "What becomes of them.", body = Forecast), Malformed, Refused))]
pub(crate) async fn forecast(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::Form>,
) -> Answer<Forecast> {
    let (_, deployment) = deployment(&caller, &asked)?;
    Ok(Json(forecast::tell(&shared, &deployment, asked.rate).await?))
}
