//! Tables in shared memory that are too large, or have too many parts, for a [`pgrx::PgLwLock`]: they are initialized
//! in place. Their locks are in `crate::shared::shmem`.

use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use pgrx::pg_sys;
use pgrx::{PGRXSharedMemory, PgSharedMemoryInitialization};

/// A table that begins as zeros and is initialized in place: a [`pgrx::PgLwLock`] would move it through the stack, for
/// which it is too large.
pub struct Zeroed<T> {
    name: &'static CStr,
    place: AtomicPtr<T>,
}

/// # Safety
/// All zeros must be a valid value.
pub unsafe trait BeginsAsZeros: PGRXSharedMemory {
    /// Initializes what cannot remain zero.
    fn complete(&mut self) {}
}

impl<T> Zeroed<T> {
    pub const fn new(name: &'static CStr) -> Zeroed<T> {
        Zeroed {
            name,
            place: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// # Panics
    /// If the server has not created its shared memory.
    pub fn place(&self) -> *mut T {
        let place = self.place.load(Ordering::Relaxed);
        assert!(!place.is_null(), "there is no shared memory");
        place
    }
}

impl<T: BeginsAsZeros> PgSharedMemoryInitialization for Zeroed<T> {
    type Value = ();

    unsafe fn on_shmem_request(&'static self) {
        // SAFETY: called in shmem_request_hook, as the trait demands.
        unsafe { pg_sys::RequestAddinShmemSpace(size_of::<T>()) };
    }

    unsafe fn on_shmem_startup(&'static self, _: ()) {
        let mut found = false;
        // SAFETY: called in shmem_startup_hook, in the postmaster, which is the only process then: where
        // processes are forked, no other one runs that hook. ShmemInitStruct raises an ERROR or returns that much
        // memory, aligned to a cache line; zeros are a valid T.
        unsafe {
            let place = pg_sys::ShmemInitStruct(self.name.as_ptr(), size_of::<T>(), &mut found);
            if !found {
                ptr::write_bytes(place.cast::<u8>(), 0, size_of::<T>());
                (*place.cast::<T>()).complete();
            }
            self.place.store(place.cast(), Ordering::Relaxed);
        }
    }
}

/// One value for each process that may have a client, under its number.
pub struct PerProcess<T> {
    name: &'static CStr,
    first: AtomicPtr<T>,
}

impl<T> PerProcess<T> {
    pub const fn new(name: &'static CStr) -> PerProcess<T> {
        PerProcess {
            name,
            first: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The number of backends: the server numbers them before its other processes (proc.c,
    /// InitProcGlobal). The number is fixed before shared memory is created (postinit.c,
    /// InitializeMaxBackends).
    fn count() -> usize {
        // SAFETY: a plain read of a number that no longer changes.
        usize::try_from(unsafe { pg_sys::MaxBackends }).unwrap_or_default()
    }

    /// # Panics
    /// If the server has not created its shared memory.
    pub fn places(&self) -> *mut [T] {
        let first = self.first.load(Ordering::Relaxed);
        assert!(!first.is_null(), "there is no shared memory");
        ptr::slice_from_raw_parts_mut(first, Self::count())
    }
}

impl PerProcess<AtomicU8> {
    /// The value of the process with this number; `None` if there is no such process.
    pub fn atomic(&self, number: i32) -> Option<&'static AtomicU8> {
        let first = self.first.load(Ordering::Relaxed);
        let index = usize::try_from(number).ok()?;
        // SAFETY: the memory has that many, all filled when the server started, and outlives the
        // process; atomics are only ever shared.
        (!first.is_null() && index < Self::count()).then(|| unsafe { &*first.add(index) })
    }
}

/// The value of a process that has set none.
pub trait Vacant: PGRXSharedMemory {
    fn vacant() -> Self;
}

impl Vacant for AtomicU8 {
    fn vacant() -> AtomicU8 {
        AtomicU8::new(0)
    }
}

impl<T: Vacant> PgSharedMemoryInitialization for PerProcess<T> {
    type Value = ();

    unsafe fn on_shmem_request(&'static self) {
        // SAFETY: called in shmem_request_hook, as the trait demands.
        unsafe { pg_sys::RequestAddinShmemSpace(size_of::<T>() * Self::count()) };
    }

    unsafe fn on_shmem_startup(&'static self, _: ()) {
        let mut found = false;
        // SAFETY: as for Zeroed; each place is written before any process reads it.
        unsafe {
            let size = size_of::<T>() * Self::count();
            let first = pg_sys::ShmemInitStruct(self.name.as_ptr(), size, &mut found).cast::<T>();
            if !found {
                (0..Self::count()).for_each(|index| first.add(index).write(T::vacant()));
            }
            self.first.store(first, Ordering::Relaxed);
        }
    }
}
