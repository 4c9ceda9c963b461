//! SQL's type `text`, in the arguments and results of functions and of statements.

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{Datum, FromDatum, IntoDatum};
use pgrx::pg_sys;

use super::{decode, encode};

/// SQL's type `text`. Arguments and results of functions and of statements are this, never `String` or `&str`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SqlText(pub String);

impl<T: Into<String>> From<T> for SqlText {
    fn from(text: T) -> SqlText {
        SqlText(text.into())
    }
}

impl FromDatum for SqlText {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        type_oid: pg_sys::Oid,
    ) -> Option<SqlText> {
        // SAFETY: the caller vouches for the datum; text has the layout of bytea.
        unsafe { <&[u8]>::from_polymorphic_datum(datum, is_null, type_oid) }
            .map(|bytes| SqlText(decode(bytes)))
    }
}

impl IntoDatum for SqlText {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        encode(&self.0).to_bytes().into_datum()
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::TEXTOID
    }

    fn is_compatible_with(other: pg_sys::Oid) -> bool {
        [pg_sys::TEXTOID, pg_sys::VARCHAROID].contains(&other)
    }
}

// SAFETY: reads the argument as its FromDatum does, as pgrx's own types do.
unsafe impl<'fcx> ArgAbi<'fcx> for SqlText {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> SqlText {
        // SAFETY: the caller vouches for the argument's type; NULL is an Option's.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or_default()
    }
}

// SAFETY: returns the datum that the call returns, as pgrx's own types do.
unsafe impl BoxRet for SqlText {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        match self.into_datum() {
            // SAFETY: the datum is of the type that SQL was told of.
            Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
            None => fcinfo.return_null(),
        }
    }
}

pgrx::impl_sql_translatable!(SqlText, "TEXT");
