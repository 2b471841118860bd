//! The description of the API (OpenAPI 3.1), made from the handlers, their types and the list of what each address needs.

use crate::{access, once, problem, routes, wire};
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response as Answer};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::LazyLock};
use utoipa::{
    IntoResponses, PartialSchema, ToSchema,
    openapi::{Content, OpenApi, Ref, RefOr, Response, ResponseBuilder},
};

/// Statuses with which an address refuses, each as a problem.
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident $status:literal $why:literal),* $(,)?) => {
        $($(#[$doc])*
        pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                let content = Content::new(Some(Ref::from_schema_name(wire::Problem::name())));
                let response = ResponseBuilder::new().description($why).content("application/problem+json", content);
                [($status.to_owned(), response.build().into())].into()
            }
        })*
    };
}

refusals! {
    /// What was sent cannot be understood.
    Malformed "400" "The address, a header or the body is not as expected.",
    /// There is no such thing.
    Unknown "404" "There is no such thing.",
    /// It does not fit the state.
    Unfit "409" "It does not fit how things stand now, or they have changed since they were looked at.",
    /// What is asked for is wrong.
    Wrong "422" "What is asked for cannot be done as it is: a file has errors, a place refuses, a secret is not set.",
    /// The journal cannot be read.
    Unread "503" "The journal cannot be used now.",
    /// The journal cannot be written.
    Unwritten "503" "The journal cannot be used now, or the service is set aside: nothing was done.",
    /// Nobody is signed in by this.
    Refused "401" "The code or the token is none of this server's, or not any more.",
    /// Another page asks.
    Foreign "403" "It does not come from the page itself.",
    /// No answer in time.
    Gone "504" "It was taken, but its answer did not come in time.",
    /// Something failed inside.
    Failed "500" "Something failed inside the server.",
}

/// A DNS label.
const LABEL: &str = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$";

/// The description as it is served and checked in: pretty JSON with a line's end.
#[must_use]
pub fn openapi() -> String {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let mut text = serde_json::to_string_pretty(&whole(routes::routes().into_openapi())).unwrap_or_default();
        text.push('\n');
        text
    });
    TEXT.clone()
}

/// This description.
#[utoipa::path(get, path = "/api/openapi.json", operation_id = "getDescription", tag = "server",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object)))]
pub(crate) async fn description() -> Answer {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], openapi()).into_response()
}

/// What the handlers say, and what holds for all of them.
fn whole(routes: OpenApi) -> Value {
    let mut whole = serde_json::to_value(routes).unwrap_or_default();
    whole["info"] = json!({
        "title": "Davy",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Automated canary deployments. Weights are basis points, times milliseconds since the Unix epoch. docs/api.md says more.",
        "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
    });
    whole["security"] = json!([{ "token": [] }, { "session": [] }]);
    let schemas = &mut whole["components"]["schemas"];
    schemas[wire::Problem::name().as_ref()] = serde_json::to_value(wire::Problem::schema()).unwrap_or_default();
    whole["components"]["securitySchemes"] = json!({
        "token": { "type": "http", "scheme": "bearer", "description": "A token of `davy token create`, or the one of the data folder." },
        "session": { "type": "apiKey", "in": "cookie", "name": "davy_session", "description": "What signing in gives a browser; its name ends with a mark of the server's. What changes something needs `davy-page: 1` besides, and comes from the page itself." },
    });
    let Some(paths) = whole["paths"].as_object_mut() else { return whole };
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap_or_default();
            complete(path, &method, operation);
        }
    }
    whole
}

/// What the middleware adds to one operation.
fn complete(path: &str, method: &Method, operation: &mut Value) {
    let needs = access::needs(method, path);
    if needs.is_none() {
        operation["security"] = json!([]);
    }
    for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        let (about, schema) = match name {
            "id" => ("The rollout.", json!({ "type": "string" })),
            "environment" => ("The environment.", json!({ "type": "string", "pattern": LABEL })),
            "service" => ("The service.", json!({ "type": "string", "pattern": LABEL })),
            _ => ("Its name.", json!({ "type": "string" })),
        };
        parameter(operation, ("path", name), about, &schema);
    }
    let mut refusals = vec![
        ("400", "The address holds a token, or is not as expected."),
        ("421", "The server is not known by that host name."),
        ("429", "It is asked too often, or there were too many wrong tries: `retry-after` says for how long."),
    ];
    if let Some(role) = needs {
        let role = role.as_str();
        operation["x-role"] = role.into();
        refusals.push(("401", "There is no token, or it is worth nothing."));
        refusals.push(("403", "The token may not do this."));
    }
    let takes_body = once::takes(method);
    if takes_body {
        refusals.push(("413", "The body is larger than 16 MiB."));
        refusals.push(("415", "The body is not JSON."));
        refusals.push(("422", "What is asked for cannot be done as it is, or the key stands for another request."));
        refusals.push(("500", "Something failed inside the server."));
        parameter(
            operation,
            ("header", "idempotency-key"),
            "The same key for the same request: it is done once. Kept for a day, not over a restart.",
            &json!({ "type": "string" }),
        );
    }
    if path.contains("{id}") && needs.is_some() {
        refusals.push(("404", "There is no such thing."));
        refusals.push(("503", "The journal cannot be used now."));
    }
    let stands = path.contains("/rollouts/{id}/") || path.ends_with("/rollback") || path.ends_with("/remove");
    if takes_body && stands && !path.ends_with("/report") && !path.contains("secrets") {
        parameter(
            operation,
            ("header", "if-match"),
            "The `etag` that was seen: 409 (`A025`) when it is no longer so.",
            &json!({ "type": "string" }),
        );
    }
    if let Some(responses) = operation["responses"].as_object_mut() {
        for (status, why) in refusals {
            responses.entry(status).or_insert_with(|| refusal(why));
        }
    }
    let has_cursor =
        operation["parameters"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "cursor"));
    if has_cursor {
        operation["responses"]["200"]["headers"] = json!({
            "link": { "description": "The address of the next page, `rel=\"next\"`; none on the last one.", "schema": { "type": "string" } },
            "davy-sequence": { "description": "Up to which event it tells: `after` of /api/events goes on from there.", "schema": { "type": "integer", "format": "int64", "minimum": 0 }, "required": true },
        });
    }
}

