//! Calls by the protocol's FunctionCall message (libpq's `PQfn`), of which no statement's text, parameters or plan exist
//! that could be logged.

use pgrx::pg_sys;

/// Whether the function is called that way: by the main loop (fastpath.c, `HandleFunctionRequest`), not by a statement's
/// executor.
pub fn is_call(call: pg_sys::FunctionCallInfo) -> bool {
    // SAFETY: the argument of a function that PostgreSQL is calling, whose `flinfo` is set (fmgr.h); and plain reads of
    // variables of this process.
    unsafe {
        let by_expression = !(*(*call).flinfo).fn_expr.is_null();
        !by_expression && pg_sys::ActivePortal.is_null() && pg_sys::debug_query_string.is_null()
    }
}
