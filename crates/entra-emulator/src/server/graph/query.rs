//! The query options of OData that the emulator's Graph understands: `$select`, `$filter` (`eq`
//! with `and` and `or`), `$top`, `$skiptoken` and `$count`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use uuid::Uuid;

use super::super::form::form_decoded;
use super::error::GraphError;
use super::object::{Kind, unknown_property, value};
use crate::directory::{Object, Tenant};

/// The largest page, and the one that nobody asked for otherwise.
const LARGEST_PAGE: usize = 999;
const USUAL_PAGE: usize = 100;
pub(super) const SKIP_TOKEN: &str = "$skiptoken";

#[derive(Debug, Default)]
pub(super) struct Options {
    pub select: Vec<String>,
    pub filter: Option<Filter>,
    pub top: Option<usize>,
    /// The last object of the page before.
    pub after: Option<Uuid>,
    pub count: bool,
}

impl Options {
    /// # Errors
    /// 400, where an option is malformed, or is one that the emulator doesn't have.
    pub(super) fn parse(query: &str) -> Result<Options, GraphError> {
        let mut options = Options::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text| {
                form_decoded(text).ok_or_else(|| GraphError::malformed("The query is no text."))
            };
            let (name, text) = (decoded(name)?, decoded(text)?);
            match name.to_ascii_lowercase().as_str() {
                "$select" => {
                    options.select = text.split(',').map(|name| name.trim().to_owned()).collect();
                }
                "$filter" => options.filter = Some(Filter::parse(&text)?),
                "$top" => options.top = Some(page_size(&text)?),
                SKIP_TOKEN => options.after = Some(read_skip_token(&text)?),
                "$count" => options.count = text.eq_ignore_ascii_case("true"),
                other if other.starts_with('$') => {
                    return Err(GraphError::unsupported_query(format!(
                        "The emulator has no query option '{name}'."
                    )));
                }
                _ => {}
            }
        }
        Ok(options)
    }

    pub(super) fn page_size(&self) -> usize {
        self.top.unwrap_or(USUAL_PAGE)
    }
}

pub(super) fn skip_token(last: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(last.as_bytes())
}

fn read_skip_token(text: &str) -> Result<Uuid, GraphError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    bytes
        .and_then(|bytes| Uuid::from_slice(&bytes).ok())
        .ok_or_else(|| GraphError::bad_request("The page token is invalid."))
}

fn page_size(text: &str) -> Result<usize, GraphError> {
    let size = text
        .parse()
        .ok()
        .filter(|size| (1..=LARGEST_PAGE).contains(size));
    size.ok_or_else(|| {
        GraphError::bad_request(format!(
            "Invalid page size specified: '{text}'. Must be between 1 and {LARGEST_PAGE} inclusive."
        ))
    })
}

/// Alternatives, each of which asks for several things at once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Filter(Vec<Vec<Term>>);

#[derive(Debug, PartialEq, Eq)]
struct Term {
    property: String,
    wanted: Value,
}

impl Filter {
    fn parse(text: &str) -> Result<Filter, GraphError> {
        let words = words(text)?;
        let mut alternatives = vec![Vec::new()];
        let mut rest = words.as_slice();
        loop {
            let [
                Word::Name(property),
                Word::Name(operator),
                wanted,
                tail @ ..,
            ] = rest
            else {
                return Err(syntax_error(text));
            };
            if operator != "eq" {
                return Err(GraphError::unsupported_query(format!(
                    "The emulator has no filter operator '{operator}'."
                )));
            }
            let wanted = match wanted {
                Word::Text(text) => Value::from(text.as_str()),
                Word::Name(name) if name == "true" => Value::Bool(true),
                Word::Name(name) if name == "false" => Value::Bool(false),
                Word::Name(_) => return Err(syntax_error(text)),
            };
            if let Some(last) = alternatives.last_mut() {
                last.push(Term {
                    property: property.clone(),
                    wanted,
                });
            }
            rest = match tail {
                [] => return Ok(Filter(alternatives)),
                [Word::Name(and), more @ ..] if and == "and" => more,
                [Word::Name(or), more @ ..] if or == "or" => {
                    alternatives.push(Vec::new());
                    more
                }
                _ => return Err(syntax_error(text)),
            };
        }
    }

