//! JSON as an argument of a statement.

use std::ffi::CString;

use pgrx::datum::IntoDatum;
use pgrx::pg_sys;
use serde::Serialize;
use serde::ser::Error as _;
use serde_json::Value;

use super::text;

/// JSON as SQL's type `text`, in the database's encoding.
pub struct Json(CString);

impl IntoDatum for Json {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        self.0.to_bytes().into_datum()
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::TEXTOID
    }
}

/// The value as JSON, in which texts lack nothing of the database's encoding.
///
/// # Errors
/// The value cannot be written as JSON.
pub fn for_sql(value: &impl Serialize) -> serde_json::Result<Json> {
    let mut json = serde_json::to_string(value)?;
    // Otherwise nothing in it is escaped.
    if !json.is_ascii() || json.contains(r"\\") {
        let mut value = serde_json::to_value(value)?;
        map_texts(&mut value, &|text| text::escape(text).into_owned());
        json = value.to_string();
    }
    let encoded = text::exact(&json);
    encoded
        .map(Json)
        .ok_or_else(|| serde_json::Error::custom("the database's encoding lacks a character"))
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
