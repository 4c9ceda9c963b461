//! The kinds of endpoint.

use serde::{Deserialize, Serialize};

/// The kinds of endpoint that are counted and disturbed apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Endpoint {
    /// OpenID Connect metadata.
    Metadata,
    /// Signing keys.
    Keys,
    /// Instance discovery.
    Instance,
    /// The token endpoints.
    Token,
    /// Managed identities.
    Imds,
    /// Microsoft Graph.
    Graph,
    /// Anything else.
    Other,
}

impl Endpoint {
    pub(super) const ALL: [Endpoint; 7] = [
        Endpoint::Metadata,
        Endpoint::Keys,
        Endpoint::Instance,
        Endpoint::Token,
        Endpoint::Imds,
        Endpoint::Graph,
        Endpoint::Other,
    ];

    pub(super) fn of(path: &str) -> Endpoint {
        let path = path.trim_end_matches('/');
        if path.ends_with("/.well-known/openid-configuration") {
            Endpoint::Metadata
        } else if path.ends_with("/discovery/keys") || path.ends_with("/discovery/v2.0/keys") {
            Endpoint::Keys
        } else if path.ends_with("/discovery/instance") {
            Endpoint::Instance
        } else if path == "/metadata/identity/oauth2/token" || path == APP_SERVICE {
            Endpoint::Imds
        } else if TOKENS.iter().any(|end| path.ends_with(end)) {
            Endpoint::Token
        } else if path
            .strip_prefix(GRAPH)
            .is_some_and(|rest| rest.starts_with('/'))
        {
            Endpoint::Graph
        } else {
            Endpoint::Other
        }
    }
}

/// Where Microsoft Graph begins.
pub(super) const GRAPH: &str = "/v1.0";
/// Where App Service's managed identities are.
pub(super) const APP_SERVICE: &str = "/msi/token";
/// How the paths end where tokens are issued, and codes on the way to them.
const TOKENS: [&str; 5] = [
    "/oauth2/v2.0/authorize",
    "/oauth2/token",
    "/oauth2/v2.0/token",
    "/oauth2/devicecode",
    "/oauth2/v2.0/devicecode",
];

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn paths_belong_to_endpoints() {
        for (path, endpoint) in [
            ("/common/discovery/instance", Endpoint::Instance),
            (
                "/contoso.com/.well-known/openid-configuration",
                Endpoint::Metadata,
            ),
            (
                "/contoso.com/v2.0/.well-known/openid-configuration",
                Endpoint::Metadata,
            ),
            ("/common/discovery/keys", Endpoint::Keys),
            ("/common/discovery/v2.0/keys", Endpoint::Keys),
            ("/contoso.com/oauth2/token", Endpoint::Token),
            ("/contoso.com/oauth2/v2.0/token", Endpoint::Token),
            ("/contoso.com/oauth2/v2.0/devicecode", Endpoint::Token),
            ("/contoso.com/oauth2/v2.0/authorize", Endpoint::Token),
            ("/metadata/identity/oauth2/token", Endpoint::Imds),
            ("/msi/token", Endpoint::Imds),
            ("/metadata/identity/oauth2/token/", Endpoint::Imds),
            ("/v1.0/users/alice@contoso.com", Endpoint::Graph),
            ("/v1.0x", Endpoint::Other),
            ("/", Endpoint::Other),
        ] {
            assert_eq!(Endpoint::of(path), endpoint, "{path}");
        }
    }
}
