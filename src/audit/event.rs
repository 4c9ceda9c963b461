//! One sign-in attempt, as it is kept.

use std::fmt;

use entra_token::{PrincipalKind, Reason};
use uuid::Uuid;

/// Text from outside, made fit to be shown.
#[derive(Clone, Debug)]
pub struct Shown(String);

impl From<&str> for Shown {
    fn from(text: &str) -> Shown {
        Shown(text.chars().filter(|c| !c.is_control()).take(255).collect())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    Authenticated,
    Refused,
    Interrupted,
}

#[derive(Clone, Debug)]
pub struct EventPrincipal {
    pub kind: PrincipalKind,
    pub object_id: Uuid,
    pub tenant_id: Uuid,
    pub upn: Option<Shown>,
    pub app_id: Option<Uuid>,
    pub display_name: Option<Shown>,
}

#[derive(Clone, Debug)]
pub struct EventToken {
    pub token_id: Option<Shown>,
    pub issued_at: i64,
    pub expires_at: i64,
    pub amr: Vec<Shown>,
    pub key_id: Shown,
}

#[derive(Clone, Debug)]
pub struct EventCheck {
    pub name: Shown,
    pub reason: Option<Reason>,
}

#[derive(Clone, Debug)]
pub struct Event {
    pub id: Uuid,
    pub role: Shown,
    pub outcome: Outcome,
    pub reason: Option<Reason>,
    pub method: Shown,
    pub principal: Option<EventPrincipal>,
    pub group_id: Option<Uuid>,
    pub client_address: Option<Shown>,
    pub client_port: Option<u16>,
    pub database: Option<Shown>,
    pub application_name: Option<Shown>,
    pub tls: bool,
    pub token: Option<EventToken>,
    pub decision_micros: i64,
    pub checks: Vec<EventCheck>,
}

impl Event {
    pub fn new(outcome: Outcome, role: &str, method: &str) -> Event {
        Event {
            id: Uuid::now_v7(),
            role: role.into(),
            outcome,
            reason: None,
            method: method.into(),
            principal: None,
            group_id: None,
            client_address: None,
            client_port: None,
            database: None,
            application_name: None,
            tls: false,
            token: None,
            decision_micros: 0,
            checks: Vec::new(),
        }
    }
}
