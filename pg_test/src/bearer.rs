//! A client that speaks OAUTHBEARER, RFC 7628, as far as tests need it: it can send what no driver would.

use serde_json::Value;

use crate::Result;
use crate::rig::{Rig, SignIn};
use crate::server::Server;
use crate::wire::{Connection, Outcome, Request, authentication_code, refusal};

/// The mechanism's name.
pub const MECHANISM: &str = "OAUTHBEARER";

/// How the server answers the client's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Ended(Outcome),
    /// The token doesn't do, and here is where to get one (section 3.2.2); it waits for the client to say that it has
    /// understood.
    Failed(Value),
}

/// The first message of a client that has this to say in `auth` (section 3.1).
pub fn message(auth: &str) -> Vec<u8> {
    format!("n,,\x01auth={auth}\x01\x01").into_bytes()
}

impl Connection {
    /// Reads the server's request, which must be one for OAUTHBEARER.
    ///
    /// # Errors
    /// It asks for something else.
    pub fn bearer_request(&mut self) -> Result<Request> {
        let request = self.request()?;
        if request != Request::Sasl(vec![MECHANISM.to_owned()]) {
            return Err(format!("the server asked for {request:?}").into());
        }
        Ok(request)
    }

    /// Chooses the mechanism and sends its first message, whatever that is.
    ///
    /// # Errors
    /// The connection is gone, or the answer can't be understood.
    pub fn bearer(&mut self, message: &[u8]) -> Result<Answer> {
        self.choose(MECHANISM, message)?;
        self.bearer_answer()
    }

    /// Chooses a mechanism and sends its first message.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn choose(&mut self, mechanism: &str, message: &[u8]) -> Result<()> {
        let mut body = mechanism.as_bytes().to_vec();
        body.push(0);
        body.extend_from_slice(&u32::try_from(message.len())?.to_be_bytes());
        body.extend_from_slice(message);
        self.send(Some(b'p'), &body)
    }

    /// Reads the answer to the first message.
    ///
    /// # Errors
    /// As [`Connection::request`].
    pub fn bearer_answer(&mut self) -> Result<Answer> {
        match self.message()? {
            None => Ok(Answer::Ended(Outcome::Closed)),
            Some((b'E', body)) => Ok(Answer::Ended(Outcome::Refused(refusal(&body)))),
            Some((b'R', body)) => match authentication_code(&body)? {
                0 => Ok(Answer::Ended(self.outcome()?)),
                11 => Ok(Answer::Failed(serde_json::from_slice(
                    body.get(4..).unwrap_or_default(),
                )?)),
                other => Err(format!("an authentication request {other}").into()),
            },
            Some((kind, _)) => Err(format!("unexpected message {:?}", char::from(kind)).into()),
        }
    }

    /// Sends a first message, and says that it has understood if that doesn't do (section 3.2.3).
    ///
    /// # Errors
    /// As [`Connection::bearer`].
    pub fn bearer_outcome(&mut self, message: &[u8]) -> Result<Outcome> {
        match self.bearer(message)? {
            Answer::Ended(outcome) => Ok(outcome),
            Answer::Failed(_) => {
                self.send(Some(b'p'), b"\x01")?;
                self.outcome()
            }
        }
    }
}

impl Rig {
    /// Signs in over TLS with a token, by OAUTHBEARER.
    ///
    /// # Errors
    /// The server asks for something else, or can't be understood.
    pub fn bearer_sign_in(&self, server: &Server, role: &str, token: &str) -> Result<SignIn> {
        self.bearer_sign_in_with(server, role, token, &[("database", "postgres")])
    }

    /// [`Rig::bearer_sign_in`], with more in the startup packet.
    ///
    /// # Errors
    /// As [`Rig::bearer_sign_in`].
    pub fn bearer_sign_in_with(
        &self,
        server: &Server,
        role: &str,
        token: &str,
        more: &[(&str, &str)],
    ) -> Result<SignIn> {
        let (mut connection, mark) = self.connect_with(server, role, Some(&self.tls), more)?;
        let request = connection.bearer_request()?;
        let outcome = connection.bearer_outcome(&message(&format!("Bearer {token}")))?;
        Ok(SignIn {
            request,
            outcome,
            mark,
        })
    }

    /// Signs in by OAUTHBEARER and expects to be refused for `reason`, at the client and in the audit.
    ///
    /// # Errors
    /// The server doesn't, or for another reason.
    pub fn bearer_refused(
        &self,
        server: &Server,
        role: &str,
        token: &str,
        reason: &str,
    ) -> Result<()> {
        let sign_in = self.bearer_sign_in(server, role, token)?;
        self.expect_refused(server, role, &sign_in, reason)
    }

    /// Signs in by OAUTHBEARER and expects to get in.
    ///
    /// # Errors
    /// The server refuses.
    pub fn bearer_accepted(&self, server: &Server, role: &str, token: &str) -> Result<SignIn> {
        let sign_in = self.bearer_sign_in(server, role, token)?;
        if !sign_in.outcome.is_in() {
            return Err(format!("{role} was not let in: {:?}", sign_in.outcome).into());
        }
        Ok(sign_in)
    }
}
