//! Where tokens come from, and what that makes of their `iss` claim.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The two forms of access token that Entra issues. The application that a token is for decides
/// which it gets, not the endpoint that was asked (`accessTokenAcceptedVersion` of its manifest).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenVersion {
    V1,
    V2,
}

impl TokenVersion {
    /// The value of the `ver` claim.
    pub fn claim(self) -> &'static str {
        match self {
            TokenVersion::V1 => "1.0",
            TokenVersion::V2 => "2.0",
        }
    }
}

impl FromStr for TokenVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<TokenVersion, String> {
        match text {
            "1" => Ok(TokenVersion::V1),
            "2" => Ok(TokenVersion::V2),
            other => Err(format!("token version \"{other}\" is neither 1 nor 2")),
        }
    }
}

/// An authority: one of Microsoft's clouds, or this emulator at its own address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    login: String,
    /// v1 tokens of Microsoft's clouds name a host of their own, the security token service.
    v1_issuer: String,
}

impl Authority {
    /// An authority at `address`, `https://host[:port]`, whose issuers all carry that address.
    pub fn at(address: &str) -> Authority {
        let login = address.trim_end_matches('/').to_owned();
        Authority {
            v1_issuer: login.clone(),
            login,
        }
    }

    /// The address that requests go to, without a trailing slash.
    pub fn address(&self) -> &str {
        &self.login
    }

    /// Host and port, as in the aliases of instance discovery.
    pub fn host(&self) -> &str {
        self.login
            .split_once("://")
            .map_or(self.login.as_str(), |(_, host)| host)
    }

    /// The issuer of `tenant`'s tokens. `tenant` is text because metadata of `common` says
    /// `{tenantid}` there.
    pub fn issuer(&self, version: TokenVersion, tenant: &str) -> String {
        match version {
            TokenVersion::V1 => format!("{}/{tenant}/", self.v1_issuer),
            TokenVersion::V2 => format!("{}/{tenant}/v2.0", self.login),
        }
    }

    /// The same for a tenant's GUID.
    pub fn tenant_issuer(&self, version: TokenVersion, tenant: Uuid) -> String {
        self.issuer(version, &tenant.to_string())
    }

    fn cloud(login: &str, token_service: &str) -> Authority {
        Authority {
            login: login.to_owned(),
            v1_issuer: token_service.to_owned(),
        }
    }
}

impl FromStr for Authority {
    type Err = String;

    /// `public`, `usgov`, `china`, or `https://host[:port]`.
    fn from_str(text: &str) -> Result<Authority, String> {
        match text {
            "public" => Ok(Authority::cloud(
                "https://login.microsoftonline.com",
                "https://sts.windows.net",
            )),
            "usgov" => Ok(Authority::cloud(
                "https://login.microsoftonline.us",
                "https://sts.windows.net",
            )),
            "china" => Ok(Authority::cloud(
                "https://login.partner.microsoftonline.cn",
                "https://sts.chinacloudapi.cn",
            )),
            address => match address.strip_prefix("https://") {
                Some(host) if is_host(host.trim_end_matches('/')) => Ok(Authority::at(address)),
                _ => Err(format!(
                    "authority \"{address}\" is neither https://host[:port] nor public, usgov or china"
                )),
            },
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.login)
    }
}

fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "6b1f0c7e-2a3d-4e58-9b41-0c5d7e8f9a01";

    #[test]
    fn own_address_is_in_both_issuers() {
        let authority: Authority = "https://localhost:8443/".parse().unwrap();
        assert_eq!(
            authority.issuer(TokenVersion::V1, TENANT),
            format!("https://localhost:8443/{TENANT}/")
        );
        assert_eq!(
            authority.issuer(TokenVersion::V2, TENANT),
            format!("https://localhost:8443/{TENANT}/v2.0")
        );
        assert_eq!(authority.host(), "localhost:8443");
    }

    #[test]
    fn clouds_have_a_token_service_for_v1() {
        let china: Authority = "china".parse().unwrap();
        assert_eq!(
            china.issuer(TokenVersion::V1, TENANT),
            format!("https://sts.chinacloudapi.cn/{TENANT}/")
        );
        assert_eq!(
            china.issuer(TokenVersion::V2, TENANT),
            format!("https://login.partner.microsoftonline.cn/{TENANT}/v2.0")
        );
    }

    #[test]
    fn plain_http_and_paths_are_refused() {
        for text in [
            "http://localhost:1",
            "https://localhost/x",
            "https://",
            "germany",
        ] {
            assert!(text.parse::<Authority>().is_err(), "{text}");
        }
    }
}
