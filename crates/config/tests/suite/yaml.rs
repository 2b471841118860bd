//! YAML as JSON, as an editor reads it, and as much of JSON Schema as Davy's uses.

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// The only document, which has no aliases and only names as keys.
pub(crate) fn json(text: &str) -> Value {
    let mut events =
        Parser::new_from_str(text).map(|event| event.unwrap().0).filter(|event| event.is_node() || is_end(event));
    let first = events.next().unwrap();
    value(first, &mut events)
}

fn is_end(event: &Event<'_>) -> bool {
    matches!(event, Event::SequenceEnd | Event::MappingEnd)
}

fn value<'a>(event: Event<'a>, events: &mut impl Iterator<Item = Event<'a>>) -> Value {
    match event {
        Event::Scalar(text, ScalarStyle::Plain, ..) => match text.as_ref() {
            "" | "~" | "null" => Value::Null,
            "true" | "false" => Value::Bool(text == "true"),
            text => {
                text.parse::<f64>().map_or_else(|_| text.into(), |_| text.parse::<serde_json::Number>().unwrap().into())
            }
        },
        Event::Scalar(text, ..) => text.into_owned().into(),
        Event::SequenceStart(..) => {
            let mut list = Vec::new();
            while let Some(next) = events.next().filter(|next| !is_end(next)) {
                list.push(value(next, events));
            }
            list.into()
        }
        Event::MappingStart(..) => {
            let mut map = Map::new();
            while let Some(key) = events.next().filter(|next| !is_end(next)) {
                let key = key.scalar().unwrap().0.to_owned();
                let next = events.next().unwrap();
                map.insert(key, value(next, events));
            }
            map.into()
        }
        other => panic!("{other:?}"),
    }
}

/// Whether a value is valid. Patterns are left to the reader's own tests.
pub(crate) fn is_valid(root: &Value, schema: &Value, value: &Value) -> bool {
    let Some(rules) = schema.as_object() else { return schema != &Value::Bool(false) };
    rules.iter().all(|(rule, of)| match rule.as_str() {
        "$ref" => is_valid(root, root.pointer(of.as_str().unwrap().trim_start_matches('#')).unwrap(), value),
        "anyOf" => of.as_array().unwrap().iter().any(|schema| is_valid(root, schema, value)),
        "enum" => of.as_array().unwrap().contains(value),
        "type" => match of {
            Value::Array(kinds) => kinds.iter().any(|kind| is_kind(kind, value)),
            kind => is_kind(kind, value),
        },
        "required" => value
            .as_object()
            .is_none_or(|map| of.as_array().unwrap().iter().all(|key| map.contains_key(key.as_str().unwrap()))),
        "properties" => value.as_object().is_none_or(|map| {
            map.iter().all(|(key, value)| of.get(key).is_none_or(|schema| is_valid(root, schema, value)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|map| {
            let known = rules.get("properties").and_then(Value::as_object);
            map.iter()
                .filter(|(key, _)| known.is_none_or(|known| !known.contains_key(*key)))
                .all(|(_, value)| is_valid(root, of, value))
        }),
        "items" => value.as_array().is_none_or(|list| list.iter().all(|item| is_valid(root, of, item))),
        "minItems" => value.as_array().is_none_or(|list| list.len() as u64 >= of.as_u64().unwrap()),
        "maxItems" => value.as_array().is_none_or(|list| list.len() as u64 <= of.as_u64().unwrap()),
        "const" => of == value,
        "minProperties" => value.as_object().is_none_or(|map| map.len() as u64 >= of.as_u64().unwrap()),
        "minLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 >= of.as_u64().unwrap()),
        "minimum" => value.as_f64().is_none_or(|number| number >= of.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|number| number <= of.as_f64().unwrap()),
        "pattern" | "format" | "description" | "title" | "default" | "$schema" | "$defs" => true,
        other => panic!("the schema's rule {other} is not checked"),
    })
}

fn is_kind(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the kind {other} is not known"),
    }
}
