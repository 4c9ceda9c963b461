//! The C library: signals, loaded modules, sockets, syslog.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{socket_acceptconn, socket_domain};
use rustix::net::{AddressFamily, SocketAddrAny, getsockname};

/// The files that are looked at for a listening socket: PgBouncer opens its own first.
const FILES: c_int = 1_024;

/// Calls `work` with all signals blocked. A thread that it starts keeps them blocked.
pub fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: writes the whole set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: `all` is initialized by now; the set before is written on success, which is certain: SIG_SETMASK is
    // valid.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    let result = work();
    // SAFETY: `before` is initialized by the call before.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    result
}

/// Keeps the PAM modules that are loaded now: those of our service, and those of `/etc/pam.d/other`, which libpam opens
/// and closes for each login otherwise.
pub fn keep_pam_modules_loaded() {
    let mut modules: BTreeSet<CString> = BTreeSet::new();
    // SAFETY: the callback gets the address of `modules`, which nothing else refers to during the call.
    unsafe { libc::dl_iterate_phdr(Some(collect_pam_module), (&raw mut modules).cast()) };
    for module in &modules {
        let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
        // SAFETY: a NUL-terminated path. Nothing is loaded, so no constructor runs; what is loaded already stays. The
        // handle is kept on purpose.
        unsafe { libc::dlopen(module.as_ptr(), flags) };
    }
}

unsafe extern "C" fn collect_pam_module(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    modules: *mut c_void,
) -> c_int {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: what `keep_pam_modules_loaded` gave, which uses it only afterwards.
        let modules = unsafe { &mut *modules.cast::<BTreeSet<CString>>() };
        // SAFETY: the dynamic linker's description of a loaded object, for the time of this call.
        let name = unsafe { (*info).dlpi_name };
        if name.is_null() {
            return;
        }
        // SAFETY: NUL-terminated (dl_iterate_phdr(3)).
        let name = unsafe { CStr::from_ptr(name) };
        if is_pam_module(Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()))) {
            modules.insert(name.to_owned());
        }
    }));
    0
}

/// Whether a file is in a folder of PAM modules, such as /lib/x86_64-linux-gnu/security.
fn is_pam_module(file: &Path) -> bool {
    file.parent()
        .is_some_and(|folder| folder.ends_with("security"))
        && file
            .file_name()
            .is_some_and(|name| name.as_bytes().starts_with(b"pam_"))
}

/// A Unix socket that this process listens on. It belongs to PgBouncer, which may close it at any time.
pub struct ListeningSocket {
    number: c_int,
    pub address: SocketAddrAny,
}

impl ListeningSocket {
    pub fn find() -> Option<ListeningSocket> {
        (0..FILES).find_map(|number| {
            let file = file(number);
            let listens = socket_acceptconn(file) == Ok(true)
                && socket_domain(file) == Ok(AddressFamily::UNIX);
            let address = listens.then(|| getsockname(file).ok()).flatten()?;
            Some(ListeningSocket { number, address })
        })
    }

    /// Whether somebody has connected and PgBouncer has not accepted it yet.
    pub fn has_waiting_connection(&self) -> bool {
        let file = file(self.number);
        let mut files = [PollFd::from_borrowed_fd(file, PollFlags::IN)];
        socket_acceptconn(file) == Ok(true)
            && poll(&mut files, Some(&Timespec::default())).is_ok_and(|count| count > 0)
            && files.iter().all(|file| file.revents() == PollFlags::IN)
    }
}

/// A file of this process, by its number, for as long as a call takes.
fn file<'a>(number: c_int) -> BorrowedFd<'a> {
    // SAFETY: the number is not -1. It may be of no file, or of another one by the time of a call: then the calls made
    // here fail or describe that one. Nothing is read from the file, and nothing closes it.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Ends a system call that the main thread waits in, by a signal that does nothing. It is sent only if nobody else in the
/// process has a use for it.
pub fn interrupt_main_thread() {
    static IS_OURS: OnceLock<bool> = OnceLock::new();
    let signal = libc::SIGRTMAX();
    if *IS_OURS.get_or_init(|| claim(signal)) {
        let process = libc::c_long::from(std::process::id());
        // SAFETY: two ids, that of the main thread being the process's, and a signal with a handler that does nothing.
        unsafe { libc::syscall(libc::SYS_tgkill, process, process, signal) };
    }
}

/// Gives a signal a handler that does nothing, if it has none. The module is never unloaded, so the handler stays valid.
fn claim(signal: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only reads the signal's action, into memory for one.
    let read = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeros are a valid action, whether or not it was overwritten.
    let mut action = unsafe { action.assume_init() };
    if read != 0 || action.sa_sigaction != libc::SIG_DFL {
        return false;
    }
    action.sa_sigaction = do_nothing as extern "C" fn(c_int) as libc::sighandler_t;
    // Without SA_RESTART: the call that waits must end.
    action.sa_flags = 0;
    // SAFETY: a complete action whose handler takes one argument, as without SA_SIGINFO.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) == 0 }
}

extern "C" fn do_nothing(_signal: c_int) {}

/// Writes a line to syslog. It waits for as long as nobody reads a full log.
pub fn syslog(priority: i32, text: &str) {
    let Ok(text) = CString::new(format!("pam_aadauth: {text}")) else {
        return;
    };
    // SAFETY: the format takes one NUL-terminated string.
    unsafe { libc::syslog(priority | libc::LOG_AUTHPRIV, c"%s".as_ptr(), text.as_ptr()) };
}