fn refusal(why: &str) -> Value {
    json!({
        "description": why,
        "content": { problem::KIND: { "schema": { "$ref": format!("#/components/schemas/{}", wire::Problem::name()) } } },
    })
}

fn parameter(operation: &mut Value, (place, name): (&str, &str), description: &str, schema: &Value) {
    let parameter = json!({
        "name": name, "in": place, "required": place == "path", "description": description, "schema": schema,
    });
    let Some(operation) = operation.as_object_mut() else { return };
    let all = operation.entry("parameters").or_insert_with(|| Value::Array(Vec::new()));
    if let Some(all) = all.as_array_mut() {
        all.push(parameter);
    }
}

#[cfg(test)]
mod tests {
    use super::openapi;
    use crate::access;
    use serde_json::Value;
    use std::collections::BTreeSet;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../openapi.json");

    /// `DAVY_WRITE=1 cargo nextest run -p davy-server openapi` writes it anew.
    #[test]
    fn what_is_checked_in_is_what_is_served() {
        let made = openapi();
        if std::env::var_os("DAVY_WRITE").is_some() {
            std::fs::write(FILE, &made).expect("a file");
        }
        let found = std::fs::read_to_string(FILE).unwrap_or_default();
        let differs = made.lines().zip(found.lines()).find(|(made, found)| made != found);
        assert!(
            made == found,
            "openapi.json is stale ({differs:?}): write it anew with `DAVY_WRITE=1 cargo nextest run -p davy-server openapi`"
        );
    }

    #[test]
    fn router_rules_and_description_have_the_same_addresses() {
        let described: Value = serde_json::from_str(&openapi()).expect("JSON");
        let paths = described["paths"].as_object().expect("paths");
        // The router is made from the same list as the description, so it has no other.
        let routed: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, item)| {
                item.as_object().into_iter().flatten().map(|(method, _)| (method.to_uppercase(), path.clone()))
            })
            .collect();
        let ruled: BTreeSet<(String, String)> =
            access::addresses().map(|(method, path)| (method.to_owned(), path.to_owned())).collect();
        assert_eq!(routed, ruled);
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_a_sentence_and_its_refusals() {
        let described: Value = serde_json::from_str(&openapi()).expect("JSON");
        let mut names = BTreeSet::new();
        for (path, item) in described["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("operations") {
                let name = operation["operationId"].as_str().expect("a name");
                assert!(names.insert(name.to_owned()), "{name} twice");
                assert!(operation["summary"].as_str().is_some_and(|words| !words.is_empty()), "{method} {path}");
                for (status, response) in operation["responses"].as_object().expect("responses") {
                    let refuses = status.starts_with(['4', '5']);
                    let problem = &response["content"]["application/problem+json"]["schema"]["$ref"];
                    assert_eq!(refuses, problem == "#/components/schemas/Problem", "{method} {path} {status}");
                }
            }
        }
        assert_eq!(described["openapi"], "3.1.0");
    }

    /// Whatever is referred to is there.
    #[test]
    fn nothing_is_referred_to_that_is_missing() {
        fn references(value: &Value, found: &mut BTreeSet<String>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    fields.values().for_each(|field| references(field, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let described: Value = serde_json::from_str(&openapi()).expect("JSON");
        let mut found = BTreeSet::new();
        references(&described, &mut found);
        let missing: Vec<_> =
            found.iter().filter(|one| described.pointer(one.trim_start_matches('#')).is_none()).collect();
        assert!(missing.is_empty() && found.len() > 50, "{missing:?}");
    }
}
