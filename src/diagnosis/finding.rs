//! The kinds of findings, their severity and their meaning.

/// How serious a finding is, most serious first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Valid sign-ins are refused, or events that should be recorded are not.
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
            "shared_preload_libraries names the library by a path, so the background workers cannot find it."
        SettingRefused "setting-refused"
            "A configuration file has an aadauth setting that the server does not accept."
        TenantNotSet "tenant-not-set"
            "No tenant is configured."
        AudienceNotSet "audience-not-set"
            "No audience is configured."
        AudienceOfAnotherCloud "audience-of-another-cloud"
            "An audience is Azure's database resource of another cloud."
        AuthorityHostOfMicrosoft "authority-host-of-microsoft"
            "aadauth.authority_host names a Microsoft host, so the server expects another issuer than tokens of version 1 have."
        CaFileUnusable "ca-file-unusable"
            "The certificates of aadauth.ca_file cannot be used."
        HbaLineMissing "hba-line-missing"
            "pg_hba.conf has no aadauth record."
        HbaLineInvalid "hba-line-invalid"
            "A record of pg_hba.conf is invalid, so the server keeps the old records or does not start."
        HbaLineBefore "hba-line-before"
            "A record of pg_hba.conf matches mapped roles before the aadauth record."
        HbaFileNotInForce "hba-file-not-in-force"
            "aadauth.hba_file is set, but another HBA file is in force, on whose trust records everyone is refused."
        OauthValidatorNotAllowed "oauth-validator-not-allowed"
            "A record of pg_hba.conf names this library as its validator, but oauth_validator_libraries does not."
        OauthWithoutDelegation "oauth-without-delegation"
            "A record of pg_hba.conf with this library as its validator lacks delegate_ident_mapping=1."
        OauthIssuerNotServed "oauth-issuer-not-served"
            "A record of pg_hba.conf sends clients to an issuer whose tokens this server does not accept."
        OauthOfAnotherValidator "oauth-of-another-validator"
            "A record of pg_hba.conf passes the tokens of mapped roles to another validator."
        TlsOff "tls-off"
            "pg_hba.conf has records for TLS, but TLS is off."
        PamServiceOfAnotherVersion "pam-service-of-another-version"
            "A record of pg_hba.conf names the PAM service of another major version of PostgreSQL."
        PamFileMissing "pam-file-missing"
            "The PAM service file cannot be read."
        PamFileOfAnotherLibrary "pam-file-of-another-library"
            "The PAM service file does not name this library for both auth and account."
        NetworkWorkerNotRunning "network-worker-not-running"
            "The background worker that fetches signing keys is not running."
        SigningKeysMissing "signing-keys-missing"
            "There are no signing keys."
        SigningKeysTooOld "signing-keys-too-old"
            "The signing keys are older than aadauth.signing_key_max_age and are not used."
        ClockOff "clock-off"
            "The machine's clock differs from the authority's by more than aadauth.clock_skew."
        DirectoryIncomplete "directory-incomplete"
            "aadauth.credential is set, but a setting that it requires is not."
        DirectoryCredentialUnusable "directory-credential-unusable"
            "The credential file cannot be read, can be read by others, or has invalid content."
        DirectoryCredentialRefused "directory-credential-refused"
            "Entra refuses the credential that the server uses for the directory."
        DirectoryPermissionMissing "directory-permission-missing"
            "The server's identity lacks a permission for Microsoft Graph."
        DirectoryNotAnswering "directory-not-answering"
            "The directory is configured, but does not answer."
        AuditDatabaseMissing "audit-database-missing"
            "The database for the audit does not exist."
        AuditDatabaseOwner "audit-database-owner"
            "The database for the audit, or a part of the audit, is not owned by a superuser."
        AuditExtensionMissing "audit-extension-missing"
            "The database for the audit lacks the extension or its tables."
        AuditWorkerNotRunning "audit-worker-not-running"
            "The background worker that records sign-ins is not running."
        AuditNotRecorded "audit-not-recorded"
            "The background worker cannot record sign-ins."
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
            "azure_pg_admin or aadauth_auditor is missing, or is not a NOLOGIN role without attributes."
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
        HbaRoleWithoutLine "hba-role-without-line"
            "No aadauth record of pg_hba.conf matches a mapped role."
        HbaLineOpenWithoutLibrary "hba-line-open-without-library"
            "A record of the server's own pg_hba.conf lets roles in without a token if the library is not loaded."
        OwnHbaFileUnusable "own-hba-file-unusable"
            "The server's own pg_hba.conf cannot be read or is invalid, so the server does not start if the library is not loaded."
        HookDisplaced "hook-displaced"
            "Another library has replaced this library's authentication hook."
        PamFileWithOtherModules "pam-file-with-other-modules"
            "The PAM service file also names other modules."
        PamOtherAccepts "pam-other-accepts"
            "/etc/pam.d/other, which libpam uses if a service file is missing, accepts everyone."
        SigningKeysOld "signing-keys-old"
            "The signing keys have not been renewed for more than a day."
        SigningKeysNotRenewed "signing-keys-not-renewed"
            "The last attempt to renew the signing keys failed."
        AuditSpoolFilling "audit-spool-filling"
            "The audit's spool uses more than a quarter of aadauth.audit_spool_limit."
        GroupNamesInTokens "group-names-in-tokens"
            "Tokens of the last day had group names instead of object ids in the groups claim."
        GroupSyncWithoutDirectory "group-sync-without-directory"
            "pgaadauth.enable_group_sync is on, but no directory is configured."
        RevocationsNotRenewed "revocations-not-renewed"
            "The list of revoked principals is not kept up to date."
        RoleWithSuperuser "role-with-superuser"
            "A mapped role has SUPERUSER."
    }
    Notice {
        RestartPending "restart-pending"
            "An aadauth setting takes effect only when the server is restarted."
        MfaUnprovable "mfa-unprovable"
            "Roles require multi-factor authentication, which tokens of version 2 cannot prove, and every audience is an application id, as tokens of version 2 have."
        RoleCannotSignIn "role-cannot-sign-in"
            "A mapped role is NOLOGIN, or its VALID UNTIL has passed."
        RoleWithoutAdministrator "role-without-administrator"
            "Entra admins cannot administer a mapped role, unlike roles that the functions map on PostgreSQL 16 and later."
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
