//! Metadata, keys and instance discovery, read by the rules of entra-token.

use entra_token::{Audience, Authority, Cloud, Envelope, KeySet, Metadata, Policy, TokenVersion};
use uuid::Uuid;

use crate::emulator::{AUDIENCE, Emulator, TENANT, json};

#[test]
fn metadata_leads_to_keys_that_verify_tokens() {
    let emulator = Emulator::start();
    let tenant: Uuid = TENANT.parse().unwrap();
    let authority = Authority::new(Cloud::Public, Some(&emulator.running.authority)).unwrap();
    let audiences = Audience::parse_list(AUDIENCE, Cloud::Public).unwrap();
    let policy = Policy::new(tenant, authority.clone(), audiences);
    for (version, number) in [(TokenVersion::V1, "1"), (TokenVersion::V2, "2")] {
        let issuer = authority.issuer(version, tenant);
        let document = emulator.client.get(authority.metadata_url(version, tenant));
        let document = document.send().unwrap().bytes().unwrap();
        Metadata::parse(&document, &issuer, &authority).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&document).unwrap();

        let keys = emulator
            .client
            .get(document["jwks_uri"].as_str().unwrap())
            .send()
            .unwrap();
        let keys = KeySet::from_jwks(version, &issuer, tenant, &keys.bytes().unwrap()).unwrap();
        assert_eq!(keys.keys.len(), 2);

        let token = emulator.run(
            &["token"],
            &["--user", "alice@contoso.com", "--version", number],
        );
        let token = String::from_utf8(token.stdout).unwrap();
        let envelope = Envelope::parse(token.trim_end().as_bytes(), 16 * 1024).unwrap();
        assert_eq!(envelope.serving_version(&policy).unwrap(), version);
        let key = keys.find(envelope.key_id()).unwrap();
        let claims = envelope.verify(key).unwrap();
        assert_eq!(claims.upn(), Some("alice@contoso.com"));
    }
}

#[test]
fn domains_stand_for_tenants() {
    let emulator = Emulator::start();
    for path in [
        "/.well-known/openid-configuration",
        "/v2.0/.well-known/openid-configuration",
    ] {
        let by_id = emulator.get_json(&format!("/{TENANT}{path}"));
        assert_eq!(emulator.get_json(&format!("/contoso.com{path}")), by_id);
        assert!(by_id["issuer"].as_str().unwrap().contains(TENANT));
        assert!(by_id["token_endpoint"].as_str().unwrap().contains(TENANT));
    }
}

#[test]
fn common_has_the_issuer_as_a_template() {
    let emulator = Emulator::start();
    let host = &emulator.running.authority;
    let v1 = emulator.get_json("/common/.well-known/openid-configuration");
    assert_eq!(v1["issuer"], format!("{host}/{{tenantid}}/"));
    let v2 = emulator.get_json("/common/v2.0/.well-known/openid-configuration");
    assert_eq!(v2["issuer"], format!("{host}/{{tenantid}}/v2.0"));
    assert_eq!(v2["jwks_uri"], format!("{host}/common/discovery/v2.0/keys"));

    let keys = emulator.get_json("/common/discovery/v2.0/keys");
    for key in keys["keys"].as_array().unwrap() {
        assert_eq!(key["issuer"], format!("{host}/{{tenantid}}/v2.0"));
        assert_eq!(key["kid"], key["x5t"]);
        assert!(key.get("alg").is_none());
    }
    let keys = emulator.get_json("/common/discovery/keys");
    assert!(keys["keys"][0].get("issuer").is_none());
    let keys = emulator.get_json("/contoso.com/discovery/v2.0/keys");
    assert_eq!(keys["keys"][0]["issuer"], format!("{host}/{TENANT}/v2.0"));
}

#[test]
fn unknown_tenants_are_refused_as_entra_does() {
    let emulator = Emulator::start();
    for path in [
        "/fabrikam.com/.well-known/openid-configuration",
        "/fabrikam.com/v2.0/.well-known/openid-configuration",
        "/fabrikam.com/discovery/keys",
        "/fabrikam.com/discovery/v2.0/keys",
    ] {
        let response = emulator.get(path);
        assert_eq!(response.status(), 400, "{path}");
        let body = json(response);
        assert_eq!(body["error"], "invalid_tenant");
        assert_eq!(body["error_codes"][0], 90002);
        assert!(
            body["error_description"]
                .as_str()
                .unwrap()
                .starts_with("AADSTS90002: ")
        );
        for member in ["timestamp", "trace_id", "correlation_id"] {
            assert!(body[member].is_string(), "{member}");
        }
    }
    assert_eq!(emulator.get("/nothing/here").status(), 404);
}

#[test]
fn instance_discovery_knows_this_host_alone() {
    let emulator = Emulator::start();
    let host = &emulator.running.authority;
    let answer = emulator.get_json(&format!(
        "/common/discovery/instance?api-version=1.1\
         &authorization_endpoint={host}/{TENANT}/oauth2/v2.0/authorize"
    ));
    assert_eq!(
        answer["tenant_discovery_endpoint"],
        format!("{host}/{TENANT}/v2.0/.well-known/openid-configuration")
    );
    let aliases = answer["metadata"][0]["aliases"].as_array().unwrap();
    assert_eq!(aliases, &[host.strip_prefix("https://").unwrap()]);
    assert_eq!(emulator.get("/common/discovery/instance").status(), 400);
}
