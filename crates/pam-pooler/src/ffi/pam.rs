//! A login as libpam hands it to a module.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::net::IpAddr;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::ptr;

use zeroize::{Zeroize, Zeroizing};

use crate::settings::{self, Wake};
use crate::{log, wake};

// Values of Linux-PAM's _pam_types.h and pam_modules.h.
pub const PAM_SYSTEM_ERR: c_int = 4;
const PAM_SUCCESS: c_int = 0;
const PAM_USER: c_int = 2;
const PAM_RHOST: c_int = 4;
const PAM_CONV: c_int = 5;
const PAM_PROMPT_ECHO_OFF: c_int = 1;
const PAM_ERROR_MSG: c_int = 3;
const PAM_DATA_REPLACE: c_int = 0x2000_0000;

/// libpam's `pam_handle_t`.
#[repr(C)]
pub struct Handle {
    opaque: [u8; 0],
}

#[repr(C)]
struct Message {
    style: c_int,
    text: *const c_char,
}

#[repr(C)]
struct Response {
    text: *mut c_char,
    code: c_int,
}

/// `pam_conv`: how the application is asked.
#[repr(C)]
struct Conversation {
    call: Option<
        unsafe extern "C" fn(c_int, *mut *const Message, *mut *mut Response, *mut c_void) -> c_int,
    >,
    data: *mut c_void,
}

type Cleanup = unsafe extern "C" fn(*mut Handle, *mut c_void, c_int);

unsafe extern "C" {
    fn pam_get_item(handle: *const Handle, item: c_int, value: *mut *const c_void) -> c_int;
    fn pam_set_item(handle: *mut Handle, item: c_int, value: *const c_void) -> c_int;
    fn pam_set_data(
        handle: *mut Handle,
        name: *const c_char,
        data: *mut c_void,
        cleanup: Option<Cleanup>,
    ) -> c_int;
    fn pam_get_data(handle: *const Handle, name: *const c_char, data: *mut *const c_void) -> c_int;
}

/// What the handle remembers: the verdict, and that PgBouncer is to be woken up. Only their addresses count.
const VERDICT: &CStr = c"aadauth_verdict";
const WAKE: &CStr = c"aadauth_wake";
static ACCEPTED: u8 = 1;
static REFUSED: u8 = 2;
static SOCKET: u8 = 3;
static SOCKET_AND_SIGNAL: u8 = 4;

/// One client, for as long as a call of libpam lasts.
pub struct Client {
    handle: *mut Handle,
    configuration: PathBuf,
}

impl Client {
    /// # Safety
    /// `handle` is libpam's, and `arguments` an array of `count` NUL-terminated strings; both outlive the client, which
    /// stays in this thread.
    ///
    /// # Errors
    /// An argument is unknown: `PAM_SYSTEM_ERR`.
    pub unsafe fn new(
        handle: *mut Handle,
        count: c_int,
        arguments: *const *const c_char,
    ) -> Result<Client, c_int> {
        let mut configuration = PathBuf::from(settings::FILE);
        for index in 0..usize::try_from(count).unwrap_or_default() {
            // SAFETY: `index` is below `count`, the length of the array.
            let argument = unsafe { *arguments.add(index) };
            // SAFETY: an element of the array is a NUL-terminated string, which outlives this statement.
            let argument = unsafe { CStr::from_ptr(argument) };
            match argument
                .to_str()
                .ok()
                .and_then(|argument| argument.strip_prefix("conf="))
            {
                Some(path) => configuration = PathBuf::from(path),
                None => {
                    log::warning("the only argument of the module is conf=PATH");
                    return Err(PAM_SYSTEM_ERR);
                }
            }
        }
        Ok(Client {
            handle,
            configuration,
        })
    }

    pub fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// The role's name, in the bytes that the client sent.
    pub fn role(&self) -> Vec<u8> {
        self.text(PAM_USER).unwrap_or_default().to_vec()
    }

    /// The client's address, as PgBouncer has it.
    pub fn address(&self) -> String {
        let address = self.text(PAM_RHOST).unwrap_or_default();
        String::from_utf8_lossy(address).into_owned()
    }

    /// Removes an address that is none, such as `unix`: libpam has a name server asked for it, twice in each login
    /// (`_resolve_addr` in libaudit's audit_logging.c), and PgBouncer has one thread for all logins.
    pub fn forget_host_name(&mut self) {
        if self.address().parse::<IpAddr>().is_err() {
            // SAFETY: libpam's handle, in a call of libpam's, and nobody refers to the item: `self` is borrowed mutably.
            // NULL removes it.
            let _ = unsafe { pam_set_item(self.handle, PAM_RHOST, ptr::null()) };
        }
    }