    /// # Errors
    /// 400, where the filter names what objects of this kind don't have.
    pub(super) fn check(&self, kind: Kind) -> Result<(), GraphError> {
        for term in self.0.iter().flatten() {
            if kind.property(&term.property).is_none() {
                return Err(unknown_property(&term.property, kind.type_name()));
            }
        }
        Ok(())
    }

    /// The user principal name, where nothing else is asked for.
    pub(super) fn user_principal_name(&self) -> Option<&str> {
        match self.0.as_slice() {
            [terms] => match terms.as_slice() {
                [term] if term.property.eq_ignore_ascii_case("userPrincipalName") => {
                    term.wanted.as_str()
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Text is compared without regard to case.
    pub(super) fn accepts(&self, object: &Object<'_>, tenant: &Tenant) -> bool {
        let fits = |term: &Term| {
            let Some(name) = Kind::of(object).property(&term.property) else {
                return false;
            };
            match (value(object, tenant, name), &term.wanted) {
                (Value::String(own), Value::String(wanted)) => {
                    own.to_lowercase() == wanted.to_lowercase()
                }
                (own, wanted) => own == *wanted,
            }
        };
        self.0.iter().any(|terms| terms.iter().all(fits))
    }
}

#[derive(Debug)]
enum Word {
    Name(String),
    /// Between quotes; two quotes mean one.
    Text(String),
}

fn words(text: &str) -> Result<Vec<Word>, GraphError> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('\'') {
            let mut value = String::new();
            let mut tail = quoted;
            loop {
                let (before, after) = tail.split_once('\'').ok_or_else(|| syntax_error(text))?;
                value.push_str(before);
                tail = after;
                match tail.strip_prefix('\'') {
                    Some(more) => {
                        value.push('\'');
                        tail = more;
                    }
                    None => break,
                }
            }
            words.push(Word::Text(value));
            rest = tail;
            if !rest.is_empty() && !rest.starts_with(' ') {
                return Err(syntax_error(text));
            }
        } else {
            let (name, tail) = rest.split_once(' ').unwrap_or((rest, ""));
            if !name.chars().all(|c| c.is_ascii_alphanumeric()) {
                return Err(syntax_error(text));
            }
            words.push(Word::Name(name.to_owned()));
            rest = tail;
        }
        rest = rest.trim_start();
    }
    Ok(words)
}

fn syntax_error(text: &str) -> GraphError {
    GraphError::malformed(format!("Invalid filter clause: Syntax error in '{text}'."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn term(property: &str, wanted: Value) -> Term {
        Term {
            property: property.to_owned(),
            wanted,
        }
    }

    #[test]
    fn filters_are_read_as_odata_means_them() {
        let parsed = Filter::parse("displayName eq 'O''Brien' or appId eq 'x' and id eq 'y'");
        assert_eq!(
            parsed.unwrap(),
            Filter(vec![
                vec![term("displayName", json!("O'Brien"))],
                vec![term("appId", json!("x")), term("id", json!("y"))],
            ])
        );
        assert_eq!(
            Filter::parse("  accountEnabled  eq true ").unwrap(),
            Filter(vec![vec![term("accountEnabled", json!(true))]])
        );
    }

    #[test]
    fn malformed_filters_are_refused() {
        for text in [
            "",
            "displayName",
            "displayName eq",
            "displayName eq x",
            "displayName eq 'x",
            "displayName eq 'O'Brien'",
            "displayName eq 'x' or",
            "displayName eq 'x' nor id eq 'y'",
            "displayName ne 'x'",
            "startswith(displayName, 'x')",
        ] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn options_are_checked() {
        let parse = |query| Options::parse(query);
        let options = parse("$select=id,%20displayName&%24top=999&$count=true&x=y").unwrap();
        assert_eq!(options.select, ["id", "displayName"]);
        assert_eq!(options.page_size(), 999);
        assert!(options.count);
        for query in [
            "$top=0",
            "$top=1000",
            "$top=x",
            "$skiptoken=x",
            "$search=x",
            "$top=%zz",
        ] {
            assert!(parse(query).is_err(), "{query}");
        }
        let last = Uuid::from_u128(7);
        let query = format!("$skiptoken={}", skip_token(last));
        assert_eq!(parse(&query).unwrap().after, Some(last));
    }
}
