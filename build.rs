//! Compiles the C shim with the headers of the server that the library is built for.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const SHIMS: &str = "src/pg";

fn main() -> Result<(), Box<dyn Error>> {
    let pg_config = pg_config()?;
    println!("cargo:rerun-if-env-changed=PGRX_PG_CONFIG_PATH");
    println!("cargo:rerun-if-changed={SHIMS}");
    let headers = ask(&pg_config, "--includedir-server")?;
    println!("cargo:rerun-if-changed={headers}/pg_config.h");

    let mut build = cc::Build::new();
    for entry in fs::read_dir(SHIMS)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "c") {
            build.file(path);
        }
    }
    build
        .define("_GNU_SOURCE", None)
        .include(headers)
        .flag("-Wall")
        .flag("-Wextra")
        .flag("-Wno-unused-parameter")
        .flag("-Wno-sign-compare")
        .warnings_into_errors(true)
        .compile("aadauth_shim");

    // The linker must keep the functions that only PostgreSQL and libpam call by name; pgrx's own
    // SQL section is lost without this as well.
    println!("cargo:rustc-cdylib-link-arg=-Wl,--no-gc-sections");
    Ok(())
}

/// The `pg_config` that pgrx itself builds against: named by the environment, else the one that
/// `cargo pgrx init` recorded for the version chosen by the `pgNN` feature.
fn pg_config() -> Result<PathBuf, Box<dyn Error>> {
    if let Some(path) = env::var_os("PGRX_PG_CONFIG_PATH") {
        return Ok(path.into());
    }
    let version = ["pg15", "pg16", "pg17", "pg18"]
        .into_iter()
        .find(|v| env::var_os(format!("CARGO_FEATURE_{}", v.to_uppercase())).is_some())
        .ok_or("one of the features pg15, pg16, pg17, pg18 must be on")?;
    let home = env::var_os("PGRX_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".pgrx")))
        .ok_or("set PGRX_PG_CONFIG_PATH to the server's pg_config")?;
    let config = fs::read_to_string(home.join("config.toml")).map_err(
        |_| "set PGRX_PG_CONFIG_PATH to the server's pg_config, or run `cargo pgrx init`",
    )?;
    config
        .lines()
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| key.trim() == version)
        .map(|(_, value)| PathBuf::from(value.trim().trim_matches('"')))
        .ok_or_else(|| format!("cargo pgrx knows no {version}; run `cargo pgrx init`").into())
}

fn ask(pg_config: &PathBuf, what: &str) -> Result<String, Box<dyn Error>> {
    let output = Command::new(pg_config)
        .arg(what)
        .output()
        .map_err(|error| format!("{}: {error}", pg_config.display()))?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
