//! A whole token that is well-formed, and of which nothing is believed yet.

use crate::authority::TokenVersion;
use crate::claims::Claims;
use crate::jws::Jws;
use crate::keys::SigningKey;
use crate::policy::Policy;
use crate::reason::Reason;

/// A token in acceptable form. Its claims stay inside until [`Envelope::verify`] has found the
/// signature good.
#[derive(Debug)]
pub struct Envelope<'t> {
    jws: Jws<'t>,
    unverified: Claims,
}

impl<'t> Envelope<'t> {
    /// Takes a token apart.
    ///
    /// `max_size` is the size of the longest token that is looked at, in bytes
    /// ([`Policy::max_token_size`]). What is allocated is at most about ten times the token's size,
    /// and for tokens that Entra issues about once.
    ///
    /// # Errors
    ///
    /// Those of [`Jws::parse`], and
    ///
    /// - [`Reason::TokenMalformed`] if the payload is empty
    /// - [`Reason::TypeNotAllowed`] if the header has no `typ`: Entra always writes one, and it is
    ///   what keeps other sorts of signed data from being taken for tokens (RFC 8725 section 3.11)
    /// - [`Reason::ClaimsMalformed`] if the payload is not a JSON object, repeats a member, or has
    ///   a claim of the wrong type that every sign-in is judged by ([`Envelope::malformed_claim`])
    pub fn parse(token: &'t [u8], max_size: usize) -> Result<Envelope<'t>, Reason> {
        let jws = Jws::parse(token, max_size)?;
        if jws.payload().is_empty() {
            return Err(Reason::TokenMalformed);
        }
        if !jws.is_typed() {
            return Err(Reason::TypeNotAllowed);
        }
        let unverified = Claims::read(jws.payload())?;
        Ok(Envelope { jws, unverified })
    }

    /// The claim whose type makes [`Envelope::parse`] fail with [`Reason::ClaimsMalformed`], for people
    /// to read; `None` if the payload has another fault.
    pub fn malformed_claim(token: &[u8], max_size: usize) -> Option<&'static str> {
        Claims::malformed(Jws::parse(token, max_size).ok()?.payload())
    }

    /// The `kid` of the header: which key to ask for. Not believed, and not fit for a log.
    pub fn key_id(&self) -> &str {
        self.jws.key_id()
    }

    /// Which of our two key sets has to verify the token.
    ///
    /// The key set follows from the issuer that the token names, so that a key is only ever used
    /// for the issuer it belongs to. Whether `ver` agrees is judged on verified claims.
    ///
    /// # Errors
    ///
    /// [`Reason::IssuerNotServed`] unless `iss`, `tid` and `ver` are all there and are ones that we
    /// serve.
    pub fn serving_version(&self, policy: &Policy) -> Result<TokenVersion, Reason> {
        if self.unverified.tenant() != Some(policy.tenant) || self.unverified.version().is_none() {
            return Err(Reason::IssuerNotServed);
        }
        self.unverified
            .issuing_version(policy)
            .ok_or(Reason::IssuerNotServed)
    }

    /// Whether the token, were its signature good, would be worth a refresh of the signing keys:
    /// it is meant for us and has not expired at `now`, in Unix seconds.
    ///
    /// # Errors
    ///
    /// [`Reason::KeyUnknown`] in either case, because that is all that is known of a token whose
    /// key is not: which of its claims is wrong must not show in anything that follows.
    pub fn plausible(&self, policy: &Policy, now: i64) -> Result<(), Reason> {
        let claims = &self.unverified;
        if claims.is_for(policy) && claims.check_expiry(policy, now).is_ok() {
            Ok(())
        } else {
            Err(Reason::KeyUnknown)
        }
    }

    /// Verifies the signature and gives out the claims.
    ///
    /// `key` must come from the key set that [`Envelope::serving_version`] names.
    ///
    /// # Errors
    ///
    /// Those of [`Jws::verify`].
    pub fn verify(self, key: &SigningKey) -> Result<Claims, Reason> {
        self.jws.verify(key)?;
        Ok(self.unverified)
    }
}
