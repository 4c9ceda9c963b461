//! A client that does no more than the first steps of PostgreSQL's protocol, so that a test can see
//! what the server asks for, stay at its prompt, and answer as no driver would.
//!
//! <https://www.postgresql.org/docs/15/protocol-message-formats.html>

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::Result;

/// The rows of all results, or what the server refuses a statement with.
pub type Answer = std::result::Result<Vec<Vec<String>>, Refusal>;

/// Longer than `authentication_timeout`, after which the server has something to say.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(90);

/// What the server says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `AuthenticationOk`, without a question.
    Nothing,
    /// `AuthenticationCleartextPassword`.
    Password,
    /// `AuthenticationSASL`, with the mechanisms offered.
    Sasl(Vec<String>),
    /// Any other request, by its number.
    Other(u32),
    Refused(Refusal),
    /// The server hung up without a word.
    Closed,
}

/// An `ErrorResponse`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    pub severity: String,
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

/// As psql prints it with `VERBOSITY=verbose`.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:  {}: {}", self.severity, self.sqlstate, self.message)?;
        for (name, text) in [("DETAIL", &self.detail), ("HINT", &self.hint)] {
            if let Some(text) = text {
                write!(f, "\n{name}:  {text}")?;
            }
        }
        Ok(())
    }
}

/// How a sign-in ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    In,
    Refused(Refusal),
    Closed,
}

impl Outcome {
    pub fn is_in(&self) -> bool {
        *self == Outcome::In
    }

    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Outcome::Refused(refusal) => Some(refusal),
            Outcome::In | Outcome::Closed => None,
        }
    }
}

/// Connects from an address of this machine, such as 127.0.0.2.
///
/// # Errors
/// Nobody listens.
pub fn connect_from(address: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddrV4::new(address, 0).into())?;
    socket.connect(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into())?;
    Ok(socket.into())
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection in its first steps.
pub struct Connection(Box<dyn Stream>);

impl Connection {
    /// Connects and sends the startup packet. With `tls`, asks for encryption first and verifies the
    /// server as `localhost`.
    ///
    /// # Errors
    /// Nobody listens there, or TLS fails.
    pub fn open(
        port: u16,
        tls: Option<&Arc<ClientConfig>>,
        parameters: &[(&str, &str)],
    ) -> Result<Connection> {
        Connection::over_tcp(TcpStream::connect(("127.0.0.1", port))?, tls, parameters)
    }

