//! SQL's type `name`, which pgrx has no counterpart of.

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::{Datum, IntoDatum};
use pgrx::pg_sys;

use super::text;

/// A name of a role, at most 63 bytes; returned to SQL as `name`.
pub struct Name(pub String);

impl IntoDatum for Name {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        let text = text::encode(&self.0);
        // SAFETY: namein (name.c) takes a NUL-terminated string, which it copies into a palloc'd
        // NameData; it cuts what is longer.
        unsafe {
            pgrx::direct_function_call_as_datum(
                pg_sys::namein,
                &[Some(pg_sys::Datum::from(text.as_ptr()))],
            )
        }
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::NAMEOID
    }
}

// SAFETY: returns the datum that the call returns, as pgrx's own types do.
unsafe impl BoxRet for Name {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        match self.into_datum() {
            // SAFETY: the datum is of the type that SQL was told of.
            Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
            None => fcinfo.return_null(),
        }
    }
}

pgrx::impl_sql_translatable!(Name, "name");
