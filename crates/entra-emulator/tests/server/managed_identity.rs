//! The managed identity endpoint of virtual machines.

use serde_json::json as value;

use crate::emulator::{AUDIENCE, Emulator, json, part};

const SYSTEM: &str = "0a7b0000-0000-4000-8000-000000000031";
const BATCH: &str = "ba7c0000-0000-4000-8000-000000000041";
const BATCH_CLIENT: &str = "ba7c0000-0000-4000-8000-000000000040";
const BATCH_PATH: &str = "/subscriptions/5ab5c100-0000-4000-8000-0000000000aa/resourcegroups/\
                          emulator/providers/Microsoft.ManagedIdentity/userAssignedIdentities/batch";

#[test]
fn machine_gets_its_own_identity() {
    let emulator = Emulator::start();
    let body = json(emulator.identity(&format!("resource={AUDIENCE}")));
    for member in ["expires_in", "expires_on", "ext_expires_in", "not_before"] {
        assert!(
            body[member].as_str().unwrap().parse::<i64>().is_ok(),
            "{member}"
        );
    }
    let remaining: i64 = body["expires_in"].as_str().unwrap().parse().unwrap();
    assert!((86_300..=86_400).contains(&remaining), "{remaining}");
    assert_eq!(body["resource"], AUDIENCE);
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["client_id"], "0a7b0000-0000-4000-8000-000000000030");
    let claims = part(body["access_token"].as_str().unwrap(), 1);
    assert_eq!(claims["oid"], SYSTEM);
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["nbf"].as_i64().unwrap(),
        86_700
    );
}

#[test]
fn identities_are_chosen_by_any_id() {
    let emulator = Emulator::start();
    for (query, oid) in [
        (format!("client_id={BATCH_CLIENT}"), BATCH),
        (format!("object_id={BATCH}"), BATCH),
        (format!("msi_res_id={BATCH_PATH}"), BATCH),
        (format!("mi_res_id={}", BATCH_PATH.to_lowercase()), BATCH),
        (format!("object_id={SYSTEM}"), SYSTEM),
    ] {
        let body = json(emulator.identity(&format!("resource={AUDIENCE}&{query}")));
        assert_eq!(
            part(body["access_token"].as_str().unwrap(), 1)["oid"],
            oid,
            "{query}"
        );
    }
}

#[test]
fn tokens_come_from_a_cache() {
    let emulator = Emulator::start();
    let ask = |query: &str| json(emulator.identity(query))["access_token"].clone();
    let query = format!("resource={AUDIENCE}");
    let first = ask(&query);
    assert_eq!(ask(&query), first);
    assert_ne!(ask(&format!("{query}&object_id={BATCH}")), first);
    assert_ne!(
        ask("resource=https://ossrdbms-aad.database.windows.net"),
        first
    );

    // Rotation leaves it good; it goes with its key.
    let rotated = emulator.control(reqwest::Method::POST, "/keys/rotate", &value!(null));
    assert!(rotated.status().is_success());
    assert_eq!(ask(&query), first);
    let key_id = part(first.as_str().unwrap(), 0)["kid"].clone();
    let order = value!({ "key_id": key_id });
    let retired = emulator.control(reqwest::Method::POST, "/keys/retire", &order);
    assert!(retired.status().is_success());
    assert_ne!(ask(&query), first);
}

