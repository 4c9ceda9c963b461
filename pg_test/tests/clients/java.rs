//! JDBC, with Debian's driver and Java.

use std::fs;
use std::path::Path;
use std::process::Command;

use pg_test::Result;
use pg_test::place::source;
use pg_test::process::checked;
use pg_test::rig::Rig;

use crate::page::block;
use crate::surroundings::{signs_in, signs_in_twice};
use crate::versions::of_debian;
use crate::{Installed, Test};

pub const TESTS: &[Test] = &[("jdbc", jdbc)];

pub const INSTALLED: &[Installed] = &[("JDBC", || of_debian("libpostgresql-jdbc-java"))];

const DRIVER: &str = "/usr/share/java/postgresql.jar";

fn jdbc(rig: &Rig) -> Result<()> {
    let classes = rig.run().path().join("java");
    fs::create_dir(&classes)?;
    let plugin = classes.join("Token.java");
    fs::write(&plugin, block("java JDBC")?)?;
    let mut compiler = Command::new("javac");
    compiler.args(["-cp", DRIVER, "-d"]).arg(&classes);
    checked(compiler.args([plugin, source().join("pg_test/clients/java/SignIn.java")]))?;
    signs_in(rig, || Ok(java(&classes)))?;
    let mut twice = java(&classes);
    twice.arg("again");
    signs_in_twice(rig, twice)
}

fn java(classes: &Path) -> Command {
    let mut java = Command::new("java");
    java.arg("-cp");
    java.arg(format!("{DRIVER}:{}", classes.display()));
    java.arg("SignIn");
    java
}
