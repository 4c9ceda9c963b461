//! The kinds of findings, their severity and their meaning.

/// How serious a finding is, most serious first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Valid sign-ins are refused, events that should be recorded are not, or another library interferes.
    Error,
    /// It works, but not as safely or reliably as it should.
    Warning,
    /// It may be intended.
    Notice,
}

impl Severity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Notice => "notice",
        }
    }
}

/// Declares [`Code`] from one table, which `docs/check-configuration.md` repeats.
macro_rules! codes {
    ($($severity:ident { $($name:ident $code:literal $meaning:literal)+ })+) => {
        /// The kind of a finding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $($(#[doc = $meaning] $name,)+)+
        }

        impl Code {
            /// The stable code, in kebab-case.
            pub const fn as_str(self) -> &'static str {
                match self { $($(Code::$name => $code,)+)+ }
            }

            pub const fn severity(self) -> Severity {
                match self { $($(Code::$name => Severity::$severity,)+)+ }
            }
        }
    };
}

codes! {
    Error {
        PreloadByPath "preload-by-path"
            "shared_preload_libraries names the library by a path: the background workers may not find it."
        SettingRefused "setting-refused"
            "The server does not accept an aadauth setting of a configuration file."
        TenantNotSet "tenant-not-set"
            "No tenant is configured."
        AudienceNotSet "audience-not-set"
            "No audience is configured."
        HbaLineMissing "hba-line-missing"
            "pg_hba.conf has no aadauth record."
        HbaLineInvalid "hba-line-invalid"
            "pg_hba.conf has an invalid record, or the server's own pg_hba.conf cannot be read."
        HbaLineBefore "hba-line-before"
            "A record for mapped roles precedes the aadauth record."
        HbaRoleWithoutLine "hba-role-without-line"
            "No aadauth record is for a mapped role."
        HookDisplaced "hook-displaced"
            "Another library has replaced this library's authentication hook or alternate HBA file."
        OauthWithoutDelegation "oauth-without-delegation"
            "A record with this library as its validator lacks delegate_ident_mapping=1."
        PamFileMissing "pam-file-missing"
            "The PAM service file cannot be read."
        PamFileOfAnotherLibrary "pam-file-of-another-library"
            "The PAM service file does not consist of the two lines that name this library."
        NetworkWorkerNotRunning "network-worker-not-running"
            "The worker that fetches signing keys is not running."
        SigningKeysMissing "signing-keys-missing"
            "There are no signing keys, or they are older than aadauth.signing_key_max_age."
        ClockOff "clock-off"
            "The server's clock differs from the authority's by more than aadauth.clock_skew."
        DirectoryIncomplete "directory-incomplete"
            "aadauth.credential or pgaadauth.enable_group_sync is set without a setting that it requires."
        DirectoryCredentialUnusable "directory-credential-unusable"
            "The credential file is unreadable, readable by others or invalid, or Entra refuses the credential."
        DirectoryNotAnswering "directory-not-answering"
            "The directory does not answer, or a permission is missing."
        AuditDatabaseMissing "audit-database-missing"
            "The audit's database does not exist."
        AuditDatabaseOwner "audit-database-owner"
            "The audit's database, or a part of the audit, is not owned by a superuser."
        AuditExtensionMissing "audit-extension-missing"
            "The audit's database lacks the extension or its tables."
        AuditNotRecorded "audit-not-recorded"
            "The worker that records sign-ins is not running, or cannot record them."
        AuditEventsNotWritten "audit-events-not-written"
            "Events cannot be written to the spool, and are only counted."
        RevocationsNotLoaded "revocations-not-loaded"
            "The list of revoked principals is not loaded, so tokens are refused."
        ExtensionVersion "extension-version"
            "The SQL objects in this database are of another version than the library."
        RoleLabelDamaged "role-label-damaged"
            "A mapped role's labels are invalid or contradict each other."
        RoleOfAnotherTenant "role-of-another-tenant"
            "A role is mapped to a principal of another tenant."
        OwnRoleChanged "own-role-changed"
            "azure_pg_admin, aadauth_auditor, aadauth_monitor or aadauth_pooler is missing or was changed."
    }
    Warning {
        AuthorityNotMicrosoft "authority-not-microsoft"
            "aadauth.authority_host, which decides who can sign in, is not Microsoft's."
        AudienceShared "audience-shared"
            "The audience is Azure's own: tokens for this server are valid at the tenant's Azure databases, and vice versa."
        TokensWithoutTls "tokens-without-tls"
            "Tokens are accepted over unencrypted connections."
        HbaLineWithoutTls "hba-line-without-tls"
            "An aadauth record also matches connections without TLS."
        HbaLineOpenWithoutLibrary "hba-line-open-without-library"
            "The server's own pg_hba.conf lets roles in without a token if the library is not loaded."
        PamOtherAccepts "pam-other-accepts"
            "/etc/pam.d/other, which decides if a service file is missing, accepts clients without a password."
        SigningKeysNotRenewed "signing-keys-not-renewed"
            "The signing keys could not be renewed, or are older than a day."
        RevocationsNotRenewed "revocations-not-renewed"
            "The list of revoked principals is not kept up to date."
        OwnRoleWithoutPrivileges "own-role-without-privileges"
            "azure_pg_admin, aadauth_auditor, aadauth_monitor or aadauth_pooler lacks what CREATE EXTENSION granted to it, as after DROP OWNED BY."
        PoolerWithoutAuthority "pooler-without-authority"
            "A pooler is named by its certificate, but the server asks for no client certificates."
        PoolerNameNotUnique "pooler-name-not-unique"
            "More than one authority can issue a certificate with a pooler's name."
        PoolerOfOwnUser "pooler-of-own-user"
            "A pooler is named by the operating system user that the server runs as."
        PoolerUnknown "pooler-unknown"
            "aadauth.poolers names a role that is not a member of aadauth_pooler."
        FileChangeable "file-changeable"
            "Accounts other than root and the server's can change a file that sign-ins depend on."
        LocalRoleWithoutScram "local-role-without-scram"
            "An aadauth record refuses local roles without a SCRAM password."
        RoleWithSuperuser "role-with-superuser"
            "A mapped role has SUPERUSER."
        RoleReachesPrivileges "role-reaches-privileges"
            "A role without SUPERUSER is a member of a privileged one, or could become Entra admin or auditor."
    }
    Notice {
        AuditDatabaseShared "audit-database-shared"
            "The audit's database is used for other things, too."
        AdminWithoutRights "admin-without-rights"
            "An Entra admin lacks CREATEROLE, CREATEDB or the membership in azure_pg_admin that the label gave."
        GroupWithoutDirectory "group-without-directory"
            "A role is mapped to a group, and no directory is configured that could say who is a member."
        DatabaseReachesPrivileges "database-reaches-privileges"
            "In this database, others can run something as a superuser or reach the server's files, or the owner is not a superuser."
        PoolerSilent "pooler-silent"
            "A pooler that aadauth.poolers names is not connected."
        PoolerOfAnotherVersion "pooler-of-another-version"
            "A pooler's module is of another version than the library."
        RevocationsRecovered "revocations-recovered"
            "The server was promoted, or recovered from a backup, in the last week, and may lack later revocations."
        RoleWithoutAdministrator "role-without-administrator"
            "Entra admins cannot administer a mapped role, as after an upgrade from PostgreSQL 15."
        RoleWithPassword "role-with-password"
            "A mapped role has a password, which is valid without the mapping or the library."
    }
}

/// One problem and its remedy. The texts are complete sentences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub code: Code,
    /// The file and line, the setting, the role.
    pub place: String,
    pub problem: String,
    pub remedy: String,
}

impl Finding {
    pub fn new(
        code: Code,
        place: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding {
            code,
            place: place.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// Names for a sentence: in quotes, and at most five of them.
pub fn list(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("\"{name}\""))
        .collect();
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(list(&["a"]), "\"a\"");
        let all = ["a", "b", "c", "d", "e", "f", "g"];
        assert_eq!(list(&all), "\"a\", \"b\", \"c\", \"d\", \"e\" and 2 more");
    }
}
