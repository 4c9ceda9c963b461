//! Tokens of a user, who signs in with a device code (RFC 8628), and once signed in with a refresh token
//! (RFC 6749 section 6).

use std::time::{Duration, Instant};

use entra_api::error::one_line;
use entra_api::wiped::Wiped;
use entra_api::{DirectoryError, ErrorKind, HttpSettings};
use entra_token::Authority;
use serde::Deserialize;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::access_token::{self, AccessToken};
use crate::entra;
use crate::failure::Failure;
use crate::http::{Http, Request, Response};

/// RFC 8628 section 3.5: the pause after `slow_down` grows by this much.
const SLOW_DOWN: Duration = Duration::from_secs(5);
const LARGEST_REFRESH_TOKEN: usize = 32 * 1024;

/// Where a user signs in, with which public client, and for which resource.
pub struct UserSignIn {
    http: Http,
    issuer: String,
    endpoint: String,
    client_id: Uuid,
    scope: String,
}

/// What the user is told, and what the client asks with meanwhile.
pub struct DeviceCode {
    code: Zeroizing<String>,
    /// Shown to the user.
    pub user_code: String,
    /// Where the user enters it.
    pub address: String,
    /// Until then.
    pub expires_at: Instant,
    /// The pause between two questions.
    pub interval: Duration,
}

/// What a sign-in gives.
pub struct UserTokens {
    /// For the resource.
    pub access: AccessToken,
    /// For the next access token; printable ASCII without spaces.
    pub refresh: Option<Zeroizing<Vec<u8>>>,
}

impl UserSignIn {
    /// Prepares to ask; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unreachable`]: the file of certificate authorities or the proxy cannot be used.
    pub fn new(
        client_id: Uuid,
        tenant: Uuid,
        authority: &Authority,
        resource: &str,
        http: &HttpSettings,
    ) -> Result<UserSignIn, DirectoryError> {
        let http = Http::new(http)
            .map_err(|error| DirectoryError::new(ErrorKind::Unreachable, error.to_string()))?;
        let login = authority.login();
        Ok(UserSignIn {
            http,
            issuer: format!("Entra at {login}"),
            endpoint: format!("{login}/{}/oauth2/v2.0", tenant.as_hyphenated()),
            client_id,
            scope: format!("{resource}/.default offline_access"),
        })
    }

    /// Asks for a device code.
    ///
    /// # Errors
    ///
    /// There is none by `deadline`.
    pub fn begin(&self, deadline: Instant) -> Result<DeviceCode, DirectoryError> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            /// Borrowed from the body, which is wiped.
            device_code: &'a str,
            user_code: String,
            verification_uri: String,
            expires_in: u64,
            /// RFC 8628 section 3.2.
            #[serde(default = "default_interval")]
            interval: u64,
        }
        let response = self.post("devicecode", &[("scope", self.scope.as_bytes())], deadline)?;
        if response.status != 200 {
            return Err(entra::refusal(&self.issuer, "request", &response).into());
        }
        let answer: Answer<'_> = serde_json::from_slice(&response.body)
            .map_err(|_| Failure::malformed(&self.issuer, "is not one with a device code"))?;
        Ok(DeviceCode {
            code: Zeroizing::new(answer.device_code.to_owned()),
            user_code: one_line(&answer.user_code, 40),
            address: one_line(&answer.verification_uri, 200),
            expires_at: Instant::now() + Duration::from_secs(answer.expires_in.min(3600)),
            interval: Duration::from_secs(answer.interval.clamp(1, 60)),
        })
    }

    /// Asks whether the user has signed in; `None` says to ask again after `code.interval`.
    ///
    /// # Errors
    ///
    /// The user declined, the code has expired, or there is no answer by `deadline`.
    pub fn poll(
        &self,
        code: &mut DeviceCode,
        deadline: Instant,
    ) -> Result<Option<UserTokens>, DirectoryError> {
        let fields = [
            (
                "grant_type",
                b"urn:ietf:params:oauth:grant-type:device_code".as_slice(),
            ),
            ("device_code", code.code.as_bytes()),
        ];
        let response = self.post("token", &fields, deadline)?;
        match entra::error_code(&response).as_deref() {
            _ if response.status == 200 => self.tokens(&response).map(Some),
            Some("authorization_pending") => Ok(None),
            Some("slow_down") => {
                code.interval += SLOW_DOWN;
                Ok(None)
            }
            Some("authorization_declined" | "access_denied") => {
                Err(refused("the sign-in was declined"))
            }
            Some("expired_token" | "code_expired") => {
                Err(refused("nobody has signed in before the code expired"))
            }
            _ => Err(entra::refusal(&self.issuer, "request", &response).into()),
        }
    }

    /// Asks for new tokens with a refresh token.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::CredentialRefused`]: the user has to sign in again. Others: no answer by `deadline`.
    pub fn refresh(&self, token: &[u8], deadline: Instant) -> Result<UserTokens, DirectoryError> {
        let fields = [
            ("grant_type", b"refresh_token".as_slice()),
            ("refresh_token", token),
            ("scope", self.scope.as_bytes()),
        ];
        let response = self.post("token", &fields, deadline)?;
        match response.status {
            200 => self.tokens(&response),
            _ => Err(entra::refusal(&self.issuer, "credential", &response).into()),
        }
    }

    fn post(
        &self,
        what: &str,
        fields: &[(&str, &[u8])],
        deadline: Instant,
    ) -> Result<Response, DirectoryError> {
        let mut form = Wiped::default();
        form.append_field("client_id", self.client_id.to_string().as_bytes());
        for (name, value) in fields {
            form.append_field(name, value);
        }
        let request = Request::post(
            format!("{}/{what}", self.endpoint),
            "application/x-www-form-urlencoded",
            form.into_bytes(),
        );
        let answer = self.http.send(&request, deadline);
        Ok(answer.map_err(|problem| Failure::unanswered(&self.issuer, &problem))?)
    }

    fn tokens(&self, response: &Response) -> Result<UserTokens, DirectoryError> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            /// Borrowed from the body, which is wiped.
            #[serde(borrow)]
            refresh_token: Option<&'a str>,
        }
        let malformed = |what| Failure::malformed(&self.issuer, what);
        let access = access_token::read(response).map_err(malformed)?;
        let answer: Answer<'_> = serde_json::from_slice(&response.body)
            .map_err(|_| malformed("has no refresh token that could be kept"))?;
        let refresh = answer.refresh_token.map(str::as_bytes).filter(|token| {
            !token.is_empty()
                && token.len() <= LARGEST_REFRESH_TOKEN
                && token.iter().all(u8::is_ascii_graphic)
        });
        Ok(UserTokens {
            access,
            refresh: refresh.map(|token| Zeroizing::new(token.to_vec())),
        })
    }
}

const fn default_interval() -> u64 {
    5
}

fn refused(message: &str) -> DirectoryError {
    DirectoryError::new(ErrorKind::CredentialRefused, message)
}
