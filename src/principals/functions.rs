//! Azure's SQL functions. They live in `pg_catalog`, where they are found from any `search_path`.
//!
//! PUBLIC may execute them, and each checks whether this session may map roles: EXECUTE can only be
//! granted to a role, and a role is not enough ([`admin::may_map`]). They are SECURITY INVOKER, so
//! PostgreSQL checks the caller's privileges for each statement: CREATE ROLE, and SECURITY LABEL, which does the rest
//! ([`super::appointment`]).
//!
//! The directory lookup comes first, before any lock that others might wait for.
//!
//! Each call is one statement, so a failure leaves nothing behind.

use entra_token::{Mapping, PrincipalKind, PublicLabel, guid};
use pgrx::iter::TableIterator;
use pgrx::prelude::*;
use pgrx::spi::{quote_identifier, quote_literal};
use uuid::Uuid;

use super::error::PrincipalError;
use super::{admin, lookup, statement};
use crate::pg::label;
use crate::pg::log::{self, Level};
use crate::pg::name::Name;
use crate::pg::text::{self, SqlText};
use crate::pg::{privileges, server};
use crate::text::escapes;

#[pg_schema]
mod pg_catalog {
    use super::*;

    /// Creates a role for the principal that has the role's name in the directory.
    #[pg_extern]
    #[search_path(pg_catalog, pg_temp)]
    fn pgaadauth_create_principal(
        rolename: Option<SqlText>,
        isadmin: Option<bool>,
        ismfa: Option<bool>,
    ) -> SqlText {
        create_by_name(rolename, isadmin, ismfa)
            .unwrap_or_else(|error| error.raise())
            .into()
    }

    /// Creates a role for the principal with this object id.
    #[pg_extern]
    #[search_path(pg_catalog, pg_temp)]
    fn pgaadauth_create_principal_with_oid(
        rolename: Option<SqlText>,
        objectid: Option<SqlText>,
        objecttype: Option<SqlText>,
        isadmin: Option<bool>,
        ismfa: Option<bool>,
    ) -> SqlText {
        let call = || {
            ensure_may_change("pgaadauth_create_principal_with_oid")?;
            let request = Request::read(rolename, objectid, objecttype, isadmin, ismfa)?;
            request.name.ensure_free(|name| request.update(name))?;
            create(&request.name, &request.find()?)
        };
        call().unwrap_or_else(|error| error.raise()).into()
    }

    /// Maps an existing role to the principal with this object id; its grants and what it owns remain.
    #[pg_extern]
    #[search_path(pg_catalog, pg_temp)]
    fn pgaadauth_update_principal_with_oid(
        rolename: Option<SqlText>,
        objectid: Option<SqlText>,
        objecttype: Option<SqlText>,
        isadmin: Option<bool>,
        ismfa: Option<bool>,
    ) -> SqlText {
        let call = || {
            ensure_may_change("pgaadauth_update_principal_with_oid")?;
            let request = Request::read(rolename, objectid, objecttype, isadmin, ismfa)?;
            let role = request.name.role()?;
            let found = request.find()?;
            update(&request.name.of(role)?, &found)
        };
        call().unwrap_or_else(|error| error.raise()).into()
    }

    /// The mapped roles: those of admins, or with `false` all of them.
    ///
    /// It shows nothing that `pg_seclabels` does not show to everybody.
    #[pg_extern]
    #[search_path(pg_catalog, pg_temp)]
    fn pgaadauth_list_principals(
        isadminvalue: bool,
    ) -> TableIterator<
        'static,
        (
            name!(rolname, Name),
            name!(principaltype, SqlText),
            name!(objectid, SqlText),
            name!(tenantid, SqlText),
            name!(ismfa, i32),
            name!(isadmin, i32),
        ),
    > {
        let rows = mapped_roles()
            .into_iter()
            .filter(move |(_, mapping)| mapping.admin || !isadminvalue);
        TableIterator::new(rows.map(
            |(
                name,
                Mapping {
                    kind,
                    object_id,
                    tenant,
                    admin,
                    mfa,
                },
            )| {
                (
                    Name(name),
                    kind.to_string().into(),
                    object_id.to_string().into(),
                    tenant.to_string().into(),
                    mfa.into(),
                    admin.into(),
                )
            },
        ))
    }
}

