//! Tokens of a user who signs in with a code, and afterwards with the refresh token that is kept.

use std::thread;
use std::time::{Duration, Instant};

use entra_api::ErrorKind;
use entra_client::access_token::AccessToken;
use entra_client::user::{UserSignIn, UserTokens};

use crate::cache::Cache;

/// For one answer of Entra.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);

/// A token by the refresh token at hand; else, if `may_ask`, the user is asked to sign in.
///
/// # Errors
///
/// Entra does not answer, or the user does not sign in.
pub fn token(
    sign_in: &UserSignIn,
    cache: Option<&Cache>,
    may_ask: bool,
) -> Result<AccessToken, String> {
    let mut reason = "no refresh token is kept".to_owned();
    if let Some(refresh_token) = cache.map_or(Ok(None), Cache::read)? {
        match sign_in.refresh(&refresh_token, Instant::now() + TIME_LIMIT) {
            Ok(tokens) => return Ok(keep(cache, tokens)),
            // It has expired, or was revoked.
            Err(error) if error.kind == ErrorKind::CredentialRefused => {
                reason = error.message;
                if may_ask {
                    eprintln!("aadauth-token: {reason}; sign in again");
                }
            }
            Err(error) => return Err(error.message),
        }
    }
    if !may_ask {
        return Err(format!(
            "{reason}; run aadauth-token --from device-code in a terminal to sign in again"
        ));
    }
    Ok(keep(cache, ask(sign_in)?))
}

fn ask(sign_in: &UserSignIn) -> Result<UserTokens, String> {
    let mut code = sign_in
        .begin(Instant::now() + TIME_LIMIT)
        .map_err(|error| error.message)?;
    eprintln!(
        "To sign in, open {} in a browser and enter the code {}",
        code.address, code.user_code
    );
    loop {
        // RFC 8628 section 3.5: the authorization server sets the pace.
        let left = code.expires_at.saturating_duration_since(Instant::now());
        thread::sleep(code.interval.min(left));
        if Instant::now() >= code.expires_at {
            return Err("nobody has signed in before the code expired".to_owned());
        }
        let deadline = Instant::now() + TIME_LIMIT;
        match sign_in.poll(&mut code, deadline) {
            Ok(Some(tokens)) => return Ok(tokens),
            Ok(None) => {}
            // The same section: after a failure to connect, it asks half as often.
            Err(error) if is_passing(error.kind) => code.interval *= 2,
            Err(error) => return Err(error.message),
        }
    }
}

fn is_passing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TimedOut | ErrorKind::Unreachable | ErrorKind::Throttled
    )
}

/// A token that cannot be kept is good all the same.
fn keep(cache: Option<&Cache>, tokens: UserTokens) -> AccessToken {
    if let (Some(cache), Some(refresh_token)) = (cache, &tokens.refresh)
        && let Err(problem) = cache.write(refresh_token)
    {
        eprintln!("aadauth-token: {problem}");
    }
    tokens.access
}
