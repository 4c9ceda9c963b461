//! Servers, emulators and clients for the tests that need a running PostgreSQL.
