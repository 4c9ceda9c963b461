//! The connection thread of this process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::connection_thread;
use crate::exchange::{Exchange, Health};
use crate::ffi::connection::Connector;
use crate::process::{self, OfProcess};
use crate::settings::Settings;

/// The exchange with the connection thread, which is started if there is none.
///
/// # Errors
/// The thread cannot be started.
pub fn exchange(settings: &Arc<Settings>) -> Result<Arc<Exchange>, String> {
    static EXCHANGE: OfProcess<Arc<Exchange>> = OfProcess::new();
    EXCHANGE.get(|| {
        let exchange = Arc::new(Exchange::new(Arc::clone(settings)));
        let of_thread = Arc::clone(&exchange);
        process::start("aadauth-connect", move || help(&of_thread))?;
        Ok(exchange)
    })
}

fn help(exchange: &Exchange) {
    loop {
        // A panic takes the connection with it, whatever state that was in.
        let ended = catch_unwind(AssertUnwindSafe(|| {
            connection_thread::run(exchange, &Connector)
        }));
        if ended.is_err() {
            exchange.set_health(Health::Bad(
                "internal error in the connection thread".to_owned(),
            ));
        }
    }
}
