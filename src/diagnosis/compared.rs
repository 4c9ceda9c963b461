//! What a refused sign-in was compared with, what it had, and a statement that changes one or the other.

use entra_token::{Audience, Mapping, PrincipalKind, Reason};
use uuid::Uuid;

use super::comparison::{Compared, kind_of};
use super::known::{Known, Role};
use super::recorded::Recorded;
use super::statement::{identifier, literal, shell_word, update, user};
use super::unmapped;

/// Whether what [`compare`] advises is better than what is advised for the reason in general.
pub fn replaces_advice(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::AudienceMismatch
            | Reason::ObjectIdMismatch
            | Reason::UserTokenRequired
            | Reason::ServiceTokenRequired
            | Reason::RoleNotMapped
            | Reason::PasswordFailed
            | Reason::MfaMissing
            | Reason::MfaUnprovable
    )
}

/// Compares a sign-in that failed for that reason with the settings and roles of now.
pub fn compare(event: &Recorded, reason: Reason, known: &Known) -> Compared {
    match reason {
        Reason::AudienceMismatch => audience(event, known),
        Reason::ObjectIdMismatch | Reason::UserTokenRequired | Reason::ServiceTokenRequired => {
            principal(event, known)
        }
        Reason::IssuerMismatch | Reason::VersionMismatch | Reason::TenantMismatch => {
            tenant(event, known)
        }
        Reason::GroupsUnknown
        | Reason::DirectoryUnavailable
        | Reason::DirectoryTimedOut
        | Reason::DirectoryBusy
        | Reason::NotAGroupMember => Compared::new(
            match known.role(&event.role) {
                Role::Mapped(mapping) => format!("a member of group {}", mapping.object_id),
                _ => "a member of the role's group".to_owned(),
            },
            principal_of(event),
        ),
        Reason::MfaMissing | Reason::MfaUnprovable => multi_factor(event, known),
        Reason::Expired => Compared::new(
            format!("a sign-in before {}", time(event.expires_at.as_ref())),
            format!("at {}", event.at),
        ),
        Reason::NotYetValid | Reason::IssuedInFuture | Reason::LifetimeTooLong => Compared {
            got: Some(format!(
                "issued {}, expires {}, used {}",
                time(event.issued_at.as_ref()),
                time(event.expires_at.as_ref()),
                event.at
            )),
            ..Compared::default()
        },
        Reason::Revoked => Compared {
            got: Some(principal_of(event)),
            remedy: event
                .object_id
                .map(|id| format!("SELECT aadauth.restore('{id}');")),
            expected: None,
        },
        Reason::RoleNotLogin => paste(format!("ALTER ROLE {} LOGIN;", identifier(&event.role))),
        Reason::RoleExpired => paste(format!(
            "ALTER ROLE {} VALID UNTIL 'infinity';",
            identifier(&event.role)
        )),
        Reason::TlsRequired => Compared::new("a connection with TLS", "one without"),
        Reason::WrongLine => Compared::new(
            format!("a line such as: {}", known.record),
            format!("a line of the method {}", event.method),
        ),
        Reason::NoVerdict => Compared {
            expected: Some(format!("a line such as: {}", known.record)),
            ..Compared::default()
        },
        Reason::RoleNotMapped | Reason::PasswordFailed => unmapped::role(event, known),
        reason if reason.before_signature() => Compared::new(
            served(known),
            "a token that was not verified, so its claims are not known",
        ),
        _ => Compared::default(),
    }
}

fn paste(statement: String) -> Compared {
    Compared {
        remedy: Some(statement),
        ..Compared::default()
    }
}

fn audience(event: &Recorded, known: &Known) -> Compared {
    let accepted: Vec<String> = known.audiences.iter().map(ToString::to_string).collect();
    let claimed = event.token_audience.as_deref().unwrap_or("not recorded");
    let compared = Compared::new(
        format!("the audience {}", accepted.join(" or ")),
        format!("{}, audience {claimed}", version(event)),
    );
    let application = Uuid::parse_str(claimed).ok();
    if let (Some("2.0"), Some(application)) = (event.token_version.as_deref(), application) {
        let is_ours = |audience: &Audience| match audience {
            Audience::Uri(uri) => uri.to_lowercase().contains(&application.to_string()),
            Audience::ApplicationId(_) => false,
        };
        let condition = if known.audiences.iter().any(is_ours) {
            "add it to aadauth.audience:".to_owned()
        } else {
            format!(
                "if {application} is that of the app registration of this server, add it to aadauth.audience (with that of \
                 another, tokens for that application could be used here):"
            )
        };
        let list = literal(&format!("{},{application}", known.audience_setting));
        return compared.remedy(format!(
            "v2 tokens name the application id: {condition}\nALTER SYSTEM SET aadauth.audience = {list};\n\
             SELECT pg_reload_conf();"
        ));
    }
    match accepted.first() {
        Some(audience) => compared.remedy(format!(
            "If aadauth.audience is not what tokens for this server are issued for, correct it. Otherwise ask for a token for \
             this server:\naz account get-access-token --resource {}",
            shell_word(audience)
        )),
        None => compared,
    }
}

