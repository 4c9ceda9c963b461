//! An access token as a token endpoint or a managed identity endpoint gives it.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::http::Response;

/// Microsoft documents no limit; tokens with all the groups that fit have some 12 kB.
const LARGEST: usize = 64 * 1024;

/// An access token, which is wiped when dropped.
pub struct AccessToken {
    /// Printable ASCII without spaces.
    pub text: Zeroizing<Vec<u8>>,
    /// From when it was asked for.
    pub lifetime: Duration,
}

/// Shows no part of the token.
impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

/// The answer of a token endpoint, or of a managed identity endpoint, which writes its numbers as
/// text and App Service only when the token expires.
#[derive(Deserialize)]
struct Answer<'a> {
    /// Borrowed from the body, which is wiped; a token has nothing that JSON would escape.
    access_token: &'a str,
    #[serde(default, deserialize_with = "seconds")]
    expires_in: Option<i64>,
    #[serde(default, deserialize_with = "seconds")]
    expires_on: Option<i64>,
}

/// Reads the answer, or says what is wrong with it, as in "an answer that …".
pub(crate) fn read(response: &Response) -> Result<AccessToken, &'static str> {
    let answer: Answer<'_> =
        serde_json::from_slice(&response.body).map_err(|_| "is not one with an access token")?;
    let token = answer.access_token.as_bytes();
    if token.is_empty() || token.len() > LARGEST || !token.iter().all(u8::is_ascii_graphic) {
        return Err("has no access token that could be sent");
    }
    let lifetime = answer.expires_in.or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Some(answer.expires_on? - i64::try_from(now.ok()?.as_secs()).ok()?)
    });
    // A day is what managed identities get.
    let lifetime = lifetime
        .and_then(|seconds| u64::try_from(seconds).ok())
        .filter(|seconds| (1..=7 * 86_400).contains(seconds))
        .ok_or("does not say how long its token lives")?;
    Ok(AccessToken {
        text: Zeroizing::new(token.to_vec()),
        lifetime: Duration::from_secs(lifetime),
    })
}

/// A whole number, or one in quotes.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    struct Seconds;
    impl Visitor<'_> for Seconds {
        type Value = Option<i64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("seconds")
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
            i64::try_from(number).map(Some).map_err(E::custom)
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
            Ok(Some(number))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            text.parse().map(Some).map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Seconds)
}
