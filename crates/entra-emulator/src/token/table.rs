//! The table of deviations.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::claims::overflow;
use super::deviation::Change::{
    Claim, ClaimsText, Draft, Header, HeaderText, Signed, TokenText, Without, WithoutHeader,
};
use super::deviation::SubjectKind::{Any, Group, Service, User, UserWithMfa};
use super::deviation::{Change, Deviation, SubjectKind};
use super::draft::Signer;

/// A tenant, an object and a group that no directory has.
const ELSEWHERE: &str = "\"e15e0000-0000-4000-8000-0000000000e1\"";
const ELSEWHERE_LIST: &str = "[\"e15e0000-0000-4000-8000-0000000000e1\"]";
const NIL: &str = "\"00000000-0000-0000-0000-000000000000\"";
const DAY: i64 = 86_400;

const fn row(
    name: &'static str,
    expected: &'static str,
    held: SubjectKind,
    about: &'static str,
    change: Change,
) -> Deviation {
    Deviation {
        name,
        expected,
        held,
        about,
        change,
    }
}

impl Deviation {
    /// Every deviation there is, in the order in which aadauth checks.
    pub fn all() -> &'static [Deviation] {
        DEVIATIONS
    }

    /// The deviation of that name.
    pub fn named(name: &str) -> Option<&'static Deviation> {
        DEVIATIONS.iter().find(|deviation| deviation.name == name)
    }
}

