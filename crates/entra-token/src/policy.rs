//! What this server demands of a token.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use uuid::Uuid;

use crate::authority::{Authority, Cloud};
use crate::guid;

/// What this server demands of a token, from its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The one tenant whose tokens are accepted.
    pub tenant: Uuid,
    /// Who issues them.
    pub authority: Authority,
    /// The resources that a token may be meant for; an empty list accepts none.
    pub audiences: Vec<Audience>,
    /// By how many seconds the clocks of issuer and server may differ.
    pub clock_skew: i64,
    /// Size of the longest token that is looked at, in bytes.
    pub max_token_size: usize,
    /// The longest span from `nbf` to `exp` that is accepted, in seconds.
    pub max_token_lifetime: i64,
}

impl Policy {
    /// Default of [`Policy::clock_skew`], in seconds.
    pub const DEFAULT_CLOCK_SKEW: i64 = 60;
    /// The largest clock skew that a server may be set to, in seconds.
    pub const MAX_CLOCK_SKEW: i64 = 300;
    /// Default of [`Policy::max_token_size`], in bytes.
    pub const DEFAULT_MAX_TOKEN_SIZE: usize = 16 * 1024;
    /// The longest token that a PostgreSQL password message can carry, in bytes: 65,535
    /// (`PG_MAX_AUTH_TOKEN_LENGTH` in `src/include/libpq/auth.h`) less its length word and its
    /// terminating zero.
    pub const LARGEST_TOKEN_SIZE: usize = 65_530;
    /// Default of [`Policy::max_token_lifetime`], in seconds: 25 hours. Tokens of managed identities
    /// live for 24 hours and 5 minutes; those that live for 28 hours depend on continuous access
    /// evaluation, which this server does not do.
    pub const DEFAULT_MAX_TOKEN_LIFETIME: i64 = 25 * 60 * 60;

    /// A policy with the default limits.
    pub fn new(tenant: Uuid, authority: Authority, audiences: Vec<Audience>) -> Policy {
        Policy {
            tenant,
            authority,
            audiences,
            clock_skew: Self::DEFAULT_CLOCK_SKEW,
            max_token_size: Self::DEFAULT_MAX_TOKEN_SIZE,
            max_token_lifetime: Self::DEFAULT_MAX_TOKEN_LIFETIME,
        }
    }

    /// Whether the `aud` claim of a token names one of our audiences.
    pub fn accepts_audience(&self, claim: &str) -> bool {
        self.audiences
            .iter()
            .any(|audience| audience.matches(claim))
    }
}

impl Cloud {
    /// The audiences that the word `ossrdbms` means: Azure's own database resource in this
    /// cloud, by its URI and, where it is publicly known, by its application id.
    ///
    /// The resource is the first-party application "Azure OSSRDBMS Database". Its application id in
    /// China is not known, so tokens for it are accepted there only by the URI.
    pub fn ossrdbms(self) -> Vec<Audience> {
        const PUBLIC: Uuid = Uuid::from_u128(0x123cd850_d9df_40bd_94d5_c9f07b7fa203);
        const US_GOV: Uuid = Uuid::from_u128(0x01c96bfd_e37a_4b52_8481_7bb7f7e550bc);
        let uri = |uri: &str| Audience::Uri(uri.to_owned());
        match self {
            Cloud::Public => vec![
                uri("https://ossrdbms-aad.database.windows.net"),
                Audience::ApplicationId(PUBLIC),
            ],
            Cloud::UsGov => vec![
                uri("https://ossrdbms-aad.database.usgovcloudapi.net"),
                Audience::ApplicationId(US_GOV),
            ],
            Cloud::China => vec![uri("https://ossrdbms-aad.database.chinacloudapi.cn")],
        }
    }
}

/// A resource that tokens are issued for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Audience {
    /// An application id URI.
    Uri(String),
    /// An application id.
    ApplicationId(Uuid),
}

impl Audience {
    /// The longest application id URI, in bytes; Entra allows no longer one.
    pub const MAX_URI: usize = 255;

    /// Whether the `aud` claim of a token names this audience.
    ///
    /// URIs are compared byte for byte, except that one trailing slash may stand on either side:
    /// Entra copies the resource into the claim as the client spelled it, and clients spell it both
    /// ways. Application ids are compared as GUIDs.
    pub fn matches(&self, claim: &str) -> bool {
        match self {
            Audience::Uri(uri) => {
                claim == uri
                    || claim.strip_suffix('/') == Some(uri)
                    || uri.strip_suffix('/') == Some(claim)
            }
            Audience::ApplicationId(id) => guid::parse(claim) == Some(*id),
        }
    }

    /// Reads a list of audiences, separated by commas, in which the word `ossrdbms` means
    /// [`Cloud::ossrdbms`]. Spaces around an entry are ignored; an empty text is an empty list.
    ///
    /// # Errors
    ///
    /// [`AudienceError`] says what is accepted.
    pub fn parse_list(list: &str, cloud: Cloud) -> Result<Vec<Audience>, AudienceError> {
        if list.trim().is_empty() {
            return Ok(Vec::new());
        }
        let mut audiences = Vec::new();
        for entry in list.split(',').map(str::trim) {
            let named = if entry == "ossrdbms" {
                cloud.ossrdbms()
            } else {
                vec![entry.parse::<Audience>()?]
            };
            for audience in named {
                if !audiences.contains(&audience) {
                    audiences.push(audience);
                }
            }
        }
        Ok(audiences)
    }
}

