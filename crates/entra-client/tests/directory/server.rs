//! A server that plays any part it is given.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use entra_emulator::certificate::CertificateAuthority;
use entra_emulator::state::{CA_CERTIFICATE, StateDirectory};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

/// Longer than anything that a test waits for.
const FOREVER: Duration = Duration::from_secs(120);

/// A request, names of headers in lower case.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// What the server does with a request.
pub enum Reply {
    /// A status, further headers, and a body.
    Answer(u16, &'static [(&'static str, &'static str)], String),
    /// These bytes, whatever they are.
    Bytes(Vec<u8>),
    /// A good answer, one byte at a time with pauses in between.
    Drip(String, Duration),
    /// The head of a good answer, and a body without end.
    Endless,
    /// The head of a good answer, and nothing more.
    Stuck,
    /// Nothing at all.
    Silence,
    /// The end of the connection.
    Close,
}

impl Reply {
    pub fn json(body: impl Into<String>) -> Reply {
        Reply::Answer(200, &[], body.into())
    }

    pub fn status(status: u16) -> Reply {
        Reply::Answer(status, &[], String::new())
    }
}

/// A certificate authority of a test's own.
pub struct Authority {
    directory: TempDir,
}

impl Authority {
    pub fn new() -> Authority {
        let directory = tempfile::tempdir().unwrap();
        CertificateAuthority::open(&StateDirectory::open(directory.path()).unwrap()).unwrap();
        Authority { directory }
    }

    pub fn file(&self) -> PathBuf {
        self.directory.path().join(CA_CERTIFICATE)
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The certificate of a server of that name, and its key, in PEM.
    pub fn issue(&self, name: &str) -> (String, String) {
        let state = StateDirectory::open(self.directory.path()).unwrap();
        let authority = CertificateAuthority::open(&state).unwrap();
        let issued = authority.issue(&[name.to_owned()]).unwrap();
        (issued.certificate, issued.key)
    }
}

/// A listener on a free port, and what it has heard.
pub struct Server {
    pub address: SocketAddr,
    pub authority: Authority,
    connections: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Over TLS, as `localhost`.
    pub fn start(part: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Server {
        let authority = Authority::new();
        let certificate = authority.issue("localhost");
        Server::with(
            Ipv4Addr::LOCALHOST.into(),
            authority,
            Some(certificate),
            part,
        )
    }

    /// Over plain HTTP.
    pub fn plain(part: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Server {
        Server::with(Ipv4Addr::LOCALHOST.into(), Authority::new(), None, part)
    }

    /// With any certificate and key, in PEM.
    pub fn with(
        host: IpAddr,
        authority: Authority,
        certificate: Option<(String, String)>,
        part: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let tls = certificate.map(|(certificate, key)| {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
                .collect::<Result<_, _>>()
                .unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .unwrap();
            Arc::new(config)
        });
        let (connections, asked) = (Arc::default(), Arc::default());
        let server = Server {
            address,
            authority,
            connections: Arc::clone(&connections),
            asked: Arc::clone(&asked),
        };
        let part = Arc::new(part);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::SeqCst);
                let (tls, part, asked) = (tls.clone(), Arc::clone(&part), Arc::clone(&asked));
                thread::spawn(move || match tls {
                    Some(config) => {
                        let connection = ServerConnection::new(config).unwrap();
                        converse(StreamOwned::new(connection, stream), &*part, &asked)
                    }
                    None => converse(stream, &*part, &asked),
                });
            }
        });
        server
    }

    /// Its address, by name.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// What it was asked, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// What it was asked at addresses that begin so.
    pub fn asked_at(&self, path: &str) -> Vec<Asked> {
        let mut asked = self.asked();
        asked.retain(|asked| asked.path.starts_with(path));
        asked
    }
}

/// Answers one request and closes.
fn converse(
    mut stream: impl Read + Write,
    part: &dyn Fn(&Asked) -> Reply,
    heard: &Mutex<Vec<Asked>>,
) -> io::Result<()> {
    let asked = read(&mut stream)?;
    heard.lock().unwrap().push(asked.clone());
    let head = |status: u16, length: usize| {
        format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n")
    };
    match part(&asked) {
        Reply::Answer(status, headers, body) => {
            let mut text = head(status, body.len());
            for (name, value) in headers {
                text += &format!("{name}: {value}\r\n");
            }
            stream.write_all((text + "\r\n" + &body).as_bytes())?;
        }
        Reply::Bytes(bytes) => stream.write_all(&bytes)?,
        Reply::Drip(body, pause) => {
            stream.write_all((head(200, body.len()) + "\r\n").as_bytes())?;
            for byte in body.bytes() {
                stream.write_all(&[byte])?;
                stream.flush()?;
                thread::sleep(pause);
            }
        }
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[b' '; 64 * 1024])?;
            }
        }
        Reply::Stuck => {
            stream.write_all((head(200, 10) + "\r\n").as_bytes())?;
            stream.flush()?;
            thread::sleep(FOREVER);
        }
        Reply::Silence => thread::sleep(FOREVER),
        Reply::Close => {}
    }
    stream.flush()
}

pub fn read(stream: &mut impl Read) -> io::Result<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Asked {
        method,
        path,
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}

/// A proxy: plain HTTP, only CONNECT, to any address.
pub struct Proxy {
    pub address: SocketAddr,
    tunnels: Arc<Mutex<Vec<Asked>>>,
}

impl Proxy {
    /// Answers with this status; connects where it is 200.
    pub fn start(status: u16) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let tunnels: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let proxy = Proxy {
            address,
            tunnels: Arc::clone(&tunnels),
        };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let tunnels = Arc::clone(&tunnels);
                thread::spawn(move || tunnel(stream, status, &tunnels));
            }
        });
        proxy
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked.
    pub fn tunnels(&self) -> Vec<Asked> {
        self.tunnels.lock().unwrap().clone()
    }
}

fn tunnel(mut client: TcpStream, status: u16, tunnels: &Mutex<Vec<Asked>>) -> io::Result<()> {
    let asked = read(&mut client)?;
    tunnels.lock().unwrap().push(asked.clone());
    client.write_all(format!("HTTP/1.1 {status} X\r\n\r\n").as_bytes())?;
    if status != 200 {
        return Ok(());
    }
    let mut server = TcpStream::connect(&asked.path)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || io::copy(&mut from, &mut to));
    io::copy(&mut server, &mut client).map(drop)
}
