//! pgx, as Debian has it.

use std::fs;
use std::process::Command;

use pg_test::Result;
use pg_test::place::{source, target};
use pg_test::process::checked;
use pg_test::rig::Rig;

use crate::page::block;
use crate::surroundings::{signs_in, signs_in_twice};
use crate::versions::of_debian;
use crate::{Installed, Test};

pub const TESTS: &[Test] = &[("pgx", pgx)];

pub const INSTALLED: &[Installed] = &[("pgx", || of_debian("golang-github-jackc-pgx-v4-dev"))];

fn pgx(rig: &Rig) -> Result<()> {
    let directory = rig.run().path().join("go");
    fs::create_dir(&directory)?;
    fs::write(directory.join("open.go"), block("go pgx")?)?;
    let main = source().join("pg_test/clients/go/sign_in.go");
    fs::copy(main, directory.join("sign_in.go"))?;
    let program = directory.join("sign-in");
    let mut compiler = Command::new("go");
    compiler
        .args(["build", "-o"])
        .arg(&program)
        .env("GO111MODULE", "off")
        .env("GOPATH", "/usr/share/gocode")
        .env("GOCACHE", target().join("go"))
        .current_dir(&directory);
    checked(&mut compiler)?;
    signs_in(rig, || Ok(Command::new(&program)))?;
    let mut twice = Command::new(&program);
    twice.arg("again");
    signs_in_twice(rig, twice)
}