impl FromStr for Audience {
    type Err = AudienceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(id) = guid::parse(text) {
            return Ok(Audience::ApplicationId(id));
        }
        if text.ends_with("/.default") {
            return Err(AudienceError::Scope);
        }
        if text.len() > Self::MAX_URI {
            return Err(AudienceError::TooLong);
        }
        // RFC 3986 section 3.1, and something behind the colon.
        let (scheme, rest) = text.split_once(':').ok_or(AudienceError::NeitherUriNorId)?;
        let scheme_is_valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        let rest_is_valid = rest.bytes().any(|byte| byte != b'/')
            && rest.bytes().all(|b| {
                b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b'<' | b'>' | b'\\' | b'`')
            });
        if scheme_is_valid && rest_is_valid {
            Ok(Audience::Uri(text.to_owned()))
        } else {
            Err(AudienceError::NeitherUriNorId)
        }
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Audience::Uri(uri) => f.write_str(uri),
            Audience::ApplicationId(id) => id.as_hyphenated().fmt(f),
        }
    }
}

/// Why a text names no audience.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AudienceError {
    /// Neither a URI nor a GUID.
    #[error(
        "an audience must be an application id URI such as api://6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f5, \
         or an application id such as 6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f5"
    )]
    NeitherUriNorId,
    /// The scope that a client asks for, which no token has as its audience.
    #[error("an audience must not end in \"/.default\", which marks a scope")]
    Scope,
    /// Longer than [`Audience::MAX_URI`].
    #[error("an audience may have at most 255 characters")]
    TooLong,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f5";

    /// The spellings of `aud`.
    #[test]
    fn uris_match_byte_for_byte_but_for_one_trailing_slash() {
        let plain: Audience = "https://db.example.com".parse().unwrap();
        let slash: Audience = "https://db.example.com/".parse().unwrap();
        for audience in [&plain, &slash] {
            assert!(audience.matches("https://db.example.com"));
            assert!(audience.matches("https://db.example.com/"));
            for bad in [
                "",
                "https://db.example.co",
                "https://db.example.comm",
                "https://db.example.com.evil.example",
                "https://DB.example.com",
                "HTTPS://db.example.com",
                "http://db.example.com",
                " https://db.example.com",
                "https://db.example.com ",
                "https://db.example.com/x",
                "https://db.example.com/.default",
                "https://graph.microsoft.com",
                "00000003-0000-0000-c000-000000000000",
            ] {
                assert!(!audience.matches(bad), "{bad}");
            }
        }
        assert!(!plain.matches("https://db.example.com//"));
        assert!(slash.matches("https://db.example.com//"));
        assert!(!slash.matches("https://db.example.com///"));
    }

    /// `api://` against the bare GUID.
    #[test]
    fn ids_match_as_guids() {
        let id: Audience = ID.parse().unwrap();
        assert!(id.matches(ID));
        assert!(id.matches(&ID.to_uppercase()));
        assert!(!id.matches(&format!("api://{ID}")));
        assert!(!id.matches(&format!("{ID}/")));
        assert!(!id.matches(&format!("{{{ID}}}")));
        let uri: Audience = format!("api://{ID}").parse().unwrap();
        assert!(uri.matches(&format!("api://{ID}")));
        assert!(!uri.matches(ID));
        assert!(!uri.matches(&format!("api://{}", ID.to_uppercase())));
    }

    #[test]
    fn only_uris_and_guids_are_audiences() {
        for good in ["api://x", "https://db.example.com/", "urn:example:db", ID] {
            assert_eq!(good.parse::<Audience>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "db",
            "ossrdbms",
            "https://",
            "https:",
            "://x",
            "1https://x",
            "https://a b",
            "https://a,b",
            "https://a\"b",
            "https://ä",
            "https://a\n",
            "00000000-0000-0000-0000-000000000000",
            "{6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f5}",
        ] {
            assert_eq!(
                bad.parse::<Audience>(),
                Err(AudienceError::NeitherUriNorId),
                "{bad}"
            );
        }
        assert_eq!(
            "api://db.example.com/.default".parse::<Audience>(),
            Err(AudienceError::Scope)
        );
        let longest = format!("api://{}", "a".repeat(249));
        assert!(longest.parse::<Audience>().is_ok());
        assert_eq!(
            format!("{longest}a").parse::<Audience>(),
            Err(AudienceError::TooLong)
        );
    }

    #[test]
    fn lists_expand_the_word_ossrdbms_for_the_cloud() {
        let public = Audience::parse_list("ossrdbms", Cloud::Public).unwrap();
        assert_eq!(
            public.iter().map(Audience::to_string).collect::<Vec<_>>(),
            [
                "https://ossrdbms-aad.database.windows.net",
                "123cd850-d9df-40bd-94d5-c9f07b7fa203"
            ]
        );
        let mixed = Audience::parse_list(" api://x , ossrdbms,api://x", Cloud::China).unwrap();
        assert_eq!(
            mixed.iter().map(Audience::to_string).collect::<Vec<_>>(),
            ["api://x", "https://ossrdbms-aad.database.chinacloudapi.cn"]
        );
        assert_eq!(Audience::parse_list("  ", Cloud::Public).unwrap(), []);
        for bad in [
            ",",
            "api://x,",
            "api://x,,api://y",
            "OSSRDBMS",
            "api://x api://y",
        ] {
            assert!(Audience::parse_list(bad, Cloud::Public).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_policy_without_audiences_accepts_none() {
        let tenant: Uuid = ID.parse().unwrap();
        let policy = Policy::new(tenant, Authority::default(), Vec::new());
        assert!(!policy.accepts_audience(""));
        assert!(!policy.accepts_audience("https://ossrdbms-aad.database.windows.net"));
    }
}
