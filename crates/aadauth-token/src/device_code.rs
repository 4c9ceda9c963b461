//! Tokens of a user who signs in with a code, and afterwards with the refresh token that is kept.

use std::thread;
use std::time::{Duration, Instant};

use entra_api::ErrorKind;
use entra_client::access_token::AccessToken;
use entra_client::user::{UserSignIn, UserTokens};

use crate::cache::Cache;

/// For one answer of Entra.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);

/// A token by the refresh token at hand; else the user is asked to sign in.
///
/// # Errors
///
/// Entra does not answer, or the user does not sign in.
pub fn token(sign_in: &UserSignIn, cache: &Cache) -> Result<AccessToken, String> {
    if let Some(refresh_token) = cache.read()? {
        match sign_in.refresh(&refresh_token, Instant::now() + TIME_LIMIT) {
            Ok(tokens) => return keep(cache, tokens),
            // It has expired, or was revoked.
            Err(error) if error.kind == ErrorKind::CredentialRefused => {
                eprintln!("aadauth-token: {}; sign in again", error.message);
            }
            Err(error) => return Err(error.message),
        }
    }
    keep(cache, ask(sign_in)?)
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
        thread::sleep(code.interval);
        if Instant::now() >= code.expires_at {
            return Err("nobody has signed in before the code expired".to_owned());
        }
        let asked = sign_in.poll(&mut code, Instant::now() + TIME_LIMIT);
        if let Some(tokens) = asked.map_err(|error| error.message)? {
            return Ok(tokens);
        }
    }
}

fn keep(cache: &Cache, tokens: UserTokens) -> Result<AccessToken, String> {
    if let Some(refresh_token) = &tokens.refresh {
        cache.write(refresh_token)?;
    }
    Ok(tokens.access)
}
