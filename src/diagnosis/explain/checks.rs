//! The checks of a sign-in, in order, and the reasons with which each fails.

use entra_token::Reason;

/// One check, and the reasons that mean it failed.
///
/// Checks after the signature have no reasons here: the event records the outcome of each by its name.
pub struct Check {
    pub name: &'static str,
    pub reasons: &'static [Reason],
}

const fn check(name: &'static str, reasons: &'static [Reason]) -> Check {
    Check { name, reasons }
}

/// The checks of a sign-in with that method (`aadauth.sign_in_audit.method`) and that reason.
pub fn expected(method: &str, reason: Option<Reason>) -> &'static [Check] {
    match (method, reason) {
        // A mapped role that was refused for its record, whatever the record's method.
        ("entra-token", _) | (_, Some(Reason::WrongLine)) => TOKEN,
        ("password", _) => PASSWORD,
        ("pam", _) => PAM_RECORD,
        (_, Some(Reason::HbaFileNotInForce)) => TRUST_RECORD,
        // With another validator, PostgreSQL's method refuses.
        ("oauth", Some(Reason::TokenDiscovery | Reason::TokenMalformed | Reason::NoVerdict)) => {
            OAUTH_RECORD
        }
        _ => OTHER_RECORD,
    }
}

/// A mapped role.
const TOKEN: &[Check] = &[
    check("pg_hba.conf line", &[Reason::WrongLine]),
    check("tokens allowed", &[Reason::EntraDisabled]),
    check("tenant configured", &[Reason::TenantNotConfigured]),
    check("audience configured", &[Reason::AudienceNotConfigured]),
    check(
        "labels of the role",
        &[
            Reason::LabelInvalid,
            Reason::LabelConflict,
            Reason::RoleNotMapped,
        ],
    ),
    check("role may log in", &[Reason::RoleNotLogin]),
    check("role has not expired", &[Reason::RoleExpired]),
    check("connection is safe", &[Reason::TlsRequired]),
    check("revocations loaded", &[Reason::RevocationsUnavailable]),
    check("client sent a token", &[Reason::NoPassword]),
    check("token size", &[Reason::TokenTooLarge]),
    check("token form", &[Reason::TokenMalformed]),
    check("token header", &[Reason::HeaderInvalid]),
    check("algorithm", &[Reason::AlgorithmNotAllowed]),
    check("token type", &[Reason::TypeNotAllowed]),
    check("header extensions", &[Reason::HeaderExtensionNotAllowed]),
    check("claims readable", &[Reason::ClaimsMalformed]),
    check("issuer accepted", &[Reason::IssuerNotServed]),
    check(
        "signing key",
        &[
            Reason::SigningKeysUnavailable,
            Reason::WorkerNotRunning,
            Reason::KeyUnknown,
            Reason::KeyRefreshCoolingDown,
            Reason::KeyRefreshTimedOut,
        ],
    ),
    check("signature", &[Reason::SignatureInvalid]),
    // The following names are those of entra_token::judge.
    check("issuer", &[]),
    check("version", &[]),
    check("tenant", &[]),
    check("tenant of the role", &[]),
    check("audience", &[]),
    check("times present", &[]),
    check("not expired", &[]),
    check("already valid", &[]),
    check("issued in the past", &[]),
    check("lifetime", &[]),
    check("token kind", &[]),
    check("client id", &[]),
    check("type matches role", &[]),
    check("object id", &[]),
    check("principal", &[]),
    check("multi-factor", &[]),
    check("not revoked", &[]),
    check(
        "final check",
        &[
            Reason::MappingChanged,
            Reason::MethodRefused,
            Reason::NoVerdict,
            Reason::AuditUnavailable,
        ],
    ),
];

/// A local role on an aadauth record.
const PASSWORD: &[Check] = &[
    check("passwords allowed", &[Reason::PasswordDisabled]),
    check("client answered", &[Reason::NoPassword]),
    check("password", &[Reason::PasswordFailed]),
    check(
        "final check",
        &[
            Reason::MappingChanged,
            Reason::NoVerdict,
            Reason::AuditUnavailable,
        ],
    ),
];

/// A local role on a record of another PAM service, and any role on an aadauth record if the library was not called.
const PAM_RECORD: &[Check] = &[
    check("PAM service file", &[Reason::NoVerdict]),
    check("passwords allowed", &[Reason::PasswordDisabled]),
    check("PAM", &[Reason::MethodRefused]),
];

/// Any role on a trust record, if it is unknown whether that is an aadauth record.
const TRUST_RECORD: &[Check] = &[check("HBA file in force", &[Reason::HbaFileNotInForce])];

/// Any role on an aadauth record with OAUTHBEARER, if no token was judged.
const OAUTH_RECORD: &[Check] = &[check(
    "client sent a token",
    &[
        Reason::TokenDiscovery,
        Reason::TokenMalformed,
        Reason::NoVerdict,
    ],
)];

/// A local role on any other record.
const OTHER_RECORD: &[Check] = &[
    check("passwords allowed", &[Reason::PasswordDisabled]),
    check(
        "method of the line",
        &[Reason::MethodRefused, Reason::PasswordFailed],
    ),
];

#[cfg(test)]
mod tests {
    use entra_token::Step;

    use super::*;

    const ALL: [&[Check]; 6] = [
        TOKEN,
        PASSWORD,
        PAM_RECORD,
        TRUST_RECORD,
        OAUTH_RECORD,
        OTHER_RECORD,
    ];

    /// Reasons that belong to no check: it is unknown where the failure occurred.
    const WITHOUT_CHECK: &[Reason] = &[Reason::InternalError, Reason::Interrupted];

    #[test]
    fn every_reason_before_the_signature_has_its_check() {
        for reason in Reason::ALL.iter().copied() {
            let early = reason.step() <= Step::Signature;
            let shown = ALL
                .iter()
                .any(|checks| checks.iter().any(|check| check.reasons.contains(&reason)));
            assert_eq!(shown, early && !WITHOUT_CHECK.contains(&reason), "{reason}");
        }
    }

    #[test]
    fn checks_are_in_the_order_of_their_reasons() {
        let early = TOKEN.iter().take_while(|check| check.name != "issuer");
        let steps: Vec<Step> = early
            .flat_map(|check| check.reasons)
            .map(|reason| reason.step())
            .collect();
        assert!(steps.is_sorted());
    }

    #[test]
    fn names_leave_room_for_the_explanation() {
        for check in ALL.into_iter().flatten() {
            assert!(check.name.len() <= 20, "{}", check.name);
        }
    }
}
