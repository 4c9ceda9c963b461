//! The helper of this process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use crate::exchange::{Exchange, Health};
use crate::ffi::connection::Connector;
use crate::helper;
use crate::settings::Settings;
use crate::thread;

/// The exchange with the helper of this process, which is started if there is none.
///
/// # Errors
/// The thread cannot be started.
pub fn exchange(settings: &Arc<Settings>) -> Result<Arc<Exchange>, String> {
    static EXCHANGE: Mutex<Option<(u32, Arc<Exchange>)>> = Mutex::new(None);
    let mut running = EXCHANGE.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if let Some((of, exchange)) = &*running
        && *of == process
    {
        return Ok(Arc::clone(exchange));
    }
    let exchange = Arc::new(Exchange::new(Arc::clone(settings)));
    let of_helper = Arc::clone(&exchange);
    thread::start("aadauth-helper", move || {
        loop {
            // With the connection, whatever state it was in.
            let ended = catch_unwind(AssertUnwindSafe(|| {
                helper::run(&of_helper, &Connector);
            }));
            if ended.is_err() {
                of_helper.set_health(Health::Bad("internal error in the helper".to_owned()));
            }
        }
    })?;
    *running = Some((process, Arc::clone(&exchange)));
    Ok(exchange)
}
