//! How the server proves who it is, and the way out.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pg_test::Result;
use pg_test::emulator::Emulator;
use pg_test::server::Plan;
use pg_test::wait::until;

use crate::directory_server::{ALICE, SERVER_APPLICATION, SERVER_SECRET, set_mode};
use crate::rig::{Rig, ensure};

pub fn all(rig: &Rig) -> Result<()> {
    type Change = fn(&Rig, Plan, &Emulator) -> Result<Plan>;
    let credentials: [(&str, Change); 2] = [
        ("client-secret", |_, plan, _| Ok(plan)),
        ("managed-identity", |_, plan, emulator| {
            Ok(plan
                .set("aadauth.credential", "managed_identity")
                .unset("aadauth.client_id")
                .unset("aadauth.client_secret_file")
                .environment(
                    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
                    &emulator.managed_identity_host(),
                ))
        }),
    ];
    for (name, change) in credentials {
        let own = rig.directory_server_with(name, |plan, emulator| change(rig, plan, emulator))?;
        let source = own
            .accepted("dba", &own.silent_user(ALICE)?)
            .map_err(|error| format!("{name}: {error}"))?;
        ensure(source == "directory", || source)?;
    }
    Ok(())
}

pub fn open_secret(rig: &Rig) -> Result<()> {
    let own = rig.directory_server("open-secret")?;
    let secret = rig.run().path().join("open-secret.secret");
    let alice = own.silent_user(ALICE)?;
    set_mode(&secret, "0644")?;
    own.refused("dba", &alice, "directory-unavailable")?;
    let problem = own
        .server
        .wait_for_log(0, "the directory does not answer: ")?;
    ensure(
        problem.contains("WARNING") && problem.contains("open-secret.secret"),
        || problem.clone(),
    )?;
    ensure(!own.server.log()?.contains(SERVER_SECRET), || {
        "the secret is in the log".to_owned()
    })?;
    // Mended: the next question finds it so, without a reload.
    set_mode(&secret, "0600")?;
    own.accepted("dba", &alice).map(drop)
}

pub fn missing_setting(rig: &Rig) -> Result<()> {
    let mut own = rig.directory_server("missing-setting")?;
    let alice = own.silent_user(ALICE)?;
    for (setting, value) in [
        ("aadauth.client_id", SERVER_APPLICATION),
        (
            "aadauth.client_secret_file",
            &rig.run()
                .path()
                .join("missing-setting.secret")
                .display()
                .to_string(),
        ),
    ] {
        let mark = own.server.log()?.len();
        own.server.configure(&[(setting, None)])?;
        own.refused("dba", &alice, "groups-unknown")?;
        own.server.wait_for_log(
            mark,
            &format!("the directory is not asked: {setting} is not set"),
        )?;
        own.server.configure(&[(setting, Some(value))])?;
        until("the directory is asked again", || {
            let sign_in = own.sign_in("dba", &alice)?;
            Ok(sign_in.outcome.is_in().then_some(()))
        })?;
    }
    Ok(())
}

pub fn proxy(rig: &Rig) -> Result<()> {
    let proxy = ConnectProxy::start()?;
    let own = rig.directory_server_with("proxy", |plan, _| {
        Ok(plan.set("aadauth.https_proxy", &proxy.address))
    })?;
    // The signing keys have come that way already.
    let for_keys = proxy.connections();
    ensure(for_keys > 0, || {
        "the signing keys came around the proxy".to_owned()
    })?;
    let alice = own.silent_user(ALICE)?;
    own.accepted("dba", &alice)?;
    ensure(proxy.connections() > for_keys, || {
        "Graph was asked around the proxy".to_owned()
    })
}

/// A proxy that knows CONNECT and nothing else (RFC 9110 section 9.3.6).
struct ConnectProxy {
    address: String,
    connections: Arc<AtomicUsize>,
}

impl ConnectProxy {
    /// It listens for as long as the test program runs.
    fn start() -> Result<ConnectProxy> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = format!("http://localhost:{}", listener.local_addr()?.port());
        let connections = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                std::thread::spawn(move || connect(client, &count));
            }
        });
        Ok(ConnectProxy {
            address,
            connections,
        })
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn connect(mut client: TcpStream, count: &AtomicUsize) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 4096 {
        client.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head
        .strip_prefix("CONNECT ")
        .and_then(|rest| rest.split(' ').next());
    let Some(target) = target else {
        return client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n");
    };
    let mut server = TcpStream::connect(target)?;
    count.fetch_add(1, Ordering::SeqCst);
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let back = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut client, &mut server);
    let _ = server.shutdown(Shutdown::Write);
    let _ = back.join();
    Ok(())
}