/// The validated arguments of a call.
struct Request {
    name: RoleName,
    kind: PrincipalKind,
    object_id: Uuid,
    admin: bool,
    mfa: bool,
}

impl Request {
    fn read(
        name: Option<SqlText>,
        object_id: Option<SqlText>,
        object_type: Option<SqlText>,
        admin: Option<bool>,
        mfa: Option<bool>,
    ) -> Result<Self, PrincipalError> {
        // Scripts for Azure have it in letters of either case; labels are stored as they are typed, and compared.
        let object_type = given("objecttype", object_type)?.0;
        let kind = object_type.to_ascii_lowercase().parse();
        Ok(Request {
            name: RoleName::read(&given("rolename", name)?.0)?,
            object_id: guid::parse(&given("objectid", object_id)?.0)
                .ok_or(PrincipalError::ObjectId)?,
            kind: kind.map_err(|_| PrincipalError::ObjectType(object_type))?,
            admin: given("isadmin", admin)?,
            mfa: given("ismfa", mfa)?,
        })
    }

    /// The call that gives an existing role of that name to the principal.
    fn update(&self, name: &str) -> String {
        let Request {
            kind,
            object_id,
            admin,
            mfa,
            ..
        } = self;
        let name = quote_literal(name);
        format!(
            "SELECT pgaadauth_update_principal_with_oid({name}, '{object_id}', '{kind}', {admin}, {mfa})"
        )
    }

    /// Looks the principal up in the directory, if one is configured.
    fn find(&self) -> Result<Labels, PrincipalError> {
        let Request {
            kind,
            object_id,
            admin,
            mfa,
            ..
        } = *self;
        Ok(Labels {
            found: lookup::by_object_id(kind, object_id, admin)?,
            public: PublicLabel::Principal {
                kind,
                object_id,
                admin,
                mfa,
            },
        })
    }
}

/// The labels for a principal that was looked up before anything is locked.
struct Labels {
    public: PublicLabel,
    found: lookup::Found,
}

/// A name that PostgreSQL does not truncate.
pub(super) struct RoleName(String);

impl RoleName {
    /// PostgreSQL truncates longer names (scansup.c, truncate_identifier), and two truncated names could
    /// be the same.
    const LONGEST: usize = pg_sys::NAMEDATALEN as usize - 1;

    pub(super) fn read(name: &str) -> Result<Self, PrincipalError> {
        if name.trim().is_empty() {
            return Err(PrincipalError::EmptyName);
        }
        let in_database = text::exact(name)
            .filter(|_| !name.contains(escapes::is_raw))
            .ok_or_else(|| PrincipalError::NotInEncoding(name.to_owned()))?;
        match in_database.as_bytes().len() {
            1..=Self::LONGEST => Ok(RoleName(name.to_owned())),
            length => Err(PrincipalError::NameTooLong(length)),
        }
    }

    /// As CREATE ROLE would check, but before the directory lookup. `statement` gives a role of that name to the principal.
    fn ensure_free(&self, statement: impl FnOnce(&str) -> String) -> Result<(), PrincipalError> {
        if self.role().is_err() {
            return Ok(());
        }
        Err(PrincipalError::RoleExists {
            role: self.0.clone(),
            statement: statement(&self.0),
        })
    }

    /// The name of the role that had this name before, which it now keeps until the transaction ends.
    fn of(self, role: pg_sys::Oid) -> Result<RoleName, PrincipalError> {
        match privileges::pin(role)? {
            Some(name) => Ok(RoleName(name)),
            None => Err(PrincipalError::NoSuchRole(self.0)),
        }
    }

