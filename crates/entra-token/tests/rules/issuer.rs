//! Whose keys a token asks for, and when that is worth a refresh.

use entra_token::{Audience, Authority, Cloud, Envelope, Reason, TokenVersion};
use serde_json::Value;

use crate::common::*;

/// Whose keys are asked.
#[test]
fn the_key_set_follows_from_an_issuer_that_is_served() {
    let version = |claims: &Value| {
        let token = ISSUER.token(claims);
        Envelope::parse(token.as_bytes(), 16 * 1024)
            .unwrap()
            .serving_version(&policy())
    };
    assert_eq!(version(&user_v1()), Ok(TokenVersion::V1));
    assert_eq!(version(&user_v2()), Ok(TokenVersion::V2));
    // The issuer decides, and `ver` is compared once it can be believed.
    assert_eq!(
        version(&setting(user_v1(), "ver", "2.0")),
        Ok(TokenVersion::V1)
    );
    let v1 = format!("https://sts.windows.net/{TENANT}/");
    for issuer in [
        String::new(),
        v1[..v1.len() - 1].to_owned(),
        format!("{v1}/"),
        format!("{v1}v2.0"),
        v1.to_uppercase(),
        v1.replace("https", "http"),
        v1.replace("sts.windows.net", "sts.windows.net.evil.example"),
        v1.replace(&TENANT.to_string(), &TENANT.to_string().to_uppercase()),
        v1.replace(&TENANT.to_string(), &OTHER_TENANT.to_string()),
        v1.replace(&TENANT.to_string(), "common"),
        v1.replace(&TENANT.to_string(), "{tenantid}"),
        format!(" {v1}"),
        format!("{v1} "),
        format!("https://login.microsoftonline.com/{TENANT}/v2.0/"),
        format!("https://login.microsoftonline.com/{TENANT}"),
        format!("https://login.microsoftonline.us/{TENANT}/v2.0"),
        format!("https://sts.chinacloudapi.cn/{TENANT}/"),
    ] {
        let claims = setting(user_v1(), "iss", issuer.as_str());
        assert_eq!(version(&claims), Err(Reason::IssuerNotServed), "{issuer}");
    }
    for (claim, value) in [
        ("tid", OTHER_TENANT.to_string()),
        ("tid", "common".to_owned()),
        ("tid", String::new()),
        ("tid", format!("{{{TENANT}}}")),
        ("ver", "3.0".to_owned()),
        ("ver", "1".to_owned()),
        ("ver", String::new()),
    ] {
        let claims = setting(user_v1(), claim, value.as_str());
        assert_eq!(
            version(&claims),
            Err(Reason::IssuerNotServed),
            "{claim} {value}"
        );
    }
    for claim in ["iss", "tid", "ver"] {
        let claims = without(user_v1(), claim);
        assert_eq!(version(&claims), Err(Reason::IssuerNotServed), "{claim}");
    }
    let upper = setting(user_v1(), "tid", TENANT.to_string().to_uppercase());
    assert_eq!(version(&upper), Ok(TokenVersion::V1));
}

/// An emulator's keys never vouch for Microsoft's issuers, nor the other way round.
#[test]
fn an_own_host_serves_its_own_issuers_only() {
    let mut emulated = policy();
    emulated.authority = Authority::new(Cloud::Public, Some("https://127.0.0.1:8443")).unwrap();
    let microsoft = ISSUER.token(&user_v1());
    let own = ISSUER.token(&setting(
        user_v1(),
        "iss",
        format!("https://127.0.0.1:8443/{TENANT}/"),
    ));
    let version = |token: &str, policy| {
        Envelope::parse(token.as_bytes(), 16 * 1024)
            .unwrap()
            .serving_version(policy)
    };
    assert_eq!(version(&own, &emulated), Ok(TokenVersion::V1));
    let real = policy();
    assert_eq!(version(&own, &real), Err(Reason::IssuerNotServed));
    assert_eq!(version(&microsoft, &emulated), Err(Reason::IssuerNotServed));
}

/// Only a token for us that has not expired may make the worker fetch keys, and whatever is wrong
/// with one whose key is unknown, that is all that is said of it.
#[test]
fn implausible_tokens_are_of_an_unknown_key() {
    let stranger = Signer::generate("unknown-key");
    let plausible = |claims: &Value, now| {
        let token = stranger.token(claims);
        Envelope::parse(token.as_bytes(), 16 * 1024)
            .unwrap()
            .plausible(&policy(), now)
    };
    assert_eq!(plausible(&user_v1(), NOW), Ok(()));
    for claims in [
        setting(user_v1(), "aud", "https://graph.microsoft.com"),
        without(user_v1(), "aud"),
        setting(user_v1(), "exp", NOW - 60),
        setting(user_v1(), "exp", i64::MIN),
        without(user_v1(), "exp"),
    ] {
        assert_eq!(plausible(&claims, NOW), Err(Reason::KeyUnknown));
        let token = stranger.token(&claims);
        assert_eq!(sign_in(&token, &alice()), Err(Reason::KeyUnknown));
    }
    assert_eq!(plausible(&setting(user_v1(), "exp", NOW - 59), NOW), Ok(()));
    let mut closed = policy();
    closed.audiences = Vec::<Audience>::new();
    let token = stranger.token(&user_v1());
    let envelope = Envelope::parse(token.as_bytes(), 16 * 1024).unwrap();
    assert_eq!(envelope.plausible(&closed, NOW), Err(Reason::KeyUnknown));
}
