//! The network worker: the one process that talks to the authority and to Microsoft Graph.
//!
//! Its main thread sits at its latch. Whatever may take long runs on threads that call nothing of
//! PostgreSQL's and ring a bell when they are done; so a shutdown takes no longer while a request hangs.

use std::os::fd::AsFd;
use std::time::Instant;

use crate::background::notifier::Doorbell;
use crate::clock;
use crate::directory::worker::Questions;
use crate::keys::worker::SigningKeys;
use crate::pg::latch::Process;
use crate::pg::log::{self, Level};
use crate::pg::{exit, worker};
use crate::shared::shmem;

/// Runs until SIGTERM.
pub fn run() {
    let doorbell = match Doorbell::new() {
        Ok(doorbell) => doorbell,
        Err(error) => {
            let message = format!("the network worker could not start: {error}");
            return log::line(Level::Warning, &message, None, None);
        }
    };
    exit::before_exit(|| attend(None));
    attend(Process::own());
    let mut keys = SigningKeys::new(Instant::now());
    let mut questions = Questions::new();
    while !worker::stop_requested() {
        if worker::reload_if_requested() {
            keys.reload(Instant::now());
            questions.reload();
        }
        doorbell.silence();
        let pause = questions.step(Instant::now(), &doorbell);
        let pause = pause.min(keys.step(Instant::now(), &doorbell));
        worker::wait(pause, Some(doorbell.as_fd()));
    }
    // Dropped, it would set threads tidying up while the process ends.
    std::mem::forget(questions);
}

/// Says in shared memory who looks after keys and questions, and wakes those who wait for it.
fn attend(process: Option<Process>) {
    let for_keys = shmem::change_keys(|table| {
        table.set_worker(process);
        table.waiting(clock::micros())
    });
    let for_answers = shmem::change_questions(|table| table.set_worker(process));
    for_keys
        .into_iter()
        .chain(for_answers)
        .for_each(Process::wake);
}
