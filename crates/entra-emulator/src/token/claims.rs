//! The claims of a good token, as Microsoft's reference of access token claims lists them.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::request::Proof;
use crate::authority::{Authority, TokenVersion};
use crate::directory::{
    Application, Home, Identity, IdentityKind, ManagedIdentity, Principal, Resource, User,
};

/// Above this many groups a token carries a pointer instead of the `groups` claim.
pub(super) const GROUPS_LIMIT: usize = 200;

pub(super) struct Ingredients<'a> {
    pub principal: Principal<'a>,
    pub resource: &'a Resource,
    pub audience: &'a str,
    pub version: TokenVersion,
    /// To which application a user signed in.
    pub client: Uuid,
    pub proof: Proof,
    pub authority: &'a Authority,
    pub not_before: i64,
    pub expires_on: i64,
    pub unique_id: String,
}

pub(super) fn good(from: &Ingredients<'_>) -> Map<String, Value> {
    let tenant = from.principal.tenant.id;
    let object_id = from.principal.identity.object_id();
    let mut claims = Map::new();
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("aud", json!(audience(from)));
    set(
        "iss",
        json!(from.authority.tenant_issuer(from.version, tenant)),
    );
    set("iat", json!(from.not_before));
    set("nbf", json!(from.not_before));
    set("exp", json!(from.expires_on));
    set("aio", json!(opaque(&["aio", &from.unique_id])));
    set("oid", json!(object_id));
    set(
        "rh",
        json!(format!("1.{}.", opaque(&["rh", &tenant.to_string()]))),
    );
    set("tid", json!(tenant));
    set("uti", json!(from.unique_id));
    set("ver", json!(from.version.claim()));
    match from.principal.identity {
        Identity::User(user) => user_claims(&mut claims, from, user),
        Identity::Application(application) => application_claims(&mut claims, from, application),
        Identity::ManagedIdentity(identity) => managed_claims(&mut claims, from, identity),
    }
    if from.resource.groups {
        group_claims(&mut claims, from, object_id);
    }
    claims
}

/// v1 tokens repeat the audience as it was asked for, v2 tokens have the application id.
fn audience(from: &Ingredients<'_>) -> String {
    match from.version {
        TokenVersion::V1 => from.audience.to_owned(),
        TokenVersion::V2 => from.resource.app_id.to_string(),
    }
}

fn user_claims(claims: &mut Map<String, Value>, from: &Ingredients<'_>, user: &User) {
    let object_id = user.object_id.to_string();
    let app_id = from.resource.app_id.to_string();
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("name", json!(user.name));
    set("scp", json!(scope(from.resource)));
    // Pairwise: another application sees another subject.
    set("sub", json!(opaque(&["sub", &object_id, &app_id])));
    if from.resource.idtyp {
        set("idtyp", json!("user"));
    }
    match from.version {
        TokenVersion::V1 => {
            set("acr", json!("1"));
            set(
                "amr",
                if user.mfa && from.proof != Proof::PasswordAlone {
                    json!(["pwd", "mfa"])
                } else {
                    json!(["pwd"])
                },
            );
            set("appid", json!(from.client));
            set("appidacr", json!("0"));
            set("ipaddr", json!("127.0.0.1"));
            match &user.guest {
                None => {
                    set("upn", json!(user.upn));
                    set("unique_name", json!(user.upn));
                }
                Some(guest) => {
                    set("email", json!(guest.mail));
                    set("idp", json!(home_provider(guest.home)));
                    set("unique_name", json!(unique_name(guest.home, &guest.mail)));
                }
            }
        }
        TokenVersion::V2 => {
            set("azp", json!(from.client));
            set("azpacr", json!("0"));
            set(
                "preferred_username",
                json!(user.guest.as_ref().map_or(&user.upn, |guest| &guest.mail)),
            );
        }
    }
}

