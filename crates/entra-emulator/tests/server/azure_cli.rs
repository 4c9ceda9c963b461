//! The emulator's replacement for the Azure CLI, with the command lines of Azure's articles.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::emulator::{Emulator, PROGRAM, TENANT, part};

const DATABASES: &str = "https://ossrdbms-aad.database.windows.net";

fn az(emulator: &Emulator, user: &str, line: &str) -> Output {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = Path::new(PROGRAM).parent().unwrap();
    // As in an article: the shell reads the quotes.
    Command::new("sh")
        .args(["-c", line])
        .env(
            "PATH",
            format!(
                "{}:{}:/usr/bin:/bin",
                here.join("bin").display(),
                program.display()
            ),
        )
        .env("EMULATOR_STATE", emulator.state.path())
        .env("EMULATOR_USER", user)
        .output()
        .unwrap()
}

fn printed(emulator: &Emulator, line: &str) -> String {
    let output = az(emulator, "carol@contoso.com", line);
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

#[test]
fn command_lines_of_azures_articles() {
    let emulator = Emulator::start();
    for line in [
        "az account get-access-token --resource-type oss-rdbms --query accessToken -o tsv",
        "az account get-access-token --resource-type oss-rdbms --query \"[accessToken]\" -o tsv",
        "az account get-access-token --resource-type=oss-rdbms --output tsv --query accessToken",
        "az account get-access-token --resource https://ossrdbms-aad.database.windows.net \
         --query [accessToken] --out=tsv",
        "az account get-access-token --scope https://ossrdbms-aad.database.windows.net/.default \
         --tenant contoso.com --query accessToken --output tsv",
    ] {
        let token = printed(&emulator, line);
        assert_eq!(part(&token, 1)["aud"], DATABASES, "{line}");
        assert_eq!(part(&token, 1)["upn"], "carol@contoso.com", "{line}");
    }
    for (line, expected) in [
        (
            "az login --use-device-code --tenant contoso.com --query [].user.name -o tsv",
            "carol@contoso.com",
        ),
        ("az account show --query tenantId -o tsv", TENANT),
        ("az account show --query user.name", "\"carol@contoso.com\""),
        (
            "az ad signed-in-user show --query \"[userPrincipalName,id]\" -o tsv",
            "carol@contoso.com\nca401000-0000-4000-8000-000000000003",
        ),
        (
            "az ad sp list --display-name batch --query \"[?displayName=='batch'].appId\" --out tsv",
            "ba7c0000-0000-4000-8000-000000000040",
        ),
        (
            "az ad sp list --display-name vm-app --query \"[].[displayName,id]\" -o tsv",
            "vm-app\t0a7b0000-0000-4000-8000-000000000031",
        ),
        (
            "az ad sp show --id ba7c0000-0000-4000-8000-000000000040 --query id -o tsv",
            "ba7c0000-0000-4000-8000-000000000041",
        ),
        (
            "az cloud show --query endpoints.ossrdbmsResourceId -o tsv",
            DATABASES,
        ),
        ("az account show -o none", ""),
    ] {
        assert_eq!(printed(&emulator, line), expected, "{line}");
    }
}

#[test]
fn a_token_is_described() {
    let emulator = Emulator::start();
    let answer = printed(&emulator, "az account get-access-token");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let claims = part(answer["accessToken"].as_str().unwrap(), 1);
    assert_eq!(claims["aud"], "https://management.core.windows.net/");
    assert_eq!(answer["expires_on"], claims["exp"]);
    assert_eq!(answer["tenant"], TENANT);
    assert_eq!(answer["tokenType"], "Bearer");
}

#[test]
fn changes_of_the_directory_count() {
    let emulator = Emulator::start();
    let (line, carol) = ("az login", "carol@contoso.com");
    assert!(az(&emulator, carol, line).status.success());
    let changed = emulator.run(&["control"], &["user", carol, "--disable"]);
    assert!(changed.status.success(), "{changed:?}");
    let refused = az(&emulator, carol, line);
    assert!(!refused.status.success() && refused.stdout.is_empty());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("AADSTS50057"));
}

#[test]
fn what_it_does_not_know_is_refused() {
    let emulator = Emulator::start();
    for (line, status, wanted) in [
        ("az vm list", 2, "unrecognized subcommand 'vm'"),
        ("az login --identity", 2, "unexpected argument '--identity'"),
        ("az account show --query '['", 1, "--query ["),
        (
            "az account get-access-token --resource https://nothing.example.com",
            1,
            "AADSTS500011",
        ),
        (
            "az ad sp show --id 00000000-0000-4000-8000-000000000000",
            1,
            "there is no application",
        ),
    ] {
        let output = az(&emulator, "carol@contoso.com", line);
        assert_eq!(output.status.code(), Some(status), "{line}: {output:?}");
        assert!(output.stdout.is_empty(), "{line}");
        let problem = String::from_utf8(output.stderr).unwrap();
        assert!(problem.contains(wanted), "{line}: {problem}");
    }
    let unknown = az(&emulator, "eve@contoso.com", "az login");
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("eve@contoso.com"));
    let state = emulator.stop();
    let output = crate::emulator::run(state.path(), &["az"], &["--user", "a", "login"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no emulator runs"));
}

#[test]
fn the_secret_of_app_service_may_be_given() {
    let state = crate::emulator::state();
    let emulator = Emulator::start_on(state, &["--identity-header", "known"]);
    assert_eq!(emulator.running.identity_header, "known");
    let place = format!(
        "{}?api-version=2019-08-01&resource={DATABASES}",
        emulator.running.identity_endpoint
    );
    let ask = |secret| {
        let request = emulator.client.get(&place);
        request.header("X-IDENTITY-HEADER", secret).send().unwrap()
    };
    assert_eq!(ask("known").status(), 200);
    assert_eq!(ask("unknown").status(), 401);
}
