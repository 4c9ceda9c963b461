//! Names that no mapped role has.

use entra_token::{PrincipalKind, Reason};
use uuid::Uuid;

use super::comparison::{Compared, kind_of};
use super::known::{Known, Role};
use super::nearest::{Likeness, cut, nearest};
use super::recorded::Recorded;
use super::statement::{call, update, user};

/// What is wrong with a sign-in of a local role that is meant to be one.
const PASSWORD: &str = "If a password was sent, it was wrong, or the role has none, or it is stored as an MD5 hash \
     (azure_roles_authtype() shows which), which an aadauth record does not accept: then set it again with \
     password_encryption = 'scram-sha-256'.";

/// A role that is not mapped, or that does not exist.
pub fn role(event: &Recorded, known: &Known) -> Compared {
    let found = known.role(&event.role);
    let own = known.role_of(event.object_id, event.app_id);
    if let Some(own) = own.filter(|own| *own != event.role) {
        return Compared::new(
            format!("role \"{own}\", which the token's principal is mapped to"),
            state(&event.role, found),
        )
        .remedy(format!("Connect with {}", user(own)));
    }
    let mut compared = unmapped(
        &event.role,
        found,
        event.object_id,
        event.principal.as_deref(),
        known,
    );
    let by_scram = event.method == "password";
    if let (Role::Local { .. }, true, Some(got)) = (found, by_scram, &mut compared.got) {
        got.push_str(": the client was asked for a password by SCRAM");
    }
    compared
}

/// What there is to say of a name as which nobody can sign in with a token; nothing if somebody can.
pub fn name(name: &str, known: &Known) -> Option<(Reason, Compared)> {
    let found = known.role(name);
    let reason = match found {
        Role::Mapped(_) => return None,
        Role::Damaged => Reason::LabelInvalid,
        Role::Missing | Role::Local { .. } => Reason::RoleNotMapped,
    };
    Some((reason, unmapped(name, found, None, None, known)))
}

/// What there is to say of an object id that no role is mapped to.
pub fn object_id(id: Uuid) -> (Reason, Compared) {
    let compared = Compared::new("a role that is mapped to it", "no such role").remedy(call(
        "pgaadauth_create_principal_with_oid",
        "<name>",
        &id.to_string(),
        PrincipalKind::User,
        None,
    ));
    (Reason::RoleNotMapped, compared)
}

fn state(name: &str, role: Role<'_>) -> String {
    match role {
        Role::Missing => format!("the role \"{name}\" does not exist"),
        Role::Local { .. } => format!("the role \"{name}\" exists and is not mapped"),
        Role::Damaged => format!("the role \"{name}\" has invalid labels"),
        Role::Mapped(mapping) => format!(
            "the role \"{name}\" is now mapped to {} {}",
            mapping.kind, mapping.object_id
        ),
    }
}

fn unmapped(
    name: &str,
    found: Role<'_>,
    object_id: Option<Uuid>,
    principal: Option<&str>,
    known: &Known,
) -> Compared {
    let expected = "a role that is mapped";
    let got = state(name, found);
    let kind = principal.and_then(kind_of).unwrap_or(PrincipalKind::User);
    let id = object_id.map_or_else(|| "<object id>".to_owned(), |id| id.to_string());
    let sound = known.mapped.iter().filter(|(_, mapping)| mapping.is_some());
    let suggested = nearest(name, sound.map(|(name, _)| name.as_str()));
    let suggest = |(own, likeness): (&str, Likeness)| {
        let why = match likeness {
            Likeness::Case => "Upper and lower case matter in names of roles",
            Likeness::Guest => "The name of a guest has another form here than in the home tenant",
            Likeness::Spelling => "The most similar name that is mapped is another",
        };
        format!("{why}: connect with {}", user(own))
    };
    let remedy = match found {
        Role::Missing => suggested.map_or_else(
            || {
                format!(
                    "Connect as a role that is mapped (SELECT * FROM pgaadauth_list_principals(false)), or create this one:\n{}",
                    call("pgaadauth_create_principal_with_oid", name, &id, kind, None)
                )
            },
            suggest,
        ),
        Role::Local { is_superuser: true } => {
            format!("It is a superuser's: do not map it. {PASSWORD}")
        }
        Role::Local { is_superuser: false } => {
            let suggested = suggested.map(|suggested| format!("{}\n", suggest(suggested)));
            format!(
                "{}If a token is to be accepted for it, map it:\n{}\n{PASSWORD}",
                suggested.unwrap_or_default(),
                update(name, &id, kind, None)
            )
        }
        Role::Damaged => update(name, &id, kind, None),
        Role::Mapped(_) => "Try again: the role has been mapped since.".to_owned(),
    };
    let cut = cut(name);
    let is_long = cut.len() < name.len();
    let got = if is_long {
        format!(
            "{got}; names are cut to 63 bytes, and this one has {}: \"{cut}\"",
            name.len()
        )
    } else {
        got
    };
    let compared = Compared::new(expected, got);
    if is_long && matches!(known.role(cut), Role::Mapped(_)) {
        return compared.remedy(format!("Connect with {}", user(cut)));
    }
    compared.remedy(remedy)
}