#[test]
fn what_the_service_insists_on() {
    let emulator = Emulator::start();
    let base = format!("{}/metadata/identity/oauth2/token", emulator.running.imds);
    let good = format!("api-version=2018-02-01&resource={AUDIENCE}");
    let ask = |address: String, headers: &[(&str, &str)]| {
        let mut request = emulator.client.get(address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().unwrap();
        (response.status().as_u16(), json(response))
    };
    let metadata = [("Metadata", "true")];
    assert_eq!(ask(format!("{base}?{good}"), &metadata).0, 200);
    assert_eq!(ask(format!("{base}/?{good}"), &metadata).0, 200);
    assert_eq!(
        ask(format!("{base}?{good}"), &[("metadata", "True")]).0,
        200
    );

    let unknown = format!("{base}?{good}&client_id=e15e0000-0000-4000-8000-0000000000e1");
    for (address, headers, wanted) in [
        (format!("{base}?{good}"), &[][..], "metadata header"),
        (
            format!("{base}?{good}"),
            &[("Metadata", "false")][..],
            "metadata header",
        ),
        (
            format!("{base}?{good}"),
            &[("Metadata", "true"), ("X-Forwarded-For", "10.0.0.1")][..],
            "Forwarded",
        ),
        (
            format!("{base}?resource={AUDIENCE}"),
            &metadata[..],
            "api-version",
        ),
        (
            format!("{base}?api-version=2017-01-01&resource=x"),
            &metadata[..],
            "api-version",
        ),
        (
            format!("{base}?api-version=latest&resource=x"),
            &metadata[..],
            "api-version",
        ),
        (
            format!("{base}?api-version=2018-02-01"),
            &metadata[..],
            "resource",
        ),
        (
            format!("{base}?api-version=2018-02-01&resource=api://none"),
            &metadata[..],
            "AADSTS500011",
        ),
        (unknown, &metadata[..], "Identity not found"),
        (
            format!("{base}?{good}&client_id={BATCH_CLIENT}&object_id={BATCH}"),
            &metadata[..],
            "more than one way",
        ),
    ] {
        let (status, body) = ask(address, headers);
        assert_eq!(status, 400, "{wanted}");
        let text = body["error_description"].as_str().unwrap();
        assert!(text.contains(wanted), "{text}");
        assert!(body["error"].is_string());
    }
}

#[test]
fn machine_without_identity_of_its_own() {
    let directory =
        entra_emulator::directory::BUILT_IN.replace("kind = \"system\"", "kind = \"user\"");
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("directory.toml");
    std::fs::write(&file, directory).unwrap();
    let emulator = Emulator::start_on(state, &["--directory", file.to_str().unwrap()]);
    let response = emulator.identity(&format!("resource={AUDIENCE}"));
    assert_eq!(response.status(), 400);
    let text = json(response)["error_description"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        text.starts_with("Multiple user assigned identities exist"),
        "{text}"
    );
}

#[test]
fn app_service_has_an_endpoint_of_its_own() {
    let emulator = Emulator::start();
    let running = &emulator.running;
    assert_eq!(
        running.identity_endpoint,
        format!("{}/msi/token", running.imds)
    );
    let ask = |header: Option<&str>, query: &str| {
        let address = format!("{}?{query}", running.identity_endpoint);
        let mut request = emulator.client.get(address);
        if let Some(header) = header {
            request = request.header("X-IDENTITY-HEADER", header);
        }
        request.send().unwrap()
    };
    let good = format!("api-version=2019-08-01&resource={AUDIENCE}");
    let header = Some(running.identity_header.as_str());
    let body = json(ask(header, &good));
    assert_eq!(
        part(body["access_token"].as_str().unwrap(), 1)["oid"],
        SYSTEM
    );
    assert!(body["expires_on"].as_str().unwrap().parse::<i64>().is_ok());
    assert_eq!(body["resource"], AUDIENCE);
    for query in [
        format!("client_id={BATCH_CLIENT}"),
        format!("object_id={BATCH}"),
        format!("principal_id={BATCH}"),
        format!("mi_res_id={BATCH_PATH}"),
    ] {
        let body = json(ask(header, &format!("{good}&{query}")));
        assert_eq!(
            part(body["access_token"].as_str().unwrap(), 1)["oid"],
            BATCH,
            "{query}"
        );
    }
    for (header, query, status) in [
        (None, good.clone(), 401),
        (Some("wrong"), good.clone(), 401),
        (Some(""), good.clone(), 401),
        (header, good.replace("2019-08-01", "2017-09-01"), 400),
        (header, good.replace("resource", "x"), 400),
        (header, format!("{good}&client_id=nobody"), 400),
        (
            header,
            good.replace("aada0000-0000-4000-8000-000000000050", "nothing"),
            400,
        ),
    ] {
        let response = ask(header, &query);
        assert_eq!(response.status(), status, "{query}");
        let body = json(response);
        assert_eq!(body["statusCode"], status);
        assert!(body["message"].is_string() && body.get("access_token").is_none());
    }
    // The machine's own endpoint wants its own header.
    let other = emulator
        .client
        .get(format!(
            "{}/metadata/identity/oauth2/token?{good}",
            running.imds
        ))
        .header("X-IDENTITY-HEADER", &running.identity_header)
        .send()
        .unwrap();
    assert_eq!(other.status(), 400);
}
