//! The Entra emulator, as a process.
