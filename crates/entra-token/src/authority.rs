//! The Entra clouds, and the addresses and issuers that belong to each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// Version of an access token, which the *resource* chooses (`requestedAccessTokenVersion` in its
/// app registration), and with it the metadata document, key set and issuer that it must match.
/// <https://learn.microsoft.com/entra/identity-platform/access-tokens>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenVersion {
    /// `ver` is `1.0`: what Azure's database resource issues.
    V1,
    /// `ver` is `2.0`.
    V2,
}

impl TokenVersion {
    /// Both versions.
    pub const ALL: [TokenVersion; 2] = [TokenVersion::V1, TokenVersion::V2];

    /// The value of the `ver` claim.
    pub const fn claim(self) -> &'static str {
        match self {
            TokenVersion::V1 => "1.0",
            TokenVersion::V2 => "2.0",
        }
    }

    /// The version whose `ver` claim this is.
    pub fn from_claim(claim: &str) -> Option<TokenVersion> {
        Self::ALL
            .into_iter()
            .find(|version| version.claim() == claim)
    }
}

/// Writes `v1` or `v2`.
impl fmt::Display for TokenVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            TokenVersion::V1 => "v1",
            TokenVersion::V2 => "v2",
        })
    }
}

/// A national cloud of Entra ID.
/// <https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cloud {
    /// The worldwide cloud.
    #[default]
    Public,
    /// Azure for the government of the United States.
    UsGov,
    /// Azure in China, operated by 21Vianet.
    China,
}

impl Cloud {
    /// Every cloud.
    pub const ALL: [Cloud; 3] = [Cloud::Public, Cloud::UsGov, Cloud::China];

    /// Origin of the cloud's sign-in endpoints.
    pub const fn login(self) -> &'static str {
        match self {
            Cloud::Public => "https://login.microsoftonline.com",
            Cloud::UsGov => "https://login.microsoftonline.us",
            Cloud::China => "https://login.partner.microsoftonline.cn",
        }
    }

    /// The cloud whose sign-in endpoints this origin has.
    pub fn of_login(origin: &str) -> Option<Cloud> {
        // What Microsoft's libraries still call China's.
        const CHINA: &str = "https://login.chinacloudapi.cn";
        match origin {
            CHINA => Some(Cloud::China),
            _ => Self::ALL.into_iter().find(|cloud| cloud.login() == origin),
        }
    }

    /// Origin in the issuer of v1 tokens. US Gov shares the worldwide cloud's.
    const fn v1_issuer_origin(self) -> &'static str {
        match self {
            Cloud::Public | Cloud::UsGov => "https://sts.windows.net",
            Cloud::China => "https://sts.chinacloudapi.cn",
        }
    }
}

/// Writes the word that [`Cloud::from_str`] reads.
impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Cloud::Public => "public",
            Cloud::UsGov => "usgov",
            Cloud::China => "china",
        })
    }
}

impl FromStr for Cloud {
    type Err = AuthorityError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|cloud| cloud.to_string() == word)
            .ok_or(AuthorityError::UnknownCloud)
    }
}

/// Who issues tokens: a cloud, or one host of one's own that speaks Entra's protocols.
///
/// With a host of one's own, that host's issuers are served and Microsoft's are not: the keys of an
/// emulator must never verify tokens of a real issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Authority {
    /// The cloud; decides the issuers where `host` is absent.
    pub cloud: Cloud,
    /// `https://host[:port]`, as [`Authority::check_host`] accepts it.
    pub host: Option<String>,
}

impl Authority {
    /// An authority whose host, if one is given, has been checked.
    ///
    /// # Errors
    ///
    /// See [`Authority::check_host`].
    pub fn new(cloud: Cloud, host: Option<&str>) -> Result<Authority, AuthorityError> {
        if let Some(host) = host {
            Self::check_host(host)?;
        }
        Ok(Authority {
            cloud,
            host: host.map(str::to_owned),
        })
    }

