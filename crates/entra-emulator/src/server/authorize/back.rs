//! The way back to the client: its redirect URI, and how an answer is carried there.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use reqwest::Url;

use super::super::error::Refusal;
use super::objection::Objection;
use super::page;

pub(super) struct Back {
    pub(super) uri: Url,
    pub(super) mode: Mode,
    pub(super) state: Option<String>,
    /// The redirect URI as the client wrote it.
    pub(super) asked: String,
}

#[derive(Clone, Copy)]
pub(super) enum Mode {
    Query,
    Fragment,
    FormPost,
}

impl Mode {
    pub(super) fn read(asked: Option<&str>) -> Result<Mode, Objection> {
        match asked {
            None | Some("query") => Ok(Mode::Query),
            Some("fragment") => Ok(Mode::Fragment),
            Some("form_post") => Ok(Mode::FormPost),
            Some(other) => Err(Objection::ResponseMode(other.to_owned())),
        }
    }
}

impl Back {
    pub(super) fn accept(&self, code: &str) -> Response {
        self.send(&[("code", code)])
    }

    pub(super) fn refuse(&self, refusal: &Refusal) -> Response {
        let (error, _, text) = refusal.told();
        self.send(&[("error", error), ("error_description", &text)])
    }

    fn send(&self, answer: &[(&str, &str)]) -> Response {
        let mut fields = answer.to_vec();
        fields.extend(self.state.as_deref().map(|state| ("state", state)));
        let mut uri = self.uri.clone();
        match self.mode {
            Mode::FormPost => return page::form(&uri, &fields),
            Mode::Query => {
                uri.query_pairs_mut().extend_pairs(fields);
            }
            Mode::Fragment => {
                let mut carrier = uri.clone();
                carrier.query_pairs_mut().clear().extend_pairs(fields);
                uri.set_fragment(carrier.query());
            }
        }
        let headers = [
            (header::LOCATION, uri.to_string()),
            (header::CACHE_CONTROL, "no-store".to_owned()),
        ];
        (StatusCode::FOUND, headers).into_response()
    }
}
