//! How the Azure CLI prints an answer: JSON, or lines of values with tabs between them.

use serde_json::Value;

use super::super::error::CommandError;
use super::super::io;
use super::arguments::{AzArguments, Output};

pub(super) fn print(answer: Value, arguments: &AzArguments) -> Result<(), CommandError> {
    let answer = match &arguments.query {
        Some(query) => queried(answer, query)?,
        None => answer,
    };
    match (arguments.output, answer) {
        (Output::None, _) | (_, Value::Null) => Ok(()),
        (Output::Json, answer) => io::print(&format!("{answer:#}")),
        (Output::Tsv, Value::Array(rows)) => rows.iter().try_for_each(|row| io::print(&line(row))),
        (Output::Tsv, row) => io::print(&line(&row)),
    }
}

fn queried(answer: Value, query: &str) -> Result<Value, CommandError> {
    let wrong = |problem: String| CommandError::Usage(format!("--query {query}: {problem}"));
    let found = jmespath::compile(query)
        .and_then(|query| query.search(answer))
        .map_err(|error| wrong(error.to_string()))?;
    serde_json::to_value(found).map_err(|error| wrong(error.to_string()))
}

fn line(row: &Value) -> String {
    match row {
        Value::Array(values) => fields(values.iter()),
        Value::Object(values) => fields(values.values()),
        value => field(value),
    }
}

fn fields<'a>(values: impl Iterator<Item = &'a Value>) -> String {
    let fields: Vec<String> = values.map(field).collect();
    fields.join("\t")
}

fn field(value: &Value) -> String {
    match value {
        Value::Null | Value::Object(_) => String::new(),
        Value::String(text) => text.clone(),
        // A field has no room for them; the Azure CLI says how many there are.
        Value::Array(values) => values.len().to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_those_of_the_azure_cli() {
        for (row, expected) in [
            (json!("text"), "text"),
            (json!(true), "true"),
            (json!(null), ""),
            (json!(["a", 1, null, ["x", "y"], {"z": 1}]), "a\t1\t\t2\t"),
            (json!({"a": "x", "b": false}), "x\tfalse"),
        ] {
            assert_eq!(line(&row), expected, "{row}");
        }
    }

    #[test]
    fn queries_are_jmespath() {
        let answer = || json!([{"name": "a", "id": 1}, {"name": "b", "id": 2}]);
        let found = |query| queried(answer(), query).unwrap();
        assert_eq!(found("[0].id"), 1);
        assert_eq!(found("[?name=='b'].id"), json!([2]));
        assert_eq!(found("[].[name,id]"), json!([["a", 1], ["b", 2]]));
        assert_eq!(found("[9].id"), Value::Null);
        let problem = queried(answer(), "[0").unwrap_err().to_string();
        assert!(problem.starts_with("--query [0: "), "{problem}");
    }
}