    /// Asks PgBouncer for the client's password, and wipes PgBouncer's copy for us.
    pub fn credential(&self) -> Option<Zeroizing<Vec<u8>>> {
        let answer = self.converse(PAM_PROMPT_ECHO_OFF, c"Password: ")?;
        if answer.is_null() {
            return None;
        }
        // SAFETY: the conversation has returned a NUL-terminated string, which is ours (pam_conv(3)).
        let length = unsafe { libc::strlen(answer) };
        // SAFETY: these bytes were just counted, nobody else refers to them, and the NUL is left as it is.
        let bytes = unsafe { std::slice::from_raw_parts_mut(answer.cast::<u8>(), length) };
        let credential = Zeroizing::new(bytes.to_vec());
        bytes.zeroize();
        // SAFETY: allocated by the conversation with malloc, as pam_conv(3) requires, and not used again.
        unsafe { libc::free(answer.cast()) };
        Some(credential)
    }

    /// Writes a line to PgBouncer's log (`pam_conversation` in its pam.c).
    pub fn report(&self, line: &str) {
        let Ok(line) = CString::new(line) else { return };
        if let Some(answer) = self.converse(PAM_ERROR_MSG, &line) {
            // SAFETY: NULL, or ours and allocated with malloc, as pam_conv(3) requires.
            unsafe { libc::free(answer.cast()) };
        }
    }

    /// Notes in the handle whether the client was accepted.
    ///
    /// # Errors
    /// libpam's code, if it has no memory.
    pub fn remember(&self, accepted: bool) -> Result<(), c_int> {
        let verdict = if accepted { &ACCEPTED } else { &REFUSED };
        self.set(VERDICT, verdict, None)
    }

    pub fn was_accepted(&self) -> bool {
        let mut data: *const c_void = ptr::null();
        // SAFETY: libpam's handle; the name is NUL-terminated; `data` is written only on success.
        let code = unsafe { pam_get_data(self.handle, VERDICT.as_ptr(), &raw mut data) };
        code == PAM_SUCCESS && ptr::eq(data.cast(), &raw const ACCEPTED)
    }

    /// Has PgBouncer woken up when it ends this login.
    pub fn set_wake(&self, wake: Wake) {
        let means = match wake {
            Wake::Off => return,
            Wake::Socket => &SOCKET,
            Wake::SocketAndSignal => &SOCKET_AND_SIGNAL,
        };
        // Without it the login only takes longer.
        let _ = self.set(WAKE, means, Some(login_ended));
    }

    fn set(&self, name: &CStr, data: &'static u8, cleanup: Option<Cleanup>) -> Result<(), c_int> {
        let data = ptr::from_ref(data).cast_mut().cast();
        // SAFETY: libpam's handle, in a call of libpam's; it copies the name. The data is static and never written:
        // only its address is compared.
        match unsafe { pam_set_data(self.handle, name.as_ptr(), data, cleanup) } {
            PAM_SUCCESS => Ok(()),
            code => Err(code),
        }
    }

    fn text(&self, item: c_int) -> Option<&[u8]> {
        let text: *const c_char = self.item(item)?.cast();
        // SAFETY: these items are NUL-terminated strings (pam_get_item(3)), and nobody sets them while `self` is borrowed.
        Some(unsafe { CStr::from_ptr(text) }.to_bytes())
    }

    fn item(&self, item: c_int) -> Option<*const c_void> {
        let mut value: *const c_void = ptr::null();
        // SAFETY: libpam's handle; `value` is written only on success.
        let code = unsafe { pam_get_item(self.handle, item, &raw mut value) };
        (code == PAM_SUCCESS && !value.is_null()).then_some(value)
    }

    /// Says something to PgBouncer; its answer, which may be NULL and must be freed.
    fn converse(&self, style: c_int, text: &CStr) -> Option<*mut c_char> {
        let conversation: *const Conversation = self.item(PAM_CONV)?.cast();
        // SAFETY: this item is a `pam_conv`, which libpam keeps until the handle ends.
        let conversation = unsafe { &*conversation };
        let call = conversation.call?;
        let message = Message {
            style,
            text: text.as_ptr(),
        };
        let mut messages: *const Message = &raw const message;
        let mut responses: *mut Response = ptr::null_mut();
        // SAFETY: one message, in an array of one pointer, as pam_conv(3) has it; all of it outlives the call, and the
        // data is the application's own.
        let code = unsafe { call(1, &raw mut messages, &raw mut responses, conversation.data) };
        if code != PAM_SUCCESS || responses.is_null() {
            return None;
        }
        // SAFETY: on success there is an array of one response, which is ours.
        let answer = unsafe { (*responses).text };
        // SAFETY: allocated with malloc (pam_conv(3)), and not used again.
        unsafe { libc::free(responses.cast()) };
        Some(answer)
    }
}

/// libpam calls it in `pam_end`, the last moment before PgBouncer notes the outcome, and when the same is set again.
unsafe extern "C" fn login_ended(_handle: *mut Handle, data: *mut c_void, status: c_int) {
    if status & PAM_DATA_REPLACE == 0 {
        let signal = ptr::eq(data.cast_const().cast(), &raw const SOCKET_AND_SIGNAL);
        // A panic must not reach libpam; the login only takes longer.
        let _ = catch_unwind(|| wake::soon(signal));
    }
}
