//! The pages that browsers are shown.

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use reqwest::Url;

/// Posts `fields` to a client's redirect URI at once, or when the user asks for it.
pub(super) fn form(action: &Url, fields: &[(&str, &str)]) -> Response {
    let inputs: String = fields
        .iter()
        .map(|(name, value)| {
            let value = escaped(value);
            format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">\n")
        })
        .collect();
    page(&format!(
        "<form method=\"post\" action=\"{}\">\n{inputs}<button>Continue</button>\n</form>\n\
         <script>document.forms[0].submit()</script>\n",
        escaped(action.as_str())
    ))
}

/// Lets somebody choose who signs in, by the same address with a `login_hint`.
pub(super) fn choice<'a>(address: &Url, users: impl Iterator<Item = &'a str>) -> Response {
    let items: String = users
        .map(|user| {
            let mut link = address.clone();
            link.query_pairs_mut().append_pair("login_hint", user);
            let (link, user) = (escaped(link.as_str()), escaped(user));
            format!("<li><a href=\"{link}\">{user}</a></li>\n")
        })
        .collect();
    page(&format!(
        "<p>The emulator asks for no password. Who signs in?</p>\n<ul>\n{items}</ul>\n\
         <p>The parameter login_hint and serve --approve-device-codes USER choose without this \
         page.</p>\n"
    ))
}

fn page(body: &str) -> Response {
    let text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Entra \
         emulator</title></head>\n<body>\n{body}</body>\n</html>\n"
    );
    ([(header::CACHE_CONTROL, "no-store")], Html(text)).into_response()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
