//! What can be found wrong.

/// How bad a finding is; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Somebody who should get in doesn't, or something that should be recorded isn't.
    Error,
    /// It works, and not as safely or as lastingly as it should.
    Warning,
    /// Perhaps as it is meant.
    Notice,
}

impl Severity {
    pub const fn name(self) -> &'static str {
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
        /// What kind of mistake a finding is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $($(#[doc = $meaning] $name,)+)+
        }

        impl Code {
            /// The stable code, in kebab-case.
            pub const fn text(self) -> &'static str {
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
            "shared_preload_libraries names the library by a path, so that the background workers can't find it."
        SettingRefused "setting-refused"
            "A configuration file has a setting of aadauth that the server refuses."
        TenantNotSet "tenant-not-set"
            "No tenant is configured."
        AudienceNotSet "audience-not-set"
            "No audience is configured."
        AudienceOfAnotherCloud "audience-of-another-cloud"
            "An audience is Azure's database resource of another cloud."
        AuthorityHostOfMicrosoft "authority-host-of-microsoft"
            "aadauth.authority_host names Microsoft, which makes the server expect another issuer than tokens of version 1 name."
        CaFileUnusable "ca-file-unusable"
            "The certificates of aadauth.ca_file can't be used."
        HbaLineMissing "hba-line-missing"
            "No line of pg_hba.conf asks this library."
        HbaLineInvalid "hba-line-invalid"
            "A line of pg_hba.conf can't be read, so that the server keeps the old lines or does not start."
        HbaLineBefore "hba-line-before"
            "A line of pg_hba.conf takes mapped roles before the line that asks for their token."
        HbaFileNotInForce "hba-file-not-in-force"
            "aadauth.hba_file is set, and the lines in force are those of another file, whose trust lines refuse everybody."
        OauthValidatorNotAllowed "oauth-validator-not-allowed"
            "A line of pg_hba.conf names this library as its validator, and oauth_validator_libraries does not."
        OauthWithoutDelegation "oauth-without-delegation"
            "A line of pg_hba.conf with this library as its validator lacks delegate_ident_mapping=1."
        OauthIssuerNotServed "oauth-issuer-not-served"
            "A line of pg_hba.conf sends clients to an issuer whose tokens this server does not accept."
        OauthOfAnotherValidator "oauth-of-another-validator"
            "A line of pg_hba.conf hands the tokens of mapped roles to another validator."
        TlsOff "tls-off"
            "Lines of pg_hba.conf are for TLS, and the server has it switched off."
        PamServiceOfAnotherVersion "pam-service-of-another-version"
            "A line of pg_hba.conf names the PAM service of another major version of PostgreSQL."
        PamFileMissing "pam-file-missing"
            "The PAM service file can't be read."
        PamFileOfAnotherLibrary "pam-file-of-another-library"
            "The PAM service file does not name this library for both auth and account."
        NetworkWorkerNotRunning "network-worker-not-running"
            "The background worker that fetches signing keys is not running."
        SigningKeysMissing "signing-keys-missing"
            "There are no signing keys."
        SigningKeysTooOld "signing-keys-too-old"
            "The signing keys are older than aadauth.signing_key_max_age and serve no more."
        ClockOff "clock-off"
            "The machine's clock differs from the authority's by more than aadauth.clock_skew."
        DirectoryIncomplete "directory-incomplete"
            "aadauth.credential is set, and a setting that it takes is not."
        DirectoryCredentialUnusable "directory-credential-unusable"
            "The file of the credential can't be read, can be read by others, or does not hold what it should."
        DirectoryCredentialRefused "directory-credential-refused"
            "Entra refuses the credential that the server asks the directory with."
        DirectoryPermissionMissing "directory-permission-missing"
            "The server's identity lacks a permission for Microsoft Graph."
        DirectoryNotAnswering "directory-not-answering"
            "The directory is configured and does not answer."
        AuditDatabaseMissing "audit-database-missing"
            "The database that is to hold the audit does not exist."
        AuditDatabaseOwner "audit-database-owner"
            "The database that is to hold the audit, or a part of the audit, is not owned by a superuser."
        AuditExtensionMissing "audit-extension-missing"
            "The database that is to hold the audit lacks the extension or its tables."
        AuditWorkerNotRunning "audit-worker-not-running"
            "The background worker that records sign-ins is not running."
        AuditNotRecorded "audit-not-recorded"
            "The background worker can't record sign-ins."
        AuditEventsNotWritten "audit-events-not-written"
            "Events of sign-ins can't be written to the spool, and are only counted."
        RevocationsNotLoaded "revocations-not-loaded"
            "The list of revoked principals has not been loaded, so that nobody signs in with a token."
        ExtensionVersion "extension-version"
            "The SQL objects in this database are of another version than the library."
        RoleLabelDamaged "role-label-damaged"
            "A mapped role has labels that can't be read or that disagree."
        RoleOfAnotherTenant "role-of-another-tenant"
            "A role is mapped to a principal of another tenant than the configured one."
        OwnRoleChanged "own-role-changed"
            "azure_pg_admin or aadauth_auditor is missing, or is not the plain group that it should be."
    }
    Warning {
        AuthorityNotMicrosoft "authority-not-microsoft"
            "Somebody else than Microsoft vouches for who signs in."
        AudienceShared "audience-shared"
            "The audience is Azure's own, so that tokens for this server can be used at every Azure database of the tenant, and the other way round."
        TokensWithoutTls "tokens-without-tls"
            "Tokens are accepted over connections that are not encrypted."
        HbaLineWithoutTls "hba-line-without-tls"
            "A line of pg_hba.conf that asks this library is for connections without TLS too."
        HbaRoleWithoutLine "hba-role-without-line"
            "No line of pg_hba.conf asks a mapped role for its token."
        HbaLineOpenWithoutLibrary "hba-line-open-without-library"
            "A line of the server's own pg_hba.conf lets roles in without a token on the day that the library is not loaded."
        OwnHbaFileUnusable "own-hba-file-unusable"
            "The server's own pg_hba.conf can't be read, so that the server does not start on the day that the library is not loaded."
        HookDisplaced "hook-displaced"
            "Another library has put its authentication hook in the place of this library's."
        PamFileWithOtherModules "pam-file-with-other-modules"
            "The PAM service file names other modules beside this library."
        PamOtherAccepts "pam-other-accepts"
            "/etc/pam.d/other lets anybody in, whom libpam asks when a service file is missing."
        SigningKeysOld "signing-keys-old"
            "The signing keys have not been renewed for more than a day."
        SigningKeysNotRenewed "signing-keys-not-renewed"
            "The last attempt to renew the signing keys failed."
        AuditSpoolFilling "audit-spool-filling"
            "The audit's spool has more than a quarter of what aadauth.audit_spool_limit allows."
        GroupNamesInTokens "group-names-in-tokens"
            "Tokens of the last day had names in the groups claim, where object ids are looked for."
        GroupSyncWithoutDirectory "group-sync-without-directory"
            "pgaadauth.enable_group_sync is on, and no directory is configured."
        RevocationsNotRenewed "revocations-not-renewed"
            "The list of revoked principals is not kept up to date."
        RoleWithSuperuser "role-with-superuser"
            "A mapped role has SUPERUSER."
    }
    Notice {
        RestartPending "restart-pending"
            "A setting of aadauth takes effect at the next start of the server."
        MfaUnprovable "mfa-unprovable"
            "Roles demand multi-factor authentication, which tokens of version 2 can't prove, and every audience is of the form that those have."
        RoleCannotSignIn "role-cannot-sign-in"
            "A mapped role is NOLOGIN, or its VALID UNTIL has passed."
        RoleWithoutAdministrator "role-without-administrator"
            "Entra admins can't administer a mapped role, as they can those that the functions map since PostgreSQL 16."
        RoleWithPassword "role-with-password"
            "A mapped role has a password, which counts again on the day that the role is no longer mapped or the library no longer loaded."
    }
}

/// One mistake, and what mends it. The texts are sentences.
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

/// Names for a sentence: in quotes, and no more of them than can be read.
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
