//! The count of requests, so that tests can tell how often a client asked.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::endpoint::Endpoint;

/// Above this many different paths, further ones are counted by endpoint only.
const PATHS: usize = 10_000;

#[derive(Default)]
pub(super) struct Requests {
    endpoints: BTreeMap<Endpoint, u64>,
    paths: BTreeMap<String, u64>,
    refused_connections: u64,
}

impl Requests {
    pub(super) fn count(&mut self, endpoint: Endpoint, path: &str) {
        *self.endpoints.entry(endpoint).or_default() += 1;
        if self.paths.len() < PATHS || self.paths.contains_key(path) {
            *self.paths.entry(path.to_owned()).or_default() += 1;
        }
    }

    pub(super) fn count_refused_connection(&mut self) {
        self.refused_connections += 1;
    }

    pub(super) fn json(&self) -> Value {
        let endpoints: BTreeMap<Endpoint, u64> = Endpoint::ALL
            .into_iter()
            .map(|endpoint| {
                (
                    endpoint,
                    self.endpoints.get(&endpoint).copied().unwrap_or(0),
                )
            })
            .collect();
        json!({
            "total": self.endpoints.values().sum::<u64>(),
            "endpoints": endpoints,
            "paths": self.paths,
            "refused_connections": self.refused_connections,
        })
    }
}