    /// [`Connection::open`] over a socket that is connected already.
    ///
    /// # Errors
    /// The other side hangs up, or TLS fails.
    pub fn over_tcp(
        mut socket: TcpStream,
        tls: Option<&Arc<ClientConfig>>,
        parameters: &[(&str, &str)],
    ) -> Result<Connection> {
        socket.set_read_timeout(Some(READ_TIMEOUT))?;
        // As libpq does: otherwise the startup packet waits for the server's delayed acknowledgment of the handshake.
        socket.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(socket),
            Some(config) => {
                socket.write_all(&[0, 0, 0, 8, 4, 210, 22, 47])?;
                let mut answer = [0];
                socket.read_exact(&mut answer)?;
                if answer != *b"S" {
                    return Err("the server does not speak TLS".into());
                }
                let name = ServerName::try_from("localhost")?;
                let session = ClientConnection::new(Arc::clone(config), name)?;
                Box::new(StreamOwned::new(session, socket))
            }
        };
        Connection::start(stream, parameters)
    }

    /// Connects to the Unix socket at `path` and sends the startup packet.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn open_local(path: &Path, parameters: &[(&str, &str)]) -> Result<Connection> {
        Connection::over_unix(UnixStream::connect(path)?, parameters)
    }

    /// [`Connection::open_local`] over a socket that is connected already.
    ///
    /// # Errors
    /// The other side hangs up.
    pub fn over_unix(socket: UnixStream, parameters: &[(&str, &str)]) -> Result<Connection> {
        socket.set_read_timeout(Some(READ_TIMEOUT))?;
        Connection::start(Box::new(socket), parameters)
    }

    fn start(stream: Box<dyn Stream>, parameters: &[(&str, &str)]) -> Result<Connection> {
        let mut connection = Connection(stream);
        let mut startup = vec![0, 3, 0, 0];
        for (name, value) in parameters {
            startup.extend_from_slice(name.as_bytes());
            startup.push(0);
            startup.extend_from_slice(value.as_bytes());
            startup.push(0);
        }
        startup.push(0);
        connection.send(None, &startup)?;
        Ok(connection)
    }

    /// Reads what the server asks for.
    ///
    /// # Errors
    /// It says nothing for ninety seconds, or nothing that can be understood.
    pub fn request(&mut self) -> Result<Request> {
        match self.message()? {
            None => Ok(Request::Closed),
            Some((b'E', body)) => Ok(Request::Refused(refusal(&body))),
            Some((b'R', body)) => Ok(match authentication_code(&body)? {
                0 => Request::Nothing,
                3 => Request::Password,
                10 => Request::Sasl(strings(body.get(4..).unwrap_or_default())),
                other => Request::Other(other),
            }),
            Some((kind, _)) => Err(format!("unexpected message {:?}", char::from(kind)).into()),
        }
    }

    /// Answers a request for a password.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn password(&mut self, password: &[u8]) -> Result<()> {
        let mut body = password.to_vec();
        body.push(0);
        self.send(Some(b'p'), &body)
    }

    /// Answers a request for SASL with SCRAM-SHA-256 (RFC 5802, RFC 7677). `before_the_proof` runs
    /// when the server has sent its salt and waits for the client's proof.
    ///
    /// # Errors
    /// The exchange can't be understood, or `before_the_proof` fails.
    pub fn scram(
        &mut self,
        password: &[u8],
        before_the_proof: impl FnOnce() -> Result<()>,
    ) -> Result<Outcome> {
        match self.prove(password, before_the_proof)? {
            Some(outcome) => Ok(outcome),
            None => self.outcome(),
        }
    }

    /// [`Connection::scram`] up to the client's proof; the outcome if the exchange has ended before.
    ///
    /// # Errors
    /// As [`Connection::scram`].
    pub fn prove(
        &mut self,
        password: &[u8],
        before_the_proof: impl FnOnce() -> Result<()>,
    ) -> Result<Option<Outcome>> {
        let mut scram = ScramSha256::new(password, ChannelBinding::unsupported());
        let mut first = b"SCRAM-SHA-256\0".to_vec();
        first.extend_from_slice(&u32::try_from(scram.message().len())?.to_be_bytes());
        first.extend_from_slice(scram.message());
        self.send(Some(b'p'), &first)?;
        match self.message()? {
            Some((b'R', body)) if authentication_code(&body)? == 11 => {
                scram.update(body.get(4..).unwrap_or_default())?;
            }
            Some((b'E', body)) => return Ok(Some(Outcome::Refused(refusal(&body)))),
            None => return Ok(Some(Outcome::Closed)),
            Some(_) => return Err("the server did not go on with SCRAM".into()),
        }
        before_the_proof()?;
        let proof = scram.message().to_vec();
        self.send(Some(b'p'), &proof)?;
        Ok(None)
    }

    /// Sends a message of any kind.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&mut self, kind: Option<u8>, body: &[u8]) -> Result<()> {
        let length = u32::try_from(body.len() + 4)?;
        let mut bytes: Vec<u8> = kind.into_iter().collect();
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(body);
        self.0.write_all(&bytes)?;
        Ok(self.0.flush()?)
    }

    /// Sends bytes as they are, a torn message for instance.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes)?;
        Ok(self.0.flush()?)
    }

    /// Reads on until the server has decided: it says that the client is authenticated, or refuses.
    ///
    /// # Errors
    /// As [`Connection::request`].
    pub fn decision(&mut self) -> Result<Outcome> {
        loop {
            match self.message()? {
                None => return Ok(Outcome::Closed),
                Some((b'E', body)) => return Ok(Outcome::Refused(refusal(&body))),
                Some((b'R', body)) if authentication_code(&body)? == 0 => return Ok(Outcome::In),
                Some(_) => {}
            }
        }
    }

    /// Reads on until the server is ready for queries, or refuses.
    ///
    /// # Errors
    /// As [`Connection::request`].
    pub fn outcome(&mut self) -> Result<Outcome> {
        loop {
            match self.message()? {
                None => return Ok(Outcome::Closed),
                Some((b'E', body)) => return Ok(Outcome::Refused(refusal(&body))),
                Some((b'Z', _)) => return Ok(Outcome::In),
                Some(_) => {}
            }
        }
    }

    /// Runs a query; the first column of each row.
    ///
    /// # Errors
    /// As [`Connection::rows`].
    pub fn query(&mut self, sql: &str) -> Result<Vec<String>> {
        let rows = self.rows(sql)?.into_iter();
        Ok(rows
            .map(|row| row.into_iter().next().unwrap_or_default())
            .collect())
    }

    /// Runs statements; the rows of all results, with an empty text for NULL.
    ///
    /// # Errors
    /// The server refuses one; others can be run then, unless the connection is closed.
    pub fn rows(&mut self, sql: &str) -> Result<Vec<Vec<String>>> {
        self.execute(sql)?
            .map_err(|refusal| refusal.to_string().into())
    }

    /// Runs statements as [`Connection::rows`] does; a refusal by the server is a value.
    ///
    /// # Errors
    /// The server closes the connection.
    pub fn execute(&mut self, sql: &str) -> Result<Answer> {
        let mut body = sql.as_bytes().to_vec();
        body.push(0);
        self.send(Some(b'Q'), &body)?;
        let mut rows = Vec::new();
        let mut failure = None;
        loop {
            match self.message()? {
                None => {
                    let closed = || "the server closed the connection".to_owned();
                    return Err(failure
                        .map_or_else(closed, |refusal: Refusal| refusal.to_string())
                        .into());
                }
                Some((b'E', body)) => failure = Some(refusal(&body)),
                Some((b'D', body)) => rows.push(columns(&body)?),
                Some((b'Z', _)) => return Ok(failure.map_or(Ok(rows), Err)),
                Some(_) => {}
            }
        }
    }

    /// Calls a function by the FunctionCall message, as libpq's `PQfn` does: its result, an `int4`, and the notices. A
    /// refusal by the server is a value.
    ///
    /// # Errors
    /// The server closes the connection, or the result is no `int4`.
    pub fn call(
        &mut self,
        function: u32,
        arguments: &[&[u8]],
    ) -> Result<std::result::Result<(i32, Vec<Refusal>), Refusal>> {
        let mut body = function.to_be_bytes().to_vec();
        // All are binary, and so is the result.
        body.extend([0, 1, 0, 1]);
        body.extend(u16::try_from(arguments.len())?.to_be_bytes());
        for argument in arguments {
            body.extend(u32::try_from(argument.len())?.to_be_bytes());
            body.extend_from_slice(argument);
        }
        body.extend([0, 1]);
        self.send(Some(b'F'), &body)?;
        let mut notices = Vec::new();
        let mut result = Err(Refusal::default());
        loop {
            match self.message()?.ok_or("the server closed the connection")? {
                (b'N', body) => notices.push(refusal(&body)),
                (b'E', body) => result = Err(refusal(&body)),
                (b'V', body) => {
                    let (_, value) = body.split_first_chunk::<4>().ok_or("a short result")?;
                    result = Ok(i32::from_be_bytes(value.try_into()?));
                }
                (b'Z', _) => return Ok(result.map(|value| (value, notices))),
                _ => {}
            }
        }
    }

    pub(crate) fn message(&mut self) -> Result<Option<(u8, Vec<u8>)>> {
        let mut header = [0; 5];
        match self.0.read_exact(&mut header) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        let [kind, length @ ..] = header;
        let length = u32::from_be_bytes(length).saturating_sub(4);
        let mut body = vec![0; usize::try_from(length)?];
        self.0.read_exact(&mut body)?;
        Ok(Some((kind, body)))
    }
}

