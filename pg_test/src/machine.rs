//! Bare Debian machines: a root directory of its own, with processes and a network of its own that
//! leads nowhere. What is tried there finds nothing of the machine that the tests run on.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::Result;
use crate::client::Printed;
use crate::place::target;
use crate::process::{Owned, checked};

/// Debian's archive, and its updates for security; by way of its content delivery network.
const ARCHIVE: &str = "http://deb.debian.org/debian";
const SECURITY: &str = "http://deb.debian.org/debian-security";

/// Makes the root a machine and says so; it ends with its first process, and that with its owner.
const BOOT: &str = r#"
set -euo pipefail
mount -t proc proc "$1/proc"
mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
if [[ $2 == own ]]; then ip link set lo up; fi
# The first process of all: orphans are its children, and it waits for each.
exec chroot "$1" /bin/bash -c 'echo up; sleep infinity & while :; do wait; done'
"#;

/// What a machine is connected to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// A loopback interface of its own, and nothing else.
    Own,
    /// What this machine is connected to.
    Shared,
}

/// A root directory that machines are copied from.
#[derive(Clone)]
pub struct Image(PathBuf);

impl Image {
    /// A minimal Debian of that release, made with debootstrap. The packages that are named, and all
    /// that they depend on, are in its package cache, not installed. It's kept below `target/machines`, under a
    /// name that has `version`: what is to be installed may not go with the packages of an older one.
    ///
    /// # Errors
    /// It isn't there yet, and debootstrap isn't installed or Debian's archive can't be reached.
    pub fn debian(release: &str, packages: &[&str], version: &str) -> Result<Image> {
        let machines = target().join("machines");
        let root = machines.join([&[release, version], packages].concat().join("+"));
        if !root.is_dir() {
            fs::create_dir_all(&machines)?;
            let unfinished = tempfile::Builder::new()
                .prefix(".unfinished-")
                .tempdir_in(&machines)?;
            make_debian(unfinished.path(), release, packages)?;
            fs::set_permissions(unfinished.path(), fs::Permissions::from_mode(0o755))?;
            match fs::rename(unfinished.path(), &root) {
                Ok(()) => drop(unfinished.keep()),
                // Another run has made the same meanwhile.
                Err(_) if root.is_dir() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Image(root))
    }

    /// The directory of a machine that has been stopped.
    pub fn of(root: PathBuf) -> Image {
        Image(root)
    }

    /// Starts a machine with a copy of this, at `root`, which must not exist.
    ///
    /// # Errors
    /// Only root may do that.
    pub fn start(&self, root: PathBuf, network: Network) -> Result<Machine> {
        checked(
            Command::new("cp")
                .args(["-a", "--reflink=auto"])
                .arg(&self.0)
                .arg(&root),
        )?;
        Machine::start(root, network)
    }
}

fn make_debian(root: &Path, release: &str, packages: &[&str]) -> Result<()> {
    checked(
        Command::new("debootstrap")
            .args(["--variant=minbase", release])
            .arg(root)
            .arg(ARCHIVE),
    )?;
    let write = |path: &str, content: &str, mode: u32| -> Result<()> {
        let path = root.join(path);
        fs::write(&path, content)?;
        Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
    };
    // As in a container: installing starts no service. The disk is thrown away, so nobody waits for it.
    write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)?;
    write("etc/dpkg/dpkg.cfg.d/machine", "force-unsafe-io\n", 0o644)?;
    write("etc/hosts", "127.0.0.1 localhost db.example.com\n", 0o644)?;
    fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf"))?;
    let sources = format!(
        "deb {ARCHIVE} {release} main\ndeb {ARCHIVE} {release}-updates main\n\
         deb {SECURITY} {release}-security main\n"
    );
    write("etc/apt/sources.list", &sources, 0o644)?;
    let apt_get = |arguments: &[&str]| {
        let mut command = Command::new("chroot");
        command
            .arg(root)
            .arg("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive");
        checked(&mut command).map(drop)
    };
    apt_get(&["update"])?;
    apt_get(&["upgrade", "-y"])?;
    let install = [
        "install",
        "-y",
        "--no-install-recommends",
        "--download-only",
    ];
    apt_get(&[&install, packages].concat())
}

/// A running machine; dropped, all its processes end.
pub struct Machine {
    root: PathBuf,
    /// Of the machine's first process, as this one sees it.
    first: u32,
    process: Owned,
}

impl Machine {
    fn start(root: PathBuf, network: Network) -> Result<Machine> {
        let (mode, kind) = match network {
            Network::Own => (Some("--net"), "own"),
            Network::Shared => (None, "shared"),
        };
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--pid", "--ipc", "--uts", "--fork"])
            .arg("--kill-child=KILL")
            .args(mode)
            .args(["--", "bash", "-c", BOOT, "boot"])
            .arg(&root)
            .arg(kind)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = Owned::start("a machine", &mut command, Signal::KILL)?;
        let mut said = String::new();
        if let Some(output) = process.child().stdout.take() {
            BufReader::new(output).read_line(&mut said)?;
        }
        if said != "up\n" {
            return Err(
                "the machine did not start: that takes root, iproute2 and util-linux".into(),
            );
        }
        let unshare = process.id();
        let first = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"))?;
        Ok(Machine {
            root,
            first: first.trim().parse()?,
            process,
        })
    }

    /// A file or directory of the machine, as seen from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }

    /// Runs a script of bash's as root, in an environment that has nothing of the caller's.
    ///
    /// # Errors
    /// It can't be run at all.
    pub fn try_run(&self, script: &str) -> Result<Printed> {
        let mut command = self.command();
        command.arg(format!("set -euo pipefail\n{script}"));
        Ok(command.output()?.into())
    }

    /// [`Machine::try_run`]; what it printed, errors and warnings included.
    ///
    /// # Errors
    /// A command fails.
    pub fn run(&self, script: &str) -> Result<String> {
        let printed = self.try_run(script)?;
        let all = format!("{}\n{}", printed.output, printed.error);
        if printed.success {
            Ok(all.trim().to_owned())
        } else {
            Err(format!("{script}\n{all}").into())
        }
    }

    /// nsenter, waiting for a program of this machine's that is to be in the other's network.
    pub fn in_network(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first.to_string(), "--net", "--"]);
        command
    }

    /// Makes a directory of this machine's one of the machine's as well, at the same place or another.
    ///
    /// # Errors
    /// It isn't there.
    pub fn share(&self, outside: &Path, inside: &str) -> Result<()> {
        fs::create_dir_all(self.path(inside))?;
        // From the machine's mount namespace, and this process's root: where both have names.
        checked(
            Command::new("nsenter")
                .args(["--target", &self.first.to_string(), "--mount", "--"])
                .args(["mount", "--bind"])
                .arg(outside)
                .arg(self.path(inside)),
        )
        .map(drop)
    }

    /// Ends all processes of the machine; its files stay.
    ///
    /// # Errors
    /// It goes on.
    pub fn stop(mut self) -> Result<Image> {
        self.process.end(Signal::KILL)?;
        Ok(Image::of(self.root.clone()))
    }

    /// bash, waiting for its script as the next argument.
    fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.first.to_string()])
            .args([
                "--mount", "--pid", "--net", "--ipc", "--uts", "--root", "--wd",
            ])
            .args(["--", "/usr/bin/env", "-i", "LC_ALL=C.UTF-8", "HOME=/root"])
            .arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .arg("DEBIAN_FRONTEND=noninteractive")
            .args(["/bin/bash", "-c"])
            .stdin(Stdio::null());
        command
    }
}
