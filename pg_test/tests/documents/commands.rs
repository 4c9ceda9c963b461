//! Runs the commands of a document.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use pg_test::Result;
use pg_test::document::{Block, block_with, blocks};
use pg_test::emulator::{Emulator, program};
use pg_test::place::{RunDirectory, give_to_server, pg_config, pg_config_says, source, target};
use pg_test::plan::Plan;

/// What the shell is given before the first command.
const PRELUDE: &str = r#"
set -euo pipefail
systemctl start postgresql
trap 'systemctl stop postgresql; rm -f /etc/aadauth-client-secret' EXIT
"#;

/// The line of a document that has README.md's configuration put into force before its first block.
const CONFIGURED: &str = "<!-- The server is configured as the README says. -->";

/// Runs the blocks of `document` in order.
pub fn run(document: &Path) -> Result<()> {
    let text = fs::read_to_string(document)?;
    let own = blocks(&text).into_iter().filter(is_run);
    let blocks: Vec<Block> = if text.lines().any(|line| line == CONFIGURED) {
        configuration()?.into_iter().chain(own).collect()
    } else {
        own.collect()
    };
    if blocks.is_empty() {
        return Ok(());
    }
    let run = RunDirectory::create()?;
    let mut emulator = Emulator::prepare(&run, "entra")?;
    emulator.start()?;
    let certificate = emulator.server_certificate()?;
    let mut plan = Plan::new("documented")?
        .set("aadauth.authority_host", &emulator.authority())
        .set("aadauth.graph_endpoint", &emulator.authority())
        .set(
            "aadauth.ca_file",
            &emulator.authorities().display().to_string(),
        );
    plan.tls = Some(certificate);
    let mut server = plan.start(&run)?;
    server.stop()?;

    let mut script = PRELUDE.to_owned();
    for (index, block) in blocks.iter().enumerate() {
        let file = run.path().join(format!("block-{index}"));
        fs::write(&file, &block.text)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
        let file = file.display();
        let line = block.line;
        script += &format!("echo '--- line {line}' >&2\n");
        script += &match block.kind.as_str() {
            "sh" => block.text.clone(),
            "sql" => format!("sudo -u postgres psql -Xq -v ON_ERROR_STOP=1 -f {file}\n"),
            conf => {
                let place = server.data().join(conf.trim_start_matches("conf "));
                format!(
                    "touch {0}\ncat {file} {0} >{0}.new\nchown postgres: {0}.new\nmv {0}.new {0}\n",
                    place.display()
                )
            }
        };
    }
    let log = run.path().join("server.log");
    fs::write(&log, "")?;
    give_to_server(&log)?;
    let path = format!(
        "{}:{}:{}",
        source().join("pg_test/tests/documents/commands").display(),
        target().join("tools/bin").display(),
        std::env::var("PATH")?
    );
    let output = Command::new("bash")
        .arg("-c")
        .arg(&script)
        .current_dir(source())
        .env("PATH", path)
        .env("DOCUMENTED_DATA", server.data())
        .env("DOCUMENTED_SOCKET", server.socket())
        .env("DOCUMENTED_LOG", &log)
        .env("DOCUMENTED_BINARIES", pg_config_says("--bindir")?)
        .env("DOCUMENTED_EMULATOR", program())
        .env("DOCUMENTED_STATE", emulator.state())
        .env("CARGO_TARGET_DIR", target())
        .env("PACKAGES", "--workspace")
        .env("AADAUTH_DEMO_STATE", run.path().join("demo"))
        .env("PG_CONFIG", pg_config())
        .env("DOCUMENTED_PORT", server.port().to_string())
        .env("DOCUMENTED_AUTHORITIES", emulator.authorities())
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{}: {}\n{}\n{}\n{}",
        document.display(),
        output.status,
        tail(&String::from_utf8_lossy(&output.stdout)),
        tail(&String::from_utf8_lossy(&output.stderr)),
        tail(&fs::read_to_string(&log)?),
    )
    .into())
}

/// The blocks of README.md from the settings to CREATE EXTENSION.
fn configuration() -> Result<Vec<Block>> {
    let text = fs::read_to_string(source().join("README.md"))?;
    [
        "shared_preload_libraries",
        "local    all",
        "sudo systemctl restart",
    ]
    .iter()
    .map(|begin| block_with(&text, begin))
    .collect()
}

fn is_run(block: &Block) -> bool {
    matches!(
        block.kind.as_str(),
        "sh" | "sql" | "conf postgresql.conf" | "conf pg_hba.conf" | "conf aadauth_hba.conf"
    )
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