    /// Checks that `host` is an origin as an issuer has it: `https://`, a lower-case
    /// host name or address, at most a port, and nothing behind it.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`] says what is accepted.
    pub fn check_host(host: &str) -> Result<(), AuthorityError> {
        let rest = host
            .strip_prefix("https://")
            .ok_or(AuthorityError::HostNotHttps)?;
        let (name, port) = match rest.strip_prefix('[') {
            // An IPv6 address is in brackets, RFC 3986 section 3.2.2.
            Some(rest) => {
                let (address, behind) = rest.split_once(']').ok_or(AuthorityError::HostInvalid)?;
                if address.parse::<std::net::Ipv6Addr>().is_err() {
                    return Err(AuthorityError::HostInvalid);
                }
                (
                    None,
                    behind
                        .strip_prefix(':')
                        .or_else(|| (!behind.is_empty()).then_some("")),
                )
            }
            None => match rest.split_once(':') {
                Some((name, port)) => (Some(name), Some(port)),
                None => (Some(rest), None),
            },
        };
        let name_is_valid = name.is_none_or(|name| {
            name.len() <= 253
                && name.split('.').all(|label| {
                    !label.is_empty()
                        && label.len() <= 63
                        && !label.starts_with('-')
                        && !label.ends_with('-')
                        && label.bytes().all(|byte| {
                            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
                        })
                })
        });
        let port_is_valid = port.is_none_or(|port| {
            !port.starts_with(['0', '+']) && port.parse::<u16>().is_ok_and(|port| port != 0)
        });
        if name_is_valid && port_is_valid {
            Ok(())
        } else {
            Err(AuthorityError::HostInvalid)
        }
    }

    /// Origin of the sign-in endpoints, `https://host[:port]`.
    pub fn login(&self) -> &str {
        self.host.as_deref().unwrap_or_else(|| self.cloud.login())
    }

    /// The one issuer that tokens of this version and tenant must name, byte for byte.
    pub fn issuer(&self, version: TokenVersion, tenant: Uuid) -> String {
        let tenant = tenant.as_hyphenated();
        match version {
            TokenVersion::V1 => {
                let origin = self
                    .host
                    .as_deref()
                    .unwrap_or_else(|| self.cloud.v1_issuer_origin());
                format!("{origin}/{tenant}/")
            }
            TokenVersion::V2 => format!("{}/{tenant}/v2.0", self.login()),
        }
    }

    /// Address of the OpenID provider metadata that names the issuer and the key set.
    pub fn metadata_url(&self, version: TokenVersion, tenant: Uuid) -> String {
        let login = self.login();
        let tenant = tenant.as_hyphenated();
        match version {
            TokenVersion::V1 => format!("{login}/{tenant}/.well-known/openid-configuration"),
            TokenVersion::V2 => format!("{login}/{tenant}/v2.0/.well-known/openid-configuration"),
        }
    }

    /// Whether `url` lies on this authority's own origin and is fit to be fetched.
    pub(crate) fn owns(&self, url: &str) -> bool {
        // The slash after the origin is what keeps out https://login.example@elsewhere and
        // https://login.example.elsewhere.
        url.len() <= 2048
            && url.strip_prefix(self.login()).is_some_and(|path| {
                path.starts_with('/')
                    && path
                        .bytes()
                        .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
            })
    }
}

/// Why a cloud or an authority host is not accepted.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthorityError {
    /// Not the name of a cloud.
    #[error("unknown cloud: accepted are public, usgov and china")]
    UnknownCloud,
    /// The host is not an `https` address.
    #[error("the authority host must begin with https://")]
    HostNotHttps,
    /// The host is not just an origin.
    #[error(
        "the authority host must be https://host or https://host:port in lower case, with no path \
         and no trailing slash"
    )]
    HostInvalid,
}

#[cfg(test)]
mod tests;
