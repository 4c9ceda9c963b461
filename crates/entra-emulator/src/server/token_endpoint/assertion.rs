//! Client assertions (RFC 7523): of the application itself, signed with the key of one of its
//! certificates, or of an issuer that it trusts.
//!
//! Microsoft: "Microsoft identity platform application authentication certificate credentials" and
//! "Workload identity federation".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use uuid::Uuid;

use super::super::error::Refusal;
use super::super::unproven::Unproven;
use super::exchange::Exchange;
use crate::clock::now;
use crate::directory::{Application, AssertionAlgorithm, Certificate, Tenant};
use crate::federation::ForeignIssuers;
use crate::jws::Parsed;

/// What clocks may differ by, in seconds.
const SKEW: i64 = 300;

impl Exchange<'_> {
    /// # Errors
    /// The assertion doesn't prove the application.
    pub(super) fn check_assertion(
        &self,
        tenant: &Tenant,
        application: &Application,
        text: &str,
    ) -> Result<(), Refusal> {
        let assertion = Parsed::read(text).ok_or(Unproven::AssertionMalformed(
            "it is no signed JSON Web Token",
        ))?;
        for claim in ["iss", "sub"] {
            if assertion.text(claim).is_empty() {
                return Err(Unproven::AssertionMalformed("it needs the claims iss and sub").into());
            }
        }
        // Applications are their own issuers under their id, and that is no address.
        if Uuid::try_parse(assertion.text("iss")).is_ok() {
            self.check_own(tenant, application, &assertion)
        } else {
            self.check_foreign(application, &assertion)
        }
    }

    /// Signed with a certificate's key.
    fn check_own(
        &self,
        tenant: &Tenant,
        application: &Application,
        assertion: &Parsed,
    ) -> Result<(), Refusal> {
        let issuer = Uuid::try_parse(assertion.text("iss")).ok();
        if issuer != Some(application.client_id) {
            return Err(Unproven::AssertionOfAnother.into());
        }
        if assertion.text("sub") != assertion.text("iss") {
            return Err(Unproven::AssertionSubject.into());
        }
        if assertion.text("jti").is_empty() {
            return Err(Unproven::AssertionMalformed("it needs the claim jti").into());
        }
        if application.certificates.is_empty() {
            return Err(Unproven::NoCertificates.into());
        }
        let certificate = signing_certificate(application, assertion)?;
        let algorithm = match assertion.header.get("alg").and_then(Value::as_str) {
            Some("RS256") => AssertionAlgorithm::Rs256,
            Some("PS256") => AssertionAlgorithm::Ps256,
            _ => {
                return Err(
                    Unproven::AssertionMalformed("its alg is neither RS256 nor PS256").into(),
                );
            }
        };
        let message = assertion.message.as_bytes();
        if !certificate.has_signed(algorithm, message, &assertion.signature) {
            return Err(Unproven::AssertionSignature(
                "The key was found, but use of the key to verify the signature failed.",
            )
            .into());
        }
        if !(certificate.not_before..=certificate.not_after).contains(&now()) {
            return Err(Unproven::AssertionSignature("The key used is expired.").into());
        }
        if !assertion.is_for(|audience| self.is_endpoint(tenant, audience)) {
            return Err(Unproven::AssertionAudience.into());
        }
        Ok(check_times(assertion)?)
    }

    /// Signed by an issuer that the application trusts.
    fn check_foreign(&self, application: &Application, assertion: &Parsed) -> Result<(), Refusal> {
        let keys = ForeignIssuers::find(&self.emulator.state)
            .map_err(|error| Refusal::Internal(error.to_string()))?;
        if !keys.is_some_and(|keys| keys.have_signed(assertion)) {
            return Err(Unproven::ForeignSignature.into());
        }
        let trusted = application.federated_credentials.iter();
        let of_issuer: Vec<_> = trusted
            .filter(|own| own.issuer == assertion.text("iss"))
            .collect();
        if of_issuer.is_empty() {
            return Err(Unproven::ForeignMismatch {
                what: "issuer",
                presented: assertion.text("iss").to_owned(),
            }
            .into());
        }
        let of_subject: Vec<_> = of_issuer
            .into_iter()
            .filter(|own| own.subject == assertion.text("sub"))
            .collect();
        if of_subject.is_empty() {
            return Err(Unproven::ForeignMismatch {
                what: "subject",
                presented: assertion.text("sub").to_owned(),
            }
            .into());
        }
        let audiences: Vec<&str> = of_subject.iter().map(|own| own.audience.as_str()).collect();
        if !assertion.is_for(|audience| audiences.contains(&audience)) {
            return Err(Unproven::ForeignMismatch {
                what: "audience",
                presented: assertion
                    .claims
                    .get("aud")
                    .map(Value::to_string)
                    .unwrap_or_default(),
            }
            .into());
        }
        Ok(check_times(assertion)?)
    }

    /// Whether `audience` is one of the tenant's token endpoints, or its issuer.
    fn is_endpoint(&self, tenant: &Tenant, audience: &str) -> bool {
        let names = [tenant.id.to_string(), self.place.to_owned()];
        names.iter().any(|name| {
            let place = format!("{}/{name}", self.emulator.authority.address());
            ["/oauth2/token", "/oauth2/v2.0/token", "/v2.0", "/"]
                .iter()
                .any(|path| audience == format!("{place}{path}"))
        })
    }
}

/// The certificate that the header names by thumbprint; one that it carries along must be the same.
fn signing_certificate<'a>(
    application: &'a Application,
    assertion: &Parsed,
) -> Result<&'a Certificate, Unproven> {
    let header = |name: &str| assertion.header.get(name).and_then(Value::as_str);
    let (sha1, sha256) = (header("x5t"), header("x5t#S256"));
    if sha1.is_none() && sha256.is_none() {
        return Err(Unproven::AssertionMalformed(
            "its header needs x5t or x5t#S256",
        ));
    }
    let is_named = |own: &&Certificate| {
        sha1.is_none_or(|named| named.trim_end_matches('=') == own.sha1_thumbprint())
            && sha256.is_none_or(|named| named.trim_end_matches('=') == own.sha256_thumbprint())
    };
    let found = application.certificates.iter().find(is_named);
    let certificate = found.ok_or(Unproven::AssertionSignature("The key was not found."))?;
    let carried = match assertion.header.get("x5c") {
        None => return Ok(certificate),
        Some(Value::Array(chain)) => chain.first().and_then(Value::as_str),
        Some(single) => single.as_str(),
    };
    // Python's library keeps the line breaks of the PEM text.
    let carried = carried.map(|text| text.split_ascii_whitespace().collect::<String>());
    match carried.and_then(|text| STANDARD.decode(text).ok()) {
        Some(der) if der == certificate.der => Ok(certificate),
        _ => Err(Unproven::AssertionSignature(
            "The certificate in x5c is not the one that the thumbprint names.",
        )),
    }
}

fn check_times(assertion: &Parsed) -> Result<(), Unproven> {
    if assertion.is_current(now(), SKEW) {
        Ok(())
    } else {
        Err(Unproven::AssertionTime)
    }
}
