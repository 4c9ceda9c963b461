//! JSON as an argument of a statement.

use serde::Serialize;
use serde_json::Value;

use super::text::{self, SqlText};

/// The value as JSON, in which texts lack nothing of the database's encoding.
///
/// # Errors
/// The value cannot be written as JSON.
pub fn for_sql(value: &impl Serialize) -> serde_json::Result<SqlText> {
    let json = serde_json::to_string(value)?;
    // Nothing in it is escaped.
    if json.is_ascii() && !json.contains(r"\\") {
        return Ok(SqlText(json));
    }
    let mut value = serde_json::to_value(value)?;
    map_texts(&mut value, &|text| text::escape(text).into_owned());
    Ok(SqlText(value.to_string()))
}

/// Replaces every text in it, except names of members.
pub fn map_texts(value: &mut Value, map: &impl Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = map(text),
        Value::Array(values) => values.iter_mut().for_each(|value| map_texts(value, map)),
        Value::Object(members) => members.values_mut().for_each(|value| map_texts(value, map)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
