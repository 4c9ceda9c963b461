//! The library `aadauth_network`, which is beside this one and is loaded by the first worker that needs it.
//!
//! Its functions are described where they are defined, in crates/aadauth-network.

use std::ffi::{CStr, OsStr, c_void};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::AtomicBool;

use entra_api::call::{Ask, Close, FetchKeys, Open, Receive};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use once_cell::sync::OnceCell;
use pgrx::pg_sys;

#[derive(Clone, Copy)]
struct Functions {
    open: Open,
    ask: Ask,
    close: Close,
    fetch_keys: FetchKeys,
}

/// Takes each reply; returns whether to go on.
pub type Replies<'a> = &'a mut dyn FnMut(&[u8]) -> bool;

/// A directory that `aadauth_network` asks. Any number of threads may use it at once.
pub struct Directory {
    functions: Functions,
    directory: NonNull<c_void>,
}

// SAFETY: it points to an entra_client::Directory, which is Send and Sync, as crates/aadauth-network makes sure.
unsafe impl Send for Directory {}
// SAFETY: as above.
unsafe impl Sync for Directory {}

impl Directory {
    /// Settings are JSON. `None` after a reply, or without one if the library has panicked.
    ///
    /// # Errors
    /// The library cannot be loaded.
    pub fn open(settings: &[u8], replies: Replies<'_>) -> Result<Option<Directory>, String> {
        let functions = functions()?;
        let directory = call(replies, |receive, context| {
            // SAFETY: the function has this type in every library with its name; the JSON and the context outlive the call.
            unsafe { (functions.open)(settings.as_ptr(), settings.len(), receive, context) }
        });
        Ok(
            NonNull::new(directory.cast_mut()).map(|directory| Directory {
                functions,
                directory,
            }),
        )
    }

    /// The question is JSON. Without a reply, the library has panicked.
    pub fn ask(&self, question: &[u8], stop: Option<&AtomicBool>, replies: Replies<'_>) {
        let stop = stop.map_or(ptr::null(), ptr::from_ref);
        call(replies, |receive, context| {
            // SAFETY: as in `open`, which returned the directory; it is closed when this is dropped.
            unsafe {
                (self.functions.ask)(
                    self.directory.as_ptr(),
                    question.as_ptr(),
                    question.len(),
                    stop,
                    receive,
                    context,
                );
            }
        });
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: `open` returned it, and it is not used again.
        unsafe { (self.functions.close)(self.directory.as_ptr()) }
    }
}

/// Fetches signing keys; question and reply are JSON. May return later than the reply comes.
///
/// # Errors
/// The library cannot be loaded.
pub fn fetch_keys(question: &[u8], replies: Replies<'_>) -> Result<(), String> {
    let functions = functions()?;
    call(replies, |receive, context| {
        // SAFETY: as in `Directory::open`.
        unsafe { (functions.fetch_keys)(question.as_ptr(), question.len(), receive, context) }
    });
    Ok(())
}

/// Loads the library, unless that has been done.
fn functions() -> Result<Functions, String> {
    static LOADED: OnceCell<Functions> = OnceCell::new();
    // SAFETY: set before any of our code runs in the process, and not changed again (bgworker.c).
    if unsafe { pg_sys::MyBgworkerEntry }.is_null() {
        return Err("only background workers load the library aadauth_network".to_owned());
    }
    let path = own_path().with_file_name("aadauth_network.so");
    // Otherwise it would be looked for in the directories of the system.
    if !path.is_absolute() {
        return Err("the directory of the library aadauth is not known".to_owned());
    }
    let functions = LOADED.get_or_try_init(|| load(&path));
    functions
        .copied()
        .map_err(|error| format!("the library {path:?} cannot be used: {error}"))
}

/// Where the server has loaded this library from, be it a directory of dynamic_library_path.
fn own_path() -> PathBuf {
    let mut found = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: dladdr fills what it is given if it finds the library that has this function, and zeros are valid
    // otherwise; the name is NUL-terminated, and lasts as long as the library is loaded (dladdr(3)).
    unsafe {
        libc::dladdr(
            (own_path as fn() -> PathBuf) as *const c_void,
            found.as_mut_ptr(),
        );
        let name = found.assume_init().dli_fname;
        match name.is_null() {
            true => PathBuf::new(),
            false => OsStr::from_bytes(CStr::from_ptr(name).to_bytes()).into(),
        }
    }
}

fn load(path: &Path) -> Result<Functions, libloading::Error> {
    // SAFETY: its initializers are those of the Rust and C libraries in it. It stays loaded, since its threads may outlive
    // every use; crates/aadauth-network makes sure that each function has this type.
    unsafe {
        let library = Library::open(Some(path), RTLD_NOW | RTLD_LOCAL)?;
        let functions = Functions {
            open: *library.get::<Open>(b"aadauth_network_1_open\0")?,
            ask: *library.get::<Ask>(b"aadauth_network_1_ask\0")?,
            close: *library.get::<Close>(b"aadauth_network_1_close\0")?,
            fetch_keys: *library.get::<FetchKeys>(b"aadauth_network_1_fetch_keys\0")?,
        };
        std::mem::forget(library);
        Ok(functions)
    }
}

/// Calls a function that hands its replies to a function and a context.
fn call<T>(mut replies: Replies<'_>, function: impl FnOnce(Receive, *mut c_void) -> T) -> T {
    function(receive, ptr::from_mut(&mut replies).cast())
}

extern "C" fn receive(context: *mut c_void, json: *const u8, length: usize) -> bool {
    // SAFETY: `call` made the context, and its closure has not returned.
    let replies = unsafe { &mut *context.cast::<Replies<'_>>() };
    // SAFETY: it has that many bytes until this returns.
    let json = unsafe { slice::from_raw_parts(json, length) };
    catch_unwind(AssertUnwindSafe(|| replies(json))).unwrap_or(false)
}
