//! What happens to the PAM service file when its package is installed over it.

use pg_test::Result;
use pg_test::rig::ensure;

use crate::Test;
use crate::prepared::Prepared;

pub const TESTS: &[Test] = &[
    ("one_that_was_changed_is_kept", changed),
    ("one_that_was_deleted_comes_back", deleted),
];

fn changed(prepared: &Prepared) -> Result<()> {
    let server = prepared.server("changed")?;
    let machine = &server.machine;
    let service = format!("/etc/pam.d/{}", prepared.service);
    machine.run(&format!("echo 'account required pam_time.so' >>{service}"))?;
    let before = machine.run(&format!("cat {service}"))?;
    let said = machine.run(&format!("apt-get install -y --reinstall {}", prepared.file))?;
    ensure(machine.run(&format!("cat {service}"))? == before, || {
        "it was overwritten".to_owned()
    })?;
    ensure(
        said.contains(&format!("{service} is left as it is")),
        || said.clone(),
    )
}

fn deleted(prepared: &Prepared) -> Result<()> {
    let server = prepared.server("deleted")?;
    let machine = &server.machine;
    let service = format!("/etc/pam.d/{}", prepared.service);
    machine.run(&format!("rm {service}"))?;
    machine.run(&format!("apt-get install -y --reinstall {}", prepared.file))?;
    let shipped = format!("/usr/share/{}/pam-service", prepared.package);
    machine.run(&format!("cmp {service} {shipped}"))?;
    let names = machine.run("cd /etc/pam.d && echo *aadauth*")?;
    ensure(names == prepared.service, || {
        format!("something else was left there: {names}")
    })?;
    let alice = "alice@contoso.com";
    server.lets_in(alice, &server.token(alice)?)
}