#[rustfmt::skip]
static DEVIATIONS: &[Deviation] = &[
    // The envelope.
    row("too-large", "token-too-large", Any, "filled to 17,000 bytes", Draft(|d| d.set("xms_filler", "x".repeat(12_000)))),
    row("two-parts", "token-malformed", Any, "no signature part", TokenText(|t| t.rsplit_once('.').map(|(head, _)| head.to_owned()).unwrap_or_default())),
    row("four-parts", "token-malformed", Any, "a fourth part", TokenText(|t| format!("{t}.AAAA"))),
    row("five-parts", "token-malformed", Any, "five parts, as an encrypted token", TokenText(|t| format!("{t}.AAAA.AAAA"))),
    row("padded-base64", "token-malformed", Any, "base64 padding at the end", TokenText(|t| format!("{t}=="))),
    row("standard-base64", "token-malformed", Any, "+ and / instead of - and _", TokenText(|t| t.replace('-', "+").replace('_', "/"))),
    row("noncanonical-base64", "token-malformed", Any, "spare bits of the last character set", TokenText(with_spare_bits)),
    row("line-break", "token-malformed", Any, "a line break at the end", TokenText(|t| format!("{t}\n"))),
    row("leading-space", "token-malformed", Any, "a space before it", TokenText(|t| format!(" {t}"))),
    row("header-no-json", "header-invalid", Any, "header is not JSON", HeaderText(|_| "alg=RS256".to_owned())),
    row("header-array", "header-invalid", Any, "header is an array", HeaderText(|h| format!("[{h}]"))),
    row("header-duplicate", "header-invalid", Any, "header has alg twice, none first", HeaderText(|h| h.replacen('{', "{\"alg\":\"none\",", 1))),
    row("header-trailing", "header-invalid", Any, "text after the header's object", HeaderText(|h| format!("{h}{{}}"))),
    row("kid-missing", "header-invalid", Any, "no kid", WithoutHeader("kid")),
    row("kid-number", "header-invalid", Any, "kid is a number", Header("kid", "1")),
    row("alg-none", "token-malformed", Any, "alg none, signature empty", Signed("none", Signer::Nobody)),
    row("alg-none-mixed-case", "token-malformed", Any, "alg nOnE, signature empty", Signed("nOnE", Signer::Nobody)),
    row("alg-none-signed", "algorithm-not-allowed", Any, "alg none, good RSA signature", Signed("none", Signer::Rs256)),
    row("alg-hs256", "algorithm-not-allowed", Any, "HMAC with the public key as secret", Signed("HS256", Signer::Hs256)),
    row("alg-rs384", "algorithm-not-allowed", Any, "RS384, rightly signed", Signed("RS384", Signer::Rs384)),
    row("alg-rs512", "algorithm-not-allowed", Any, "RS512, rightly signed", Signed("RS512", Signer::Rs512)),
    row("alg-ps256", "algorithm-not-allowed", Any, "PS256, rightly signed", Signed("PS256", Signer::Ps256)),
    row("alg-es256", "algorithm-not-allowed", Any, "ES256 in name", Signed("ES256", Signer::Rs256)),
    row("alg-lower-case", "algorithm-not-allowed", Any, "rs256", Signed("rs256", Signer::Rs256)),
    row("alg-missing", "algorithm-not-allowed", Any, "no alg", WithoutHeader("alg")),
    row("typ-missing", "type-not-allowed", Any, "no typ", WithoutHeader("typ")),
    row("typ-other", "type-not-allowed", Any, "typ of a proof of possession", Header("typ", "\"dpop+jwt\"")),
    row("crit", "header-extension-not-allowed", Any, "crit names an unknown extension", Header("crit", "[\"xms_unknown\"]")),
    row("crit-empty", "header-extension-not-allowed", Any, "crit is empty", Header("crit", "[]")),
    row("b64", "header-extension-not-allowed", Any, "payload said to be unencoded", Header("b64", "false")),
    row("zip", "header-extension-not-allowed", Any, "payload said to be compressed", Header("zip", "\"DEF\"")),
    row("claims-no-json", "claims-malformed", Any, "payload is not JSON", ClaimsText(|_| "sub=alice".to_owned())),
    row("claims-array", "claims-malformed", Any, "payload is an array", ClaimsText(|c| format!("[{c}]"))),
    row("claims-duplicate", "claims-malformed", Any, "oid twice, another's first", ClaimsText(|c| c.replacen('{', &format!("{{\"oid\":{ELSEWHERE},"), 1))),
    row("claims-duplicate-escaped", "claims-malformed", Any, "oid twice, one spelled with an escape", ClaimsText(|c| c.replacen('{', &format!("{{\"\\u006fid\":{ELSEWHERE},"), 1))),
    row("claims-duplicate-unknown", "claims-malformed", Any, "an unused claim twice", ClaimsText(|c| c.replacen('{', "{\"xms_x\":1,\"xms_x\":2,", 1))),
    row("claims-trailing", "claims-malformed", Any, "text after the payload's object", ClaimsText(|c| format!("{c}{{}}"))),
    row("claims-deep", "claims-malformed", Any, "a claim nested 2,000 deep", ClaimsText(|c| c.replacen('{', &format!("{{\"xms_x\":{}{},", "[".repeat(2000), "]".repeat(2000)), 1))),

    // The key set that answers for it, and the signature.
    row("issuer-missing", "issuer-not-served", Any, "no iss", Without("iss")),
    row("issuer-array", "claims-malformed", Any, "iss is an array that has the right one", Draft(|d| d.set("iss", vec![d.text("iss")]))),
    row("issuer-other-host", "issuer-not-served", Any, "iss of another authority", Draft(|d| d.set("iss", format!("https://login.example.com/{}/", d.text("tid"))))),
    row("issuer-prefix", "issuer-not-served", Any, "iss continues after the right one", Draft(|d| d.set("iss", format!("{}x", d.text("iss"))))),
    row("issuer-other-tenant", "issuer-not-served", Any, "iss of another tenant, tid is right", Draft(|d| d.set("iss", elsewhere(&d.text("iss"), &d.text("tid"))))),
    row("tenant-other", "issuer-not-served", Any, "iss and tid of another tenant", Draft(|d| {
        d.set("iss", elsewhere(&d.text("iss"), &d.text("tid")));
        d.set("tid", value(ELSEWHERE));
    })),
    row("tid-other", "issuer-not-served", Any, "tid of another tenant, iss is right", Claim("tid", ELSEWHERE)),
    row("tid-missing", "issuer-not-served", Any, "no tid", Without("tid")),
    row("version-missing", "issuer-not-served", Any, "no ver", Without("ver")),
    row("version-unknown", "issuer-not-served", Any, "ver 3.0", Claim("ver", "\"3.0\"")),
    row("version-other", "version-mismatch", Any, "ver of the other form than iss", Draft(|d| d.set("ver", if d.text("ver") == "1.0" { "2.0" } else { "1.0" }))),
    row("unknown-kid", "key-unknown", Any, "a kid that was never published", Draft(|d| d.set_header("kid", Uuid::new_v4().simple().to_string()))),
    row("kid-path", "key-unknown", Any, "kid is a file's path", Header("kid", "\"../../../etc/passwd\"")),
    row("foreign-key", "key-unknown", Any, "signed with an unpublished key, whose kid it names", Draft(|d| {
        d.sign_as_stranger();
        d.set_header("kid", d.stranger().key_id());
    })),
    row("foreign-key-known-kid", "signature-invalid", Any, "signed with an unpublished key", Draft(|d| d.sign_as_stranger())),
    row("bit-flipped", "signature-invalid", Any, "one bit of the signature differs", TokenText(with_flipped_bit)),
    row("claims-altered", "signature-invalid", Any, "a claim added after signing", TokenText(with_altered_claims)),
    row("unsigned", "token-malformed", Any, "alg RS256, signature empty", TokenText(|t| t.rsplit_once('.').map(|(head, _)| format!("{head}.")).unwrap_or_default())),
    row("jku", "signature-invalid", Any, "an attacker's key, found by jku", Draft(|d| d.lure("jku", json!("https://attacker.example/keys")))),
    row("x5u", "signature-invalid", Any, "an attacker's key, found by x5u", Draft(|d| d.lure("x5u", json!("https://attacker.example/key.pem")))),
    row("jwk", "signature-invalid", Any, "an attacker's key, in jwk", Draft(|d| d.lure("jwk", Value::Object(d.stranger().jwk())))),
    row("x5c", "signature-invalid", Any, "an attacker's certificate, in x5c", Draft(|d| d.lure("x5c", json!([d.stranger().certificate()])))),

    // Audience.
    row("audience-other", "audience-mismatch", Any, "for Microsoft Graph", Claim("aud", "\"https://graph.microsoft.com\"")),
    row("audience-missing", "audience-mismatch", Any, "no aud", Without("aud")),
    row("audience-array", "claims-malformed", Any, "aud is an array that has the right one", Draft(|d| d.set("aud", vec![d.text("aud")]))),
    row("audience-prefix", "audience-mismatch", Any, "aud continues after the right one", Draft(|d| d.set("aud", format!("{}.example.com", d.text("aud"))))),
    row("audience-spelling", "audience-mismatch", Any, "aud spelled otherwise: a URI in capitals, an id as urn:uuid", Draft(|d| {
        let audience = d.text("aud");
        let is_id = Uuid::try_parse(&audience).is_ok();
        d.set("aud", if is_id { format!("urn:uuid:{audience}") } else { audience.to_uppercase() });
    })),
    row("audience-two-slashes", "audience-mismatch", Any, "aud with two slashes at the end", Draft(|d| d.set("aud", format!("{}//", d.text("aud"))))),

    // Time.
    row("exp-missing", "time-claims-missing", Any, "no exp", Without("exp")),
    row("nbf-missing", "time-claims-missing", Any, "no nbf", Without("nbf")),
    row("iat-missing", "time-claims-missing", Any, "no iat", Without("iat")),
    row("exp-fraction", "claims-malformed", Any, "exp is not whole", Draft(|d| d.set("exp", d.number("exp") as f64 + 0.5))),
    row("exp-text", "claims-malformed", Any, "exp is text", Draft(|d| d.set("exp", d.number("exp").to_string()))),
    row("exp-huge", "claims-malformed", Any, "exp is 1e300", Claim("exp", "1e300")),
    row("expired", "expired", Any, "issued and expired yesterday", Draft(|d| later(d, &["iat", "nbf", "exp"], -2 * DAY))),
    row("not-yet-valid", "not-yet-valid", Any, "valid from tomorrow", Draft(|d| later(d, &["nbf", "exp"], DAY))),
    row("issued-in-future", "issued-in-future", Any, "iat is tomorrow", Draft(|d| later(d, &["iat"], DAY))),
    row("lifetime-too-long", "lifetime-too-long", Any, "valid for 28 hours, as with continuous access evaluation", Draft(|d| d.set("exp", d.number("nbf") + 28 * 3600))),

    // Kind of token.
    row("id-token", "token-kind-unknown", User, "an ID token: no scp, no idtyp", Draft(|d| {
        d.remove("scp");
        d.remove("idtyp");
    })),
    row("scp-empty", "token-kind-unknown", User, "scp is empty", Claim("scp", "\"\"")),
    row("idtyp-unknown", "token-kind-unknown", User, "idtyp of a device", Claim("idtyp", "\"device\"")),
    row("app-without-proof", "token-kind-unknown", Service, "app-only with neither idtyp nor oid = sub", Draft(|d| {
        d.remove("idtyp");
        d.set("sub", value(ELSEWHERE));
    })),
    row("client-id-missing", "client-id-missing", Any, "no appid or azp", Draft(|d| {
        d.remove("appid");
        d.remove("azp");
    })),
    row("client-id-other-version", "client-id-missing", Any, "the client id under the other version's name", Draft(|d| {
        let (own, other) = if d.text("ver") == "1.0" { ("appid", "azp") } else { ("azp", "appid") };
        d.set(other, d.text(own));
        d.remove(own);
    })),
    row("app-kind", "user-token-required", User, "the user's ids in an app-only token", Draft(|d| {
        d.remove("scp");
        d.set("idtyp", "app");
        d.set("sub", d.text("oid"));
    })),
    row("user-kind", "service-token-required", Service, "the service's ids in a delegated token", Draft(|d| {
        d.set("scp", "user_impersonation");
        d.set("idtyp", "user");
    })),

    // Principal.
    row("oid-missing", "object-id-missing", User, "no oid", Without("oid")),
    row("oid-other", "object-id-mismatch", User, "another's oid, names are right", Claim("oid", ELSEWHERE)),
    row("oid-nil", "object-id-missing", User, "oid is all zeros", Claim("oid", NIL)),
    row("service-other", "object-id-mismatch", Service, "another's oid and application id, names are right", Draft(|d| {
        for claim in ["oid", "sub", if d.text("ver") == "1.0" { "appid" } else { "azp" }] {
            d.set(claim, value(ELSEWHERE));
        }
    })),
    row("groups-missing", "groups-unknown", Group, "no groups", Without("groups")),
    row("groups-overflow", "groups-unknown", Group, "a pointer instead of groups", Draft(|d| {
        let id = |claim| Uuid::try_parse(&d.text(claim)).unwrap_or_default();
        let (tenant, object_id) = (id("tid"), id("oid"));
        overflow(&mut d.claims, tenant, object_id);
    })),
    row("groups-hasgroups", "groups-unknown", Group, "hasgroups instead of groups", Draft(|d| {
        d.remove("groups");
        d.set("hasgroups", true);
    })),
    row("groups-text", "groups-unknown", Group, "groups is text", Draft(|d| d.set("groups", d.claims.get("groups").and_then(|all| all.get(0)).cloned().unwrap_or_default()))),
    row("groups-names", "groups-unknown", Group, "groups holds names", Claim("groups", "[\"dba\"]")),
    row("groups-empty", "not-a-group-member", Group, "groups is empty", Claim("groups", "[]")),
    row("groups-other", "not-a-group-member", Group, "groups holds another group", Claim("groups", ELSEWHERE_LIST)),

    // Multi-factor authentication.
    row("no-mfa", "mfa-missing", UserWithMfa, "amr says password only", Claim("amr", "[\"pwd\"]")),
    row("amr-missing", "mfa-missing", UserWithMfa, "no amr", Without("amr")),
    row("amr-case", "mfa-missing", UserWithMfa, "amr says MFA in capitals", Claim("amr", "[\"pwd\",\"MFA\"]")),
];

