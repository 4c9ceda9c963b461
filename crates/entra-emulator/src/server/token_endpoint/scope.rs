//! What a token is asked for.

use super::super::error::Refusal;

/// Scopes of OpenID Connect, which belong to no resource.
const OPEN_ID: [&str; 4] = ["openid", "profile", "email", "offline_access"];
const GRAPH: &str = "https://graph.microsoft.com";

/// What a user's client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UserScope {
    pub resource: String,
    pub id_token: bool,
    pub refresh_token: bool,
}

/// Reads a v2 scope: names of OpenID Connect, and permissions of one resource, each
/// `resource/permission` or, of Graph, only `permission`.
pub(super) fn user_scope(scope: &str) -> Result<UserScope, Refusal> {
    let words: Vec<&str> = scope.split_ascii_whitespace().collect();
    let mut resources: Vec<&str> = words
        .iter()
        .filter(|word| !OPEN_ID.contains(*word))
        .map(|word| {
            word.rsplit_once('/')
                .map_or(GRAPH, |(resource, _)| resource)
        })
        .collect();
    resources.dedup();
    let resource = match resources.as_slice() {
        [] if words.is_empty() => return Err(Refusal::ParameterMissing("scope")),
        [] => GRAPH,
        [one] => one,
        _ => return Err(Refusal::ScopeOfSeveralResources(scope.to_owned())),
    };
    Ok(UserScope {
        resource: resource.to_owned(),
        id_token: words.contains(&"openid"),
        refresh_token: words.contains(&"offline_access"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_of_one_resource() {
        let read = |scope: &str| user_scope(scope).map(|scope| scope.resource);
        assert_eq!(
            read("api://x/.default offline_access openid profile").unwrap(),
            "api://x"
        );
        assert_eq!(read("https://x//.default").unwrap(), "https://x/");
        assert_eq!(read("https://x/read https://x/write").unwrap(), "https://x");
        assert_eq!(read("User.Read").unwrap(), GRAPH);
        assert_eq!(read("openid").unwrap(), GRAPH);
        for scope in [
            "",
            "api://x/.default api://y/.default",
            "api://x/read User.Read",
        ] {
            assert!(read(scope).is_err(), "{scope}");
        }
    }

    #[test]
    fn what_comes_beside_is_asked_for() {
        let scope = user_scope("api://x/.default openid").unwrap();
        assert!(scope.id_token && !scope.refresh_token);
        let scope = user_scope("api://x/.default offline_access").unwrap();
        assert!(!scope.id_token && scope.refresh_token);
    }
}
