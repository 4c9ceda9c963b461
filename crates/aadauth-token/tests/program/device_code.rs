//! Tokens of users, who enter a code.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use reqwest::Method;
use serde_json::{Value, json};

use crate::emulator::{
    ALICE, AUDIENCE, Emulator, SERVER, Started, claims, mode, private_file, said, until,
};

const ARGUMENTS: [&str; 2] = ["--from", "device-code"];

fn code(started: &mut Started) -> String {
    let line = started.says("enter the code ");
    line.trim_end().rsplit(' ').next().unwrap().to_owned()
}

fn answer(emulator: &Emulator, code: &str, answer: &Value) {
    let order = json!({ "user_code": code, "answer": answer });
    emulator.control(Method::POST, "device", &order.to_string());
}

/// The program has asked for tokens so often, after the question for the code.
fn asked(emulator: &Emulator) -> u64 {
    let requests = emulator.control(Method::GET, "requests", "");
    let paths = requests["paths"].as_object().unwrap();
    let tokens = paths.iter().filter(|(path, _)| path.ends_with("/token"));
    tokens.map(|(_, count)| count.as_u64().unwrap()).sum()
}

#[test]
fn a_user_enters_a_code_once() {
    let emulator = Emulator::start();
    let arguments = ["--from", "device-code"];
    let (claims, said) = emulator.printed(&arguments);
    assert!(
        said.contains("/common/oauth2/deviceauth in a browser and enter the code "),
        "{said}"
    );
    assert_eq!(
        (&claims["oid"], &claims["aud"]),
        (&ALICE.into(), &AUDIENCE.into())
    );
    let directory = emulator.path(".cache/aadauth-token");
    let kept = || {
        let entries = fs::read_dir(&directory).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .collect::<Vec<_>>()
    };
    let files = kept();
    let [file] = files.as_slice() else {
        panic!("{files:?}")
    };
    assert_eq!((mode(&directory), mode(file)), (0o700, 0o600));
    let (claims, said) = emulator.printed(&arguments);
    assert_eq!((&claims["oid"], said.as_str()), (&ALICE.into(), ""));
    // For another resource there is another one.
    emulator.printed(&["--from", "device-code", "--audience", "ossrdbms"]);
    assert_eq!(kept().len(), 2);
    // One that others can read may not be the user's own.
    fs::set_permissions(file, PermissionsExt::from_mode(0o644)).unwrap();
    let said = emulator.refused(&arguments, 1);
    assert!(
        said.contains("the refresh token in")
            && said.contains("group or world access")
            && said.contains("delete it"),
        "{said}"
    );
    // One that Entra does not know any more leads to a new code.
    private_file(file, "no-refresh-token");
    let (claims, said) = emulator.printed(&arguments);
    assert_eq!(claims["oid"], ALICE);
    assert!(
        said.contains("sign in again") && said.contains("enter the code"),
        "{said}"
    );
    assert_ne!(fs::read_to_string(file).unwrap(), "no-refresh-token");
}

#[test]
fn a_code_is_entered_later() {
    let emulator = Emulator::without_user();
    let mut started = Started::new(emulator.program(&ARGUMENTS));
    let code = code(&mut started);
    until("it is told to wait", || asked(&emulator) == 1);
    answer(&emulator, &code, &json!({ "approve": "alice@contoso.com" }));
    let (status, printed) = started.end();
    assert_eq!(status, Some(0));
    assert_eq!(claims(printed.trim_end())["oid"], ALICE);
    assert_eq!(asked(&emulator), 2);
}

#[test]
fn a_failure_while_it_waits_does_not_end_the_sign_in() {
    let emulator = Emulator::without_user();
    let mut started = Started::new(emulator.program(&ARGUMENTS));
    let code = code(&mut started);
    answer(&emulator, &code, &json!({ "approve": "alice@contoso.com" }));
    emulator.fail("token", Some(1));
    let (status, printed) = started.end();
    assert_eq!(status, Some(0));
    assert_eq!(claims(printed.trim_end())["oid"], ALICE);
    assert_eq!(asked(&emulator), 2);
}

#[test]
fn a_code_is_declined() {
    let emulator = Emulator::without_user();
    let mut started = Started::new(emulator.program(&ARGUMENTS));
    let code = code(&mut started);
    answer(&emulator, &code, &json!("decline"));
    started.says("the sign-in was declined");
    assert_eq!(started.end(), (Some(1), String::new()));
}

#[test]
fn a_refused_request_for_a_code_is_no_refused_credential() {
    let emulator = Emulator::start();
    let unknown = "4e904700-0000-4000-8000-00000000dead";
    let said = emulator.refused(&["--from", "device-code", "--client-id", unknown], 1);
    assert!(said.contains("refuses the request: AADSTS700016"), "{said}");
}

/// A service that somebody has started in a terminal, and left.
#[test]
fn nobody_is_asked_again_without_a_terminal() {
    let emulator = Emulator::start();
    let file = emulator.path("pgpass");
    let arguments = [
        "--passfile",
        file.to_str().unwrap(),
        "--for",
        "*:*:*:alice",
        "--every",
        "1",
    ];
    let mut started = Started::new(emulator.program(&[&ARGUMENTS, &arguments[..]].concat()));
    started.says("enter the code");
    started.says("has a token");
    emulator.fail("token", None);
    started.says("trying again in 2 s");
    let kept = fs::read_dir(emulator.path(".cache/aadauth-token")).unwrap();
    let kept: Vec<_> = kept.map(|entry| entry.unwrap().path()).collect();
    private_file(&kept[0], "no-refresh-token");
    emulator.clear_faults();
    let line = started.says("sign in again");
    assert!(line.contains("in a terminal"), "{line}");
    started.says("trying again");
    assert_eq!(
        started.said.matches("enter the code").count(),
        1,
        "{}",
        started.said
    );
    // Meanwhile somebody has done so.
    assert_eq!(emulator.printed(&ARGUMENTS).0["oid"], ALICE);
    started.says("has a token");
}

#[test]
fn a_token_is_given_where_none_can_be_kept() {
    let emulator = Emulator::start();
    let run = |name: &str, place: Option<&str>| {
        let mut program = emulator.program(&ARGUMENTS);
        program.env_remove("HOME");
        if let Some(place) = place {
            program.env(name, place);
        }
        let output = program.output().unwrap();
        let printed = String::from_utf8(output.stdout.clone()).unwrap();
        assert_eq!(claims(printed.trim_end())["oid"], ALICE);
        said(&output)
    };
    let said = run("XDG_CACHE_HOME", Some("/dev/null"));
    assert!(
        said.contains("the refresh token cannot be kept in /dev/null/"),
        "{said}"
    );
    let said = run("HOME", None);
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn users_do_not_sign_in_with_the_identity_of_the_machine() {
    let emulator = Emulator::start();
    let mut program = emulator.program(&ARGUMENTS);
    let output = program.env("AZURE_CLIENT_ID", SERVER).output().unwrap();
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(
        claims(printed.trim_end())["oid"],
        ALICE,
        "{}",
        said(&output)
    );
}
