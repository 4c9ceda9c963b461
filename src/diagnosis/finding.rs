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
            "shared_preload_libraries names the library by a path, by which the background workers may not find it."
        SettingRefused "setting-refused"
            "A configuration file has an aadauth setting that the server does not accept."
        TenantNotSet "tenant-not-set"
            "No tenant is configured."
        AudienceNotSet "audience-not-set"
            "No audience is configured."
        HbaLineMissing "hba-line-missing"
            "pg_hba.conf has no aadauth record."
        HbaLineInvalid "hba-line-invalid"
            "PostgreSQL reports an error for a record of pg_hba.conf, or the server's own pg_hba.conf cannot be read."
        HbaLineBefore "hba-line-before"
            "A record of pg_hba.conf for mapped roles precedes the aadauth record."
        HbaRoleWithoutLine "hba-role-without-line"
            "No aadauth record of pg_hba.conf is for a mapped role."
        HookDisplaced "hook-displaced"
            "Another library has replaced this library's authentication hook, or the file that aadauth.hba_file names."
        OauthWithoutDelegation "oauth-without-delegation"
            "A record of pg_hba.conf with this library as its validator lacks delegate_ident_mapping=1."
        PamFileMissing "pam-file-missing"
            "The PAM service file cannot be read."
        PamFileOfAnotherLibrary "pam-file-of-another-library"
            "The PAM service file does not consist of the two lines that name this library."
        NetworkWorkerNotRunning "network-worker-not-running"
            "The background worker that fetches signing keys is not running."
        SigningKeysMissing "signing-keys-missing"
            "There are no signing keys, or they are older than aadauth.signing_key_max_age and are not used."
        ClockOff "clock-off"
            "The machine's clock differs from the authority's by more than aadauth.clock_skew."
        DirectoryIncomplete "directory-incomplete"
            "aadauth.credential or pgaadauth.enable_group_sync is set, but a setting that it requires is not."
        DirectoryCredentialUnusable "directory-credential-unusable"
            "The credential file cannot be read, can be read by others, or has invalid content, or Entra refuses the credential."
        DirectoryNotAnswering "directory-not-answering"
            "The directory is configured, but does not answer, or refuses for lack of a permission."
        AuditDatabaseMissing "audit-database-missing"
            "The database for the audit does not exist."
        AuditDatabaseOwner "audit-database-owner"
            "The database for the audit, or a part of the audit, is not owned by a superuser."
        AuditExtensionMissing "audit-extension-missing"
            "The database for the audit lacks the extension or its tables."
        AuditNotRecorded "audit-not-recorded"
            "The background worker that records sign-ins is not running, or cannot record them."
        AuditEventsNotWritten "audit-events-not-written"
            "Events of sign-ins cannot be written to the spool, and are only counted."
        RevocationsNotLoaded "revocations-not-loaded"
            "The list of revoked principals has not been loaded, so sign-ins with a token are refused."
        ExtensionVersion "extension-version"
            "The SQL objects in this database are of another version than the library."
        RoleLabelDamaged "role-label-damaged"
            "A mapped role has labels that are invalid or contradict each other."
        RoleOfAnotherTenant "role-of-another-tenant"
            "A role is mapped to a principal of another tenant than the configured one."
        OwnRoleChanged "own-role-changed"
            "azure_pg_admin, aadauth_auditor or aadauth_pooler is missing, or is not a NOLOGIN role without attributes."
    }
    Warning {
        AuthorityNotMicrosoft "authority-not-microsoft"
            "aadauth.authority_host names a host that is not Microsoft's, and that host decides who can sign in."
        AudienceShared "audience-shared"
            "The audience is Azure's own, so tokens for this server are valid at every Azure database of the tenant, and vice versa."
        TokensWithoutTls "tokens-without-tls"
            "Tokens are accepted over unencrypted connections."
        HbaLineWithoutTls "hba-line-without-tls"
            "An aadauth record of pg_hba.conf also matches connections without TLS."
        HbaLineOpenWithoutLibrary "hba-line-open-without-library"
            "A record of the server's own pg_hba.conf lets roles in without a token if the library is not loaded."
        PamOtherAccepts "pam-other-accepts"
            "/etc/pam.d/other, which libpam uses if a service file is missing, names pam_permit before a pam_deny that refuses, and so accepts clients without a password."
        SigningKeysNotRenewed "signing-keys-not-renewed"
            "The last attempt to renew the signing keys failed, or they have not been renewed for more than a day."
        RevocationsNotRenewed "revocations-not-renewed"
            "The list of revoked principals is not kept up to date."
        AuditorsWithoutAccess "auditors-without-access"
            "The role aadauth_auditor lacks a privilege or a policy that CREATE EXTENSION gave to it."
        PoolerWithoutAuthority "pooler-without-authority"
            "A pooler is named by its certificate, but the server asks for no client certificates."
        PoolerNameNotUnique "pooler-name-not-unique"
            "A pooler is named by its certificate, and more than one authority can issue one with that name."
        PoolerOfOwnUser "pooler-of-own-user"
            "A pooler is named by the operating system's user that the server itself runs as."
        PoolerUnknown "pooler-unknown"
            "aadauth.poolers names a role that is not a member of aadauth_pooler."
        FileChangeable "file-changeable"
            "A file that sign-ins depend on, or a directory above it, can be changed by accounts other than root and the server's."
        LocalRoleWithoutScram "local-role-without-scram"
            "Local roles that have no SCRAM password meet an aadauth record first, which refuses them."
        RoleWithSuperuser "role-with-superuser"
            "A mapped role has SUPERUSER."
        RoleReachesPrivileges "role-reaches-privileges"
            "A role without SUPERUSER is a member of another that is privileged, or could become an administrator or auditor."
    }
    Notice {
        AuditDatabaseShared "audit-database-shared"
            "The database for the audit is used for other things, too."
        DatabaseReachesPrivileges "database-reaches-privileges"
            "In this database, roles without SUPERUSER can run something with a superuser's privileges, everybody can reach the server's files, or the owner is not a superuser."
        PoolerSilent "pooler-silent"
            "A pooler that aadauth.poolers names is not connected."
        PoolerOfAnotherVersion "pooler-of-another-version"
            "The module of a pooler is of another version than the library."
        RevocationsRecovered "revocations-recovered"
            "The server was promoted, or recovered from a backup, within the last week, and may lack the revocations since."
        RoleWithoutAdministrator "role-without-administrator"
            "Entra admins cannot administer a mapped role, unlike roles that are mapped on PostgreSQL 16 and later."
        RoleWithPassword "role-with-password"
            "A mapped role has a password, which becomes valid if the role is no longer mapped or the library is not loaded."
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
