//! Rotation, faults and the count of requests.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json as value};

use crate::emulator::{AUDIENCE, Emulator, TENANT, client, json, part};

const KEYS: &str = "/common/discovery/keys";

fn metadata() -> String {
    format!("/{TENANT}/v2.0/.well-known/openid-configuration")
}

fn fault(emulator: &Emulator, order: Value) {
    let response = emulator.control(Method::PUT, "/faults", &order);
    assert!(response.status().is_success(), "{order}");
}

fn key_ids(emulator: &Emulator) -> Vec<Value> {
    let keys = emulator.get_json(KEYS)["keys"].clone();
    keys.as_array()
        .unwrap()
        .iter()
        .map(|key| key["kid"].clone())
        .collect()
}

#[test]
fn rotation_publishes_a_new_key_and_keeps_the_old() {
    let emulator = Emulator::start();
    let before = key_ids(&emulator);
    let rotated = json(emulator.control(Method::POST, "/keys/rotate", &Value::Null));
    assert!(!before.contains(&rotated["signing"]));
    let after = key_ids(&emulator);
    assert_eq!(
        after,
        [before.clone(), vec![rotated["signing"].clone()]].concat()
    );
    let token = emulator
        .run(&["token"], &["--user", "alice@contoso.com"])
        .stdout;
    assert_eq!(
        part(&String::from_utf8(token).unwrap(), 0)["kid"],
        rotated["signing"]
    );

    let oldest = value!({ "key_id": null });
    let retired = json(emulator.control(Method::POST, "/keys/retire", &oldest));
    assert_eq!(retired["retired"], before[0]);
    assert_eq!(key_ids(&emulator), after[1..]);
    let order = value!({ "key_id": rotated["signing"] });
    assert_eq!(
        emulator
            .control(Method::POST, "/keys/retire", &order)
            .status(),
        409
    );
    let order = value!({ "key_id": "nobody" });
    assert_eq!(
        emulator
            .control(Method::POST, "/keys/retire", &order)
            .status(),
        404
    );
}

#[test]
fn requests_are_counted_by_endpoint_and_path() {
    let emulator = Emulator::start();
    for _ in 0..3 {
        emulator.get(KEYS);
    }
    emulator.get("/nothing/here");
    emulator.identity(&format!("resource={AUDIENCE}"));
    let counted = json(emulator.control(Method::GET, "/requests", &Value::Null));
    assert_eq!(counted["total"], 5);
    assert_eq!(counted["endpoints"]["keys"], 3);
    assert_eq!(counted["endpoints"]["imds"], 1);
    assert_eq!(counted["endpoints"]["other"], 1);
    assert_eq!(counted["paths"][KEYS], 3);
    let reset = json(emulator.control(Method::DELETE, "/requests", &Value::Null));
    assert_eq!(reset["total"], 0);
    assert_eq!(reset["endpoints"]["keys"], 0);
}

#[test]
fn faults_that_change_the_answer() {
    let emulator = Emulator::start();
    let good = emulator.get(KEYS).bytes().unwrap();
    let once = |fault_: Value| fault(&emulator, value!({ "fault": fault_, "times": 1 }));

    once(value!("error"));
    assert_eq!(emulator.get(KEYS).status(), 500);
    assert_eq!(emulator.get(KEYS).bytes().unwrap(), good);
    emulator.control(Method::DELETE, "/faults", &Value::Null);

    once(value!("unavailable"));
    assert_eq!(emulator.get(KEYS).status(), 503);
    once(value!({ "throttled": 7 }));
    let response = emulator.get(KEYS);
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "7");
    once(value!({ "redirect": "https://elsewhere.example/keys" }));
    let response = emulator.get(KEYS);
    assert_eq!(response.status(), 302);
    assert_eq!(
        response.headers()["location"],
        "https://elsewhere.example/keys"
    );
    once(value!("garbage"));
    assert!(std::str::from_utf8(&emulator.get(KEYS).bytes().unwrap()).is_err());
    once(value!("truncated"));
    let half = emulator.get(KEYS).bytes().unwrap();
    assert_eq!(half, good[..good.len() / 2]);
    once(value!("empty-keys"));
    assert_eq!(emulator.get_json(KEYS), value!({ "keys": [] }));
    once(value!({ "huge": 5_000_000 }));
    let huge = emulator.get(KEYS).bytes().unwrap();
    assert_eq!(huge.len(), 5_000_000);
    assert!(serde_json::from_slice::<Value>(&huge).is_ok());

    emulator.control(Method::DELETE, "/faults", &Value::Null);
    let right = emulator.get_json(&metadata());
    for (name, member, host) in [
        ("wrong-issuer", "issuer", "login.example.com"),
        ("wrong-keys-host", "jwks_uri", "keys.example.com"),
    ] {
        once(value!(name));
        let mut wrong = emulator.get_json(&metadata());
        assert!(
            wrong[member]
                .as_str()
                .unwrap()
                .starts_with(&format!("https://{host}/"))
        );
        wrong[member] = right[member].clone();
        assert_eq!(wrong, right);
    }
}

#[test]
fn slow_answers_are_late_where_ordered() {
    let emulator = Emulator::start();
    fault(
        &emulator,
        value!({ "fault": { "slow": 700 }, "endpoint": "keys" }),
    );
    let begun = Instant::now();
    emulator.get(KEYS);
    assert!(begun.elapsed() >= Duration::from_millis(700));
    let standing = json(emulator.control(Method::GET, "/faults", &Value::Null));
    assert_eq!(
        standing["faults"],
        value!([
            { "endpoint": "keys", "fault": { "slow": 700 }, "times": null, "every": 1 }
        ])
    );
    // A slow endpoint holds nobody up at another.
    std::thread::scope(|threads| {
        let waiting = threads.spawn(|| emulator.get(KEYS).status());
        assert_eq!(emulator.get(&metadata()).status(), 200);
        assert_eq!(waiting.join().unwrap(), 200);
    });
}

#[test]
fn down_means_no_connection() {
    let emulator = Emulator::start();
    fault(&emulator, value!({ "fault": "down" }));
    let fresh = client(&emulator.running.ca_file);
    let refused = fresh
        .get(format!("{}{KEYS}", emulator.running.authority))
        .send();
    assert!(refused.is_err());
    let refused = fresh.get(&emulator.running.imds).send();
    assert!(refused.is_err());
    let counted = json(emulator.control(Method::GET, "/requests", &Value::Null));
    assert!(counted["refused_connections"].as_u64().unwrap() >= 2);
    assert_eq!(counted["total"], 0);
    emulator.control(Method::DELETE, "/faults", &Value::Null);
    let back = fresh
        .get(format!("{}{KEYS}", emulator.running.authority))
        .send()
        .unwrap();
    assert_eq!(back.status(), 200);
}

#[test]
fn orders_are_checked_and_browsers_have_none_to_give() {
    let emulator = Emulator::start();
    for order in [
        value!({ "fault": "sluggish" }),
        value!({ "fault": "error", "endpoint": "nowhere" }),
        value!({ "fault": "down", "times": 1 }),
        value!({ "fault": "error", "often": 1 }),
    ] {
        let status = emulator.control(Method::PUT, "/faults", &order).status();
        assert!(status.is_client_error(), "{order}: {status}");
    }
    let address = format!("{}/requests", emulator.running.control);
    for (name, text) in [("Origin", "https://evil.example"), ("Host", "evil.example")] {
        let response = emulator
            .client
            .get(&address)
            .header(name, text)
            .send()
            .unwrap();
        assert_eq!(response.status(), 403, "{name}");
    }
}
