//! The border to C: what a pointer must be before it is used, and what becomes of a panic.

use std::{
    any::Any,
    ffi::{CStr, CString, c_char, c_void},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    slice,
    sync::Arc,
};

/// Runs the body of a function that C calls. A panic would end the process there; it becomes what
/// `on_panic` makes of its text.
pub fn guard<R>(body: impl FnOnce() -> R, on_panic: impl FnOnce(String) -> R) -> R {
    // Unwind safety: what a call has left half done is an instance, which is dropped, or an `Arc`.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => value,
        Err(panic) => on_panic(panic_text(&*panic)),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("without a text"))
}

/// An argument that is not what the header asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum BadArgument {
    /// A null pointer.
    Null(&'static str),
    /// An address that no value of the type can have.
    Misaligned(&'static str),
    /// A length above what a program can have.
    TooLong(&'static str),
    /// Text that is not UTF-8.
    NotUtf8(&'static str),
    /// A value that is none of those that the header names.
    Unknown(&'static str),
}

impl fmt::Display for BadArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null(name) => write!(f, "the argument `{name}` is null"),
            Self::Misaligned(name) => write!(f, "the argument `{name}` is misaligned"),
            Self::TooLong(name) => write!(f, "the length of the argument `{name}` is too large"),
            Self::NotUtf8(name) => write!(f, "the argument `{name}` is not UTF-8"),
            Self::Unknown(name) => write!(f, "the argument `{name}` has a value that is unknown"),
        }
    }
}

impl std::error::Error for BadArgument {}

/// Returns the values at an address. None may be at any address, null included.
///
/// # Errors
///
/// [`BadArgument::Null`], [`BadArgument::Misaligned`], [`BadArgument::TooLong`].
///
/// # Safety
///
/// Where `data` is not null, `length` values can be read there while `'a` lasts, and nobody writes them.
pub unsafe fn slice<'a, T>(
    data: *const T,
    length: usize,
    name: &'static str,
) -> Result<&'a [T], BadArgument> {
    if length == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(BadArgument::Null(name));
    }
    if !data.is_aligned() {
        return Err(BadArgument::Misaligned(name));
    }
    if length > isize::MAX.unsigned_abs() / size_of::<T>().max(1) {
        return Err(BadArgument::TooLong(name));
    }
    // SAFETY: not null, aligned, not above `isize::MAX` bytes; the rest is the caller's promise.
    Ok(unsafe { slice::from_raw_parts(data, length) })
}

/// Returns the text at an address, which ends with a NUL.
///
/// # Errors
///
/// [`BadArgument::Null`], [`BadArgument::NotUtf8`].
///
/// # Safety
///
/// Where `text` is not null, it ends with a NUL, and nobody writes it while `'a` lasts.
pub unsafe fn text<'a>(text: *const c_char, name: &'static str) -> Result<&'a str, BadArgument> {
    if text.is_null() {
        return Err(BadArgument::Null(name));
    }
    // SAFETY: not null; the rest is the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| BadArgument::NotUtf8(name))
}

/// Returns text for C. NULs in it become spaces.
#[must_use]
pub fn c_string(text: impl Into<Vec<u8>>) -> CString {
    let mut bytes: Vec<u8> = text.into();
    for byte in &mut bytes {
        if *byte == 0 {
            *byte = b' ';
        }
    }
    CString::new(bytes).unwrap_or_default()
}

/// Writes to an address of the caller's, unless it is null.
///
/// # Safety
///
/// Where `place` is not null, a value can be written there.
pub unsafe fn write<T>(place: *mut T, value: T) {
    if !place.is_null() {
        // SAFETY: not null; the rest is the caller's promise. What was there is not dropped: it may be anything.
        unsafe { place.write(value) }
    }
}

/// Makes a handle: an address by which C holds a value. Calls share it ([`borrow`]), so that the value lives until the
/// last of them has returned, also if another thread [releases](release) the handle meanwhile.
#[must_use]
pub fn handle<T>(value: T) -> *mut T {
    Arc::into_raw(Arc::new(value)).cast_mut()
}

/// Returns the value of a handle; `None` for null.
///
/// # Safety
///
/// Where `handle` is not null, [`handle`] has returned it, and it has not been released.
pub unsafe fn borrow<T>(handle: *const T) -> Option<Arc<T>> {
    if handle.is_null() {
        return None;
    }
    // SAFETY: the address comes from `Arc::into_raw`, and the handle's own count is still there.
    unsafe {
        Arc::increment_strong_count(handle);
        Some(Arc::from_raw(handle))
    }
}