    pub(super) fn quoted(&self) -> String {
        quote_identifier(&self.0)
    }

    pub(super) fn role(&self) -> Result<pg_sys::Oid, PrincipalError> {
        privileges::role_named(&self.0).ok_or_else(|| PrincipalError::NoSuchRole(self.0.clone()))
    }
}

fn given<T>(argument: &'static str, value: Option<T>) -> Result<T, PrincipalError> {
    value.ok_or(PrincipalError::NullArgument(argument))
}

/// Refuses a session that may not map roles, with Azure's text.
pub fn ensure_may_map(function: &'static str) -> Result<(), PrincipalError> {
    if admin::may_map() {
        Ok(())
    } else {
        Err(PrincipalError::FunctionDenied {
            function,
            denied: admin::denied(),
        })
    }
}

/// [`ensure_may_map`], on a server where something can be changed.
pub fn ensure_may_change(function: &'static str) -> Result<(), PrincipalError> {
    ensure_may_map(function)?;
    if server::is_in_recovery() {
        return Err(PrincipalError::Standby(function));
    }
    Ok(())
}

fn create_by_name(
    name: Option<SqlText>,
    admin: Option<bool>,
    mfa: Option<bool>,
) -> Result<String, PrincipalError> {
    ensure_may_change("pgaadauth_create_principal")?;
    let name = RoleName::read(&given("rolename", name)?.0)?;
    let (admin, mfa) = (given("isadmin", admin)?, given("ismfa", mfa)?);
    // As on Azure, where this label shows how the role was created.
    let public = PublicLabel::ByName { admin, mfa };
    name.ensure_free(|name| label_statement(name, &public))?;
    let labels = Labels {
        found: lookup::by_name(&name.0, admin)?,
        public,
    };
    create(&name, &labels)
}

fn create(name: &RoleName, labels: &Labels) -> Result<String, PrincipalError> {
    if name.0.trim() != name.0 || name.0.contains(['"', '\'']) {
        log::line(
            Level::Warning,
            &format!(
                "role name {} contains quotation marks or begins or ends with a space",
                name.quoted()
            ),
            Some("The name is taken as it is, so that clients must give it in the same way."),
            None,
        );
    }
    statement::run(&format!("CREATE ROLE {} LOGIN", name.quoted()))?;
    map(name, labels)?;
    Ok(format!("Created role for \"{}\"", name.0))
}

fn update(name: &RoleName, labels: &Labels) -> Result<String, PrincipalError> {
    map(name, labels)?;
    Ok(format!("Updated role for \"{}\"", name.0))
}

/// Labels the role, without another directory lookup.
fn map(name: &RoleName, labels: &Labels) -> Result<(), PrincipalError> {
    let relabel = label_statement(&name.0, &labels.public);
    super::label::with_found(&labels.found, || statement::run(&relabel))
}

fn label_statement(name: &str, label: &PublicLabel) -> String {
    format!(
        "SECURITY LABEL FOR pgaadauth ON ROLE {} IS {}",
        quote_identifier(name),
        quote_literal(label.to_string())
    )
}

/// Name and mapping of every role with a valid mapping, ordered by name; a warning for each invalid one.
fn mapped_roles() -> Vec<(String, Mapping)> {
    let mut mapped = Vec::new();
    for (role, labels) in label::all() {
        let Some(name) = privileges::name_of(role) else {
            continue;
        };
        match labels.mapping() {
            Ok(Some(mapping)) => mapped.push((name, mapping)),
            Ok(None) => {}
            Err(reason) => log::line(
                Level::Warning,
                &format!(
                    "role \"{name}\" has invalid security labels: {}",
                    reason.code()
                ),
                None,
                Some("Nobody can sign in as this role. Set its label again or clear it."),
            ),
        }
    }
    mapped.sort_by(|(one, _), (other, _)| one.cmp(other));
    mapped
}
