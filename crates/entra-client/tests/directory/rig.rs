//! A directory whose Entra and Graph are one [`Server`], and other things that tests share.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use entra_api::{CredentialSource, DirectorySettings, HttpSettings};
use entra_client::Directory;
use entra_token::{Authority, Cloud};
use uuid::Uuid;

use crate::emulator::TENANT;
use crate::server::{Asked, Reply, Server};

/// What must never be in an error text: every secret here has it in it.
pub const SENTINEL: &str = "s3nt1nel";
pub const CLIENT: Uuid = Uuid::from_u128(0xc11e0000_0000_4000_8000_000000000001);

/// Plays Entra at the token endpoint, and the given part at Graph.
pub fn graph(part: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |asked| match is_token_request(asked) {
        true => token(3600),
        false => part(asked),
    })
}

pub fn is_token_request(asked: &Asked) -> bool {
    asked.path == format!("/{TENANT}/oauth2/v2.0/token")
}

/// A token that lives so long, in seconds.
pub fn token(lifetime: u32) -> Reply {
    Reply::json(format!(
        r#"{{"token_type":"Bearer","expires_in":{lifetime},"access_token":"{SENTINEL}.token"}}"#
    ))
}

pub fn settings(server: &Server) -> DirectorySettings {
    let secret = secret_file(server.authority.path(), "secret", SENTINEL);
    DirectorySettings {
        tenant: TENANT,
        authority: Authority::new(Cloud::Public, Some(&server.url())).unwrap(),
        graph: server.url(),
        client_id: Some(CLIENT),
        credential: CredentialSource::ClientSecret(secret),
        http: http(server),
    }
}

pub fn http(server: &Server) -> HttpSettings {
    HttpSettings {
        ca_file: Some(server.authority.file()),
        proxy: None,
    }
}

pub fn directory(server: &Server) -> Directory {
    Directory::new(settings(server)).unwrap()
}

pub fn secret_file(directory: &Path, name: &str, content: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Runs one test of this program again, in a process of its own with these environment variables, by
/// which it knows that it plays the other part.
pub fn in_a_process(test: &str, variables: &[(&str, &str)]) -> Output {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // A name that is misspelt runs nothing, successfully.
    assert!(text.contains("1 passed"), "{text}");
    output
}
