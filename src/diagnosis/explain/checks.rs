//! Which checks a sign-in goes through, in order, and which reason each fails for.

use entra_token::Reason;

/// One check, and the reasons that say it failed.
///
/// Checks after the signature have none here: the event has the outcome of each by its name.
pub struct Check {
    pub name: &'static str,
    pub reasons: &'static [Reason],
}

const fn check(name: &'static str, reasons: &'static [Reason]) -> Check {
    Check { name, reasons }
}

/// The checks of a sign-in of that method (`aadauth.sign_in_audit.method`) that ended for that reason.
pub fn of(method: &str, reason: Option<Reason>) -> &'static [Check] {
    match (method, reason) {
        // A mapped role that got no further than its line, whatever that line's method is.
        ("entra-token", _) | (_, Some(Reason::WrongLine)) => TOKEN,
        ("password", _) => PASSWORD,
        ("pam", _) => PAM_LINE,
        (_, Some(Reason::HbaFileNotInForce)) => TRUST_LINE,
        // Of a line that another validator answers for, the method refuses.
        ("oauth", Some(Reason::TokenDiscovery | Reason::TokenMalformed | Reason::NoVerdict)) => {
            OAUTH_LINE
        }
        _ => LINE,
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
    check("issuer is served", &[Reason::IssuerNotServed]),
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
    // From here on by the names of entra_token::judge.
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
    check("kind suits the role", &[]),
    check("object id", &[]),
    check("principal", &[]),
    check("multi-factor", &[]),
    check("not revoked", &[]),
    check(
        "last look",
        &[
            Reason::MappingChanged,
            Reason::MethodRefused,
            Reason::NoVerdict,
            Reason::AuditUnavailable,
        ],
    ),
];

/// A local role on our line.
const PASSWORD: &[Check] = &[
    check("passwords allowed", &[Reason::PasswordDisabled]),
    check("client answered", &[Reason::NoPassword]),
    check("password", &[Reason::PasswordFailed]),
    check(
        "last look",
        &[
            Reason::MappingChanged,
            Reason::NoVerdict,
            Reason::AuditUnavailable,
        ],
    ),
];

/// A local role on another service's line, and any role on ours when the library was not asked.
const PAM_LINE: &[Check] = &[
    check("PAM service file", &[Reason::NoVerdict]),
    check("passwords allowed", &[Reason::PasswordDisabled]),
    check("PAM", &[Reason::MethodRefused]),
];

/// Any role on a trust line of which it isn't known whether it is ours.
const TRUST_LINE: &[Check] = &[check("file in force", &[Reason::HbaFileNotInForce])];

/// Any role on our OAUTHBEARER line when no token was judged.
const OAUTH_LINE: &[Check] = &[check(
    "client sent a token",
    &[
        Reason::TokenDiscovery,
        Reason::TokenMalformed,
        Reason::NoVerdict,
    ],
)];

/// A local role on a line that has nothing to do with us.
const LINE: &[Check] = &[
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

    /// Reasons that no check can show: something went wrong at a place that isn't known.
    const WITHOUT_CHECK: &[Reason] = &[Reason::InternalError, Reason::Interrupted];

    #[test]
    fn every_reason_before_the_signature_has_its_check() {
        for reason in Reason::ALL.iter().copied() {
            let early = reason.step() <= Step::Signature;
            let shown = [TOKEN, PASSWORD, PAM_LINE, TRUST_LINE, OAUTH_LINE, LINE]
                .iter()
                .any(|course| course.iter().any(|check| check.reasons.contains(&reason)));
            assert_eq!(shown, early && !WITHOUT_CHECK.contains(&reason), "{reason}");
        }
    }

    #[test]
    fn checks_stand_in_the_order_of_their_reasons() {
        let early = TOKEN.iter().take_while(|check| check.name != "issuer");
        let steps: Vec<Step> = early
            .flat_map(|check| check.reasons)
            .map(|reason| reason.step())
            .collect();
        assert!(steps.is_sorted());
    }

    #[test]
    fn names_leave_room_for_the_explanation() {
        for check in [TOKEN, PASSWORD, PAM_LINE, TRUST_LINE, OAUTH_LINE, LINE]
            .into_iter()
            .flatten()
        {
            assert!(check.name.len() <= 20, "{}", check.name);
        }
    }
}