/// Gives a handle up. Null is none.
///
/// # Safety
///
/// The same as of [`borrow`], and the handle is not used any more.
pub unsafe fn release<T>(handle: *const T) {
    if !handle.is_null() {
        // SAFETY: the address comes from `Arc::into_raw`, and this is the handle's own count.
        drop(unsafe { Arc::from_raw(handle) });
    }
}

/// A pointer of the program's, which is handed back to its functions and to nothing else.
#[derive(Clone, Copy, Debug)]
pub struct UserPointer(pub *mut c_void);

// SAFETY: nothing here reads what it points to. The headers say on which threads it is handed back, and that the
// program has to make it fit for them.
unsafe impl Send for UserPointer {}
// SAFETY: as above.
unsafe impl Sync for UserPointer {}

/// A [`UserPointer`] with the function that frees it, which is called once.
#[derive(Debug)]
pub struct UserData {
    /// The pointer.
    pub pointer: UserPointer,
    free: Option<unsafe extern "C" fn(*mut c_void)>,
}

impl UserData {
    /// Takes a pointer over.
    ///
    /// # Safety
    ///
    /// `free`, where it is given, can be called with the pointer on any thread.
    #[must_use]
    pub const unsafe fn new(
        pointer: *mut c_void,
        free: Option<unsafe extern "C" fn(*mut c_void)>,
    ) -> Self {
        Self {
            pointer: UserPointer(pointer),
            free,
        }
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: promised to `new`; a value is dropped once.
            unsafe { free(self.pointer.0) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::c_void,
        ptr,
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use super::{BadArgument, UserData, borrow, c_string, guard, handle, release, slice, text};

    #[test]
    fn a_panic_becomes_a_value_with_its_text() {
        let of = |body: fn()| guard(|| (body(), String::new()).1, |text| text);
        assert_eq!(of(|| {}), "");
        assert_eq!(of(|| panic!("a text")), "panicked: a text");
        assert_eq!(of(|| panic!("a text of {}", 2)), "panicked: a text of 2");
        assert_eq!(of(|| std::panic::panic_any(5)), "panicked: without a text");
    }

    #[test]
    fn null_and_lengths_that_nothing_has_are_refused() {
        // SAFETY: null, and addresses with lengths that are refused before they are read.
        unsafe {
            assert_eq!(slice::<u8>(ptr::null(), 0, "x"), Ok(&[][..]));
            assert_eq!(
                slice::<u8>(ptr::null(), 1, "x"),
                Err(BadArgument::Null("x"))
            );
            let bytes = [1_u8, 2];
            assert_eq!(slice(bytes.as_ptr(), 2, "x"), Ok(&bytes[..]));
            assert_eq!(
                slice(bytes.as_ptr(), usize::MAX, "x"),
                Err(BadArgument::TooLong("x"))
            );
            let words = [1_u64];
            assert_eq!(
                slice(words.as_ptr(), usize::MAX / 4, "x"),
                Err(BadArgument::TooLong("x"))
            );
            assert_eq!(
                slice(words.as_ptr().byte_add(1), 1, "x"),
                Err(BadArgument::Misaligned("x"))
            );
            assert_eq!(text(ptr::null(), "x"), Err(BadArgument::Null("x")));
            assert_eq!(text(c"a".as_ptr(), "x"), Ok("a"));
            assert_eq!(text(c"\xff".as_ptr(), "x"), Err(BadArgument::NotUtf8("x")));
        }
        assert_eq!(c_string("a\0b").as_bytes(), b"a b");
    }

    #[test]
    fn a_value_lives_until_the_last_call_on_it_has_returned() {
        static FREED: AtomicUsize = AtomicUsize::new(0);
        unsafe extern "C" fn free(_: *mut c_void) {
            FREED.fetch_add(1, Relaxed);
        }
        // SAFETY: `free` reads nothing; the handle is used until it is released.
        unsafe {
            let handle = handle(UserData::new(ptr::null_mut(), Some(free)));
            let call = borrow(handle);
            assert!(call.is_some());
            release(handle);
            assert_eq!(FREED.load(Relaxed), 0);
            drop(call);
            assert_eq!(FREED.load(Relaxed), 1);
            assert!(borrow::<UserData>(ptr::null()).is_none());
            release::<UserData>(ptr::null());
        }
    }
}
