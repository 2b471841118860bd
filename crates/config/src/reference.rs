//! The reference of keys and error codes as Markdown, from the schema and the table of codes.

use crate::{explanations, keys, schema};
use serde_json::Value;

/// Two tables: every key with its default and what it is for, and every error code.
#[must_use]
pub fn reference() -> String {
    let schema = schema();
    let mut out = String::from("| key | default | what it is |\n|---|---|---|\n");
    rows(&schema, &schema, "", &mut out);
    out.push_str("\n| code | what is wrong |\n|---|---|\n");
    for known in explanations() {
        out.push_str(&format!("| {} | {} |\n", known.code, known.title));
    }
    out
}

/// The rows of one mapping and of those inside it, in the order of `keys`.
fn rows(root: &Value, mapping: &Value, path: &str, out: &mut String) {
    let Some(keys) = keys::ALL.iter().find(|keys| keys.path == path) else { return };
    for key in keys.known {
        let property = &mapping["properties"][key];
        let path = if path.is_empty() { (*key).to_owned() } else { format!("{path}.{key}") };
        let required = mapping["required"].as_array().is_some_and(|names| names.iter().any(|name| name == key));
        let default = match &property["default"] {
            Value::Null if required => "required".to_owned(),
            Value::Null => String::new(),
            Value::String(text) => format!("`{text}`"),
            Value::Array(list) => {
                format!("`[{}]`", list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
            }
            other => format!("`{other}`"),
        };
        let what = property["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
        out.push_str(&format!("| `{path}` | {default} | {what} |\n"));
        match &property["additionalProperties"] {
            Value::Object(_) => {
                let named = inside(root, &property["additionalProperties"]);
                rows(root, named, &format!("{path}.NAME"), out);
            }
            _ => rows(root, inside(root, property), &path, out),
        }
    }
}

/// The mapping that a property has or holds in the end: of several kinds the last one says most.
fn inside<'a>(root: &'a Value, mut property: &'a Value) -> &'a Value {
    loop {
        let mut kinds = property["anyOf"].as_array().into_iter().flatten();
        let kind = kinds.rfind(|kind| kind["type"] != "null");
        let reference = property["$ref"].as_str().map(|path| path.trim_start_matches('#'));
        let next = reference.and_then(|path| root.pointer(path)).or(kind);
        match next.or_else(|| property.get("items")) {
            Some(next) => property = next,
            None => return property,
        }
    }
}