pub(crate) fn authentication_code(body: &[u8]) -> Result<u32> {
    let code = body.first_chunk().ok_or("a short authentication request")?;
    Ok(u32::from_be_bytes(*code))
}

fn strings(body: &[u8]) -> Vec<String> {
    body.split(|byte| *byte == 0)
        .filter(|part| !part.is_empty())
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect()
}

pub(crate) fn refusal(body: &[u8]) -> Refusal {
    let mut refusal = Refusal::default();
    for field in strings(body) {
        let mut characters = field.chars();
        let kind = characters.next();
        let text = characters.as_str().to_owned();
        match kind {
            Some('V') => refusal.severity = text,
            Some('C') => refusal.sqlstate = text,
            Some('M') => refusal.message = text,
            Some('D') => refusal.detail = Some(text),
            Some('H') => refusal.hint = Some(text),
            _ => {}
        }
    }
    refusal
}

/// The columns of a `DataRow`; NULL has the length -1.
fn columns(body: &[u8]) -> Result<Vec<String>> {
    let mut columns = Vec::new();
    let (_, mut rest) = body.split_at_checked(2).ok_or("a short row")?;
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        let (column, after) = after.split_at_checked(length).ok_or("a short row")?;
        columns.push(String::from_utf8_lossy(column).into_owned());
        rest = after;
    }
    Ok(columns)
}