fn value(json: &str) -> Value {
    Value::from(json.trim_matches('"'))
}

fn elsewhere(text: &str, tenant: &str) -> String {
    text.replace(tenant, ELSEWHERE.trim_matches('"'))
}

fn later(draft: &mut super::draft::Draft<'_>, claims: &[&str], seconds: i64) {
    for claim in claims {
        let moved = draft.number(claim) + seconds;
        draft.set(claim, moved);
    }
}

/// 256 bytes are 342 characters, whose last has four bits to spare, all zero: the next character
/// decodes to the same bytes.
fn with_spare_bits(token: String) -> String {
    let mut characters: Vec<char> = token.chars().collect();
    if let Some(last) = characters.last_mut() {
        *last = char::from_u32(*last as u32 + 1).unwrap_or(*last);
    }
    characters.into_iter().collect()
}

fn with_flipped_bit(token: String) -> String {
    with_changed_part(&token, 2, |mut signature| {
        if let Some(byte) = signature.first_mut() {
            *byte ^= 1;
        }
        signature
    })
}

fn with_altered_claims(token: String) -> String {
    with_changed_part(&token, 1, |claims| {
        String::from_utf8_lossy(&claims)
            .replacen('{', "{\"xms_added\":true,", 1)
            .into_bytes()
    })
}

fn with_changed_part(token: &str, place: usize, change: fn(Vec<u8>) -> Vec<u8>) -> String {
    let part = |(index, text): (usize, &str)| {
        if index != place {
            return text.to_owned();
        }
        URL_SAFE_NO_PAD.encode(change(URL_SAFE_NO_PAD.decode(text).unwrap_or_default()))
    };
    token
        .split('.')
        .enumerate()
        .map(part)
        .collect::<Vec<_>>()
        .join(".")
}
