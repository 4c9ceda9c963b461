//! An access token as a token endpoint or a managed identity endpoint gives it.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::http::Response;

/// Microsoft documents no limit; tokens with all the groups that fit have some 12 kB.
const LARGEST: usize = 64 * 1024;
/// In seconds. A day is what managed identities get.
const LONGEST_LIFE: u64 = 7 * 86_400;

/// An access token, which is wiped when dropped.
pub struct AccessToken {
    text: Zeroizing<Vec<u8>>,
    lifetime: Duration,
}

impl AccessToken {
    /// # Errors
    ///
    /// What is wrong with it, as in "an answer that …".
    pub fn new(text: &str, lifetime: Duration) -> Result<AccessToken, &'static str> {
        let text = text.as_bytes();
        if text.is_empty() || text.len() > LARGEST || !text.iter().all(u8::is_ascii_graphic) {
            return Err("has no access token that could be sent");
        }
        match lifetime.as_secs() {
            0 => Err("has a token that has expired already"),
            1..=LONGEST_LIFE => Ok(AccessToken {
                text: Zeroizing::new(text.to_vec()),
                lifetime,
            }),
            _ => Err("has a token that lives for more than a week"),
        }
    }

    /// Printable ASCII without spaces.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// From when it was asked for.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }
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
    let lifetime = answer.expires_in.or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Some(answer.expires_on? - i64::try_from(now.ok()?.as_secs()).ok()?)
    });
    let lifetime = lifetime.ok_or("does not say how long its token lives")?;
    let lifetime = Duration::from_secs(u64::try_from(lifetime).unwrap_or_default());
    AccessToken::new(answer.access_token, lifetime)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_can_be_sent_and_is_good_for_a_while() {
        let new = |text: &str, seconds| AccessToken::new(text, Duration::from_secs(seconds)).err();
        for (text, seconds) in [("a.b.c", 1), (&"x".repeat(LARGEST), LONGEST_LIFE)] {
            assert_eq!(new(text, seconds), None);
        }
        for text in ["", "a b", "a\nb", "é", &"x".repeat(LARGEST + 1)] {
            assert_eq!(new(text, 1), Some("has no access token that could be sent"));
        }
        assert!(new("a", 0).is_some_and(|what| what.contains("expired")));
        assert!(new("a", LONGEST_LIFE + 1).is_some_and(|what| what.contains("more than a week")));
    }
}
