//! Queries whose rows are typed.

use std::error::Error;

use serde::de::DeserializeOwned;

use crate::pg::query;
use crate::pg::text::SqlText;

/// The rows of a query, each as JSON.
pub fn rows<T: DeserializeOwned>(query: &str) -> Result<Vec<T>, Box<dyn Error>> {
    let query = format!("SELECT json_agg(r)::text FROM ({query}) AS r");
    let json = query::one::<SqlText>(&query)?;
    Ok(match json {
        Some(SqlText(json)) => serde_json::from_str(&json)?,
        None => Vec::new(),
    })
}
