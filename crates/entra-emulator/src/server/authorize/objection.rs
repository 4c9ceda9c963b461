//! What can be wrong with the request that a client sends a browser with, as Entra words it.

/// Why nobody signs in.
#[derive(Debug)]
pub(in crate::server) enum Objection {
    RedirectUri {
        asked: String,
        client: String,
    },
    ResponseType(String),
    ResponseMode(String),
    ChallengeMissing,
    ChallengeMethod,
    ChallengeSize,
    /// No user may be asked, and none is known.
    LoginRequired,
}

impl Objection {
    /// As for [`Refusal`](super::super::error::Refusal).
    pub(in crate::server) fn parts(&self) -> (&'static str, u32, String) {
        match self {
            Objection::RedirectUri { asked, client } => (
                "invalid_request",
                50011,
                format!(
                    "The redirect URI '{asked}' specified in the request does not match the \
                     redirect URIs configured for the application '{client}'. The emulator's are \
                     redirect_uris of the directory file."
                ),
            ),
            Objection::ResponseType(asked) => (
                "unsupported_response_type",
                70005,
                format!("The response type '{asked}' is not supported: the emulator has 'code'."),
            ),
            Objection::ResponseMode(asked) => (
                "invalid_request",
                70007,
                format!(
                    "'{asked}' is not a supported value of 'response_mode': query, fragment and \
                     form_post are."
                ),
            ),
            Objection::ChallengeMissing => (
                "invalid_request",
                50147,
                "A code_challenge_method needs a code_challenge.".to_owned(),
            ),
            Objection::ChallengeMethod => (
                "invalid_request",
                50149,
                "Invalid Code_Challenge_method parameter: it is neither S256 nor plain.".to_owned(),
            ),
            Objection::ChallengeSize => (
                "invalid_request",
                501_491,
                "Invalid size of Code_Challenge parameter.".to_owned(),
            ),
            Objection::LoginRequired => (
                "login_required",
                50058,
                "A silent sign-in request was sent but no user is signed in. A login_hint names \
                 one."
                    .to_owned(),
            ),
        }
    }
}