/// What the Azure CLI may do in a user's name: in Graph, what the user may do there.
fn scope(resource: &Resource) -> &'static str {
    if resource.is_graph() {
        "Directory.AccessAsUser.All"
    } else {
        "user_impersonation"
    }
}

pub(super) fn home_provider(home: Home) -> String {
    match home {
        Home::MicrosoftAccount => "live.com".to_owned(),
        Home::Tenant(id) => format!("https://sts.windows.net/{id}/"),
    }
}

fn unique_name(home: Home, mail: &str) -> String {
    match home {
        Home::MicrosoftAccount => format!("live.com#{mail}"),
        Home::Tenant(_) => mail.to_owned(),
    }
}

/// `acr` of the client: "1" proved a secret, "2" a certificate; managed identities have those.
fn application_claims(
    claims: &mut Map<String, Value>,
    from: &Ingredients<'_>,
    application: &Application,
) {
    app_only_claims(
        claims,
        from,
        application.client_id,
        application.object_id,
        if from.proof == Proof::Assertion {
            "2"
        } else {
            "1"
        },
    );
    graph_roles(claims, from, &application.graph_permissions);
}

fn managed_claims(
    claims: &mut Map<String, Value>,
    from: &Ingredients<'_>,
    identity: &ManagedIdentity,
) {
    app_only_claims(claims, from, identity.client_id, identity.object_id, "2");
    let relation = match identity.kind {
        IdentityKind::System => "7 2",
        IdentityKind::User => "7 20",
    };
    claims.insert("xms_idrel".to_owned(), json!(relation));
    claims.insert("xms_mirid".to_owned(), json!(identity.resource_id));
    graph_roles(claims, from, &identity.graph_permissions);
}

fn app_only_claims(
    claims: &mut Map<String, Value>,
    from: &Ingredients<'_>,
    client_id: Uuid,
    object_id: Uuid,
    proof: &str,
) {
    let issuer = from
        .authority
        .tenant_issuer(TokenVersion::V1, from.principal.tenant.id);
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("sub", json!(object_id));
    if from.resource.idtyp {
        set("idtyp", json!("app"));
    }
    match from.version {
        TokenVersion::V1 => {
            set("appid", json!(client_id));
            set("appidacr", json!(proof));
            set("idp", json!(issuer));
        }
        TokenVersion::V2 => {
            set("azp", json!(client_id));
            set("azpacr", json!(proof));
        }
    }
}

/// Graph decides by what the token says, so a permission that is granted counts from the next token
/// on.
fn graph_roles(claims: &mut Map<String, Value>, from: &Ingredients<'_>, permissions: &[String]) {
    if from.resource.is_graph() && !permissions.is_empty() {
        claims.insert("roles".to_owned(), json!(permissions));
    }
}

/// Group ids up to a limit, then a pointer to where they can be asked for. Without a group there is no
/// claim.
fn group_claims(claims: &mut Map<String, Value>, from: &Ingredients<'_>, object_id: Uuid) {
    let groups = from.principal.tenant.groups_of(object_id);
    if groups.len() > GROUPS_LIMIT {
        overflow(claims, from.principal.tenant.id, object_id);
    } else if !groups.is_empty() {
        claims.insert("groups".to_owned(), json!(groups));
    }
}

/// Replaces a `groups` claim that would be too long.
pub(super) fn overflow(claims: &mut Map<String, Value>, tenant: Uuid, object_id: Uuid) {
    let endpoint = format!("https://graph.windows.net/{tenant}/users/{object_id}/getMemberObjects");
    claims.remove("groups");
    claims.insert("_claim_names".to_owned(), json!({ "groups": "src1" }));
    claims.insert(
        "_claim_sources".to_owned(),
        json!({ "src1": { "endpoint": endpoint } }),
    );
}

/// An opaque value, the same each time.
pub(super) fn opaque(parts: &[&str]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, parts.join("\n").as_bytes()))
}