fn multi_factor(event: &Recorded, known: &Known) -> Compared {
    let methods = event.amr.as_deref().unwrap_or_default();
    let claimed = if methods.is_empty() {
        "absent".to_owned()
    } else {
        methods.join(" ")
    };
    let compared = Compared::new(
        "a v1 token with \"mfa\" in its claim amr",
        format!("{}, amr {claimed}", version(event)),
    );
    if event.principal.as_deref().and_then(kind_of) != Some(PrincipalKind::Service) {
        return compared;
    }
    let problem = "A service cannot prove multi-factor authentication";
    match known.role(&event.role) {
        Role::Mapped(mapping) if mapping.kind == PrincipalKind::Service => {
            let without = Mapping {
                mfa: false,
                ..mapping.clone()
            };
            let id = mapping.object_id.to_string();
            compared.remedy(format!(
                "{problem}: map its role without mfa:\n{}",
                update(&event.role, &id, PrincipalKind::Service, Some(&without))
            ))
        }
        _ => compared.remedy(format!(
            "{problem}: it needs a role of its own, without mfa."
        )),
    }
}

fn principal(event: &Recorded, known: &Known) -> Compared {
    let Role::Mapped(mapping) = known.role(&event.role) else {
        return Compared::new("the principal of the role's label", principal_of(event));
    };
    let compared = Compared::new(
        format!("{} {}", mapping.kind, mapping.object_id),
        principal_of(event),
    );
    if let Some(own) = known
        .role_of(event.object_id, event.app_id)
        .filter(|own| *own != event.role)
    {
        return compared.remedy(format!(
            "This principal has a role of its own: connect with {}",
            user(own)
        ));
    }
    let kind = event.principal.as_deref().and_then(kind_of);
    match (event.object_id, kind) {
        (Some(id), Some(kind)) if id == mapping.object_id => compared.remedy(format!(
            "Map the role with the type of its principal:\n{}",
            update(&event.role, &id.to_string(), kind, Some(mapping))
        )),
        (Some(id), Some(kind)) => compared.remedy(format!(
            "Only if this principal is to have the role from now on, for example because the account was created again:\n{}",
            update(&event.role, &id.to_string(), kind, Some(mapping))
        )),
        _ => compared,
    }
}

fn tenant(event: &Recorded, known: &Known) -> Compared {
    let expected = match known.role(&event.role) {
        Role::Mapped(mapping) => format!(
            "{}; the role's label has tenant {}",
            served(known),
            mapping.tenant
        ),
        _ => served(known),
    };
    let tenant = event.tenant_id.map(|tenant| format!(", tenant {tenant}"));
    Compared::new(
        expected,
        format!("{}{}", version(event), tenant.unwrap_or_default()),
    )
}

/// Whose tokens the server accepts.
fn served(known: &Known) -> String {
    match known.tenant {
        Some(tenant) => format!(
            "a token of tenant {tenant}, issuer {}",
            known.issuers.join(" or ")
        ),
        None => "aadauth.tenant_id, which is not set".to_owned(),
    }
}

fn version(event: &Recorded) -> String {
    match event.token_version.as_deref() {
        Some("1.0") => "a v1 token".to_owned(),
        Some("2.0") => "a v2 token".to_owned(),
        _ => "a token".to_owned(),
    }
}

fn principal_of(event: &Recorded) -> String {
    let name = event.principal.as_deref().filter(|name| !name.is_empty());
    match (name, event.object_id) {
        (Some(name), Some(id)) => format!("{name}, object id {id}"),
        (None, Some(id)) => format!("object id {id}"),
        (..) => "a token without object id".to_owned(),
    }
}

fn time(time: Option<&String>) -> &str {
    time.map_or("at a time that is not recorded", String::as_str)
}

#[cfg(test)]
mod tests;
