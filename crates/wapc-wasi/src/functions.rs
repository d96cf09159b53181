//! The functions of WASI: each takes a memory and numbers.

use wapc_host::engine::CallMonitor;
use wiggle::GuestMemory;

use crate::{
    NoReturn, Wasi, guarded,
    no_return::{ended, run},
};

/// Passes the list of all functions of WASI to the macro `$link`, so that an
/// engine can link them.
///
/// The macro is called twice, once per version of WASI. It gets the name of the
/// module that guests import from, the name of the module of this crate with the
/// functions, and their signatures:
///
/// ```
/// macro_rules! names {
///     (
///         ($names:ident) $import_module:literal $module:ident {
///             $($function:ident($($number:ident: $type:ty),*) -> $result:ty;)*
///         }
///     ) => {
///         $($names.push(concat!($import_module, ".", stringify!($function)));)*
///     };
/// }
///
/// let mut names = vec![];
/// wapc_wasi::for_each_function!(names!(names));
/// assert_eq!(names.len(), 46 + 45);
/// assert!(names.contains(&"wasi_unstable.fd_write"));
/// ```
#[macro_export]
macro_rules! for_each_function {
    ($link:ident!($($context:tt)*)) => {
        $crate::for_each_function! {
            @both $link ($($context)*) {
                args_get(argv: i32, bytes: i32) -> i32;
                args_sizes_get(count: i32, size: i32) -> i32;
                clock_res_get(clock: i32, resolution: i32) -> i32;
                clock_time_get(clock: i32, precision: i64, time: i32) -> i32;
                environ_get(names: i32, bytes: i32) -> i32;
                environ_sizes_get(count: i32, size: i32) -> i32;
                fd_advise(fd: i32, offset: i64, len: i64, advice: i32) -> i32;
                fd_allocate(fd: i32, offset: i64, len: i64) -> i32;
                fd_close(fd: i32) -> i32;
                fd_datasync(fd: i32) -> i32;
                fd_fdstat_get(fd: i32, stat: i32) -> i32;
                fd_fdstat_set_flags(fd: i32, flags: i32) -> i32;
                fd_fdstat_set_rights(fd: i32, base: i64, inheriting: i64) -> i32;
                fd_filestat_get(fd: i32, stat: i32) -> i32;
                fd_filestat_set_size(fd: i32, size: i64) -> i32;
                fd_filestat_set_times(fd: i32, access: i64, change: i64, flags: i32) -> i32;
                fd_pread(fd: i32, vectors: i32, count: i32, offset: i64, read: i32) -> i32;
                fd_prestat_dir_name(fd: i32, path: i32, len: i32) -> i32;
                fd_prestat_get(fd: i32, stat: i32) -> i32;
                fd_pwrite(fd: i32, vectors: i32, count: i32, offset: i64, written: i32) -> i32;
                fd_read(fd: i32, vectors: i32, count: i32, read: i32) -> i32;
                fd_readdir(fd: i32, buffer: i32, len: i32, cookie: i64, used: i32) -> i32;
                fd_renumber(fd: i32, to: i32) -> i32;
                fd_seek(fd: i32, offset: i64, whence: i32, position: i32) -> i32;
                fd_sync(fd: i32) -> i32;
                fd_tell(fd: i32, position: i32) -> i32;
                fd_write(fd: i32, vectors: i32, count: i32, written: i32) -> i32;
                path_create_directory(fd: i32, path: i32, len: i32) -> i32;
                path_filestat_get(fd: i32, flags: i32, path: i32, len: i32, stat: i32) -> i32;
                path_filestat_set_times(
                    fd: i32, flags: i32, path: i32, len: i32,
                    access: i64, change: i64, time_flags: i32
                ) -> i32;
                path_link(
                    fd: i32, flags: i32, path: i32, len: i32,
                    new_fd: i32, new_path: i32, new_len: i32
                ) -> i32;
                path_open(
                    fd: i32, lookup: i32, path: i32, len: i32, flags: i32,
                    base: i64, inheriting: i64, fd_flags: i32, opened: i32
                ) -> i32;
                path_readlink(
                    fd: i32, path: i32, len: i32, buffer: i32, buffer_len: i32, used: i32
                ) -> i32;
                path_remove_directory(fd: i32, path: i32, len: i32) -> i32;
                path_rename(
                    fd: i32, path: i32, len: i32, new_fd: i32, new_path: i32, new_len: i32
                ) -> i32;
                path_symlink(target: i32, target_len: i32, fd: i32, path: i32, len: i32) -> i32;
                path_unlink_file(fd: i32, path: i32, len: i32) -> i32;
                poll_oneoff(subscriptions: i32, events: i32, count: i32, happened: i32) -> i32;
                proc_exit(code: i32) -> ();
                proc_raise(signal: i32) -> i32;
                random_get(buffer: i32, len: i32) -> i32;
                sched_yield() -> i32;
                sock_recv(
                    fd: i32, vectors: i32, count: i32, flags: i32, read: i32, read_flags: i32
                ) -> i32;
                sock_send(fd: i32, vectors: i32, count: i32, flags: i32, written: i32) -> i32;
                sock_shutdown(fd: i32, how: i32) -> i32;
            }
        }
    };
    (@both $link:ident ($($context:tt)*) { $($both:tt)* }) => {
        $link! {
            ($($context)*) "wasi_snapshot_preview1" preview1 {
                $($both)*
                sock_accept(fd: i32, flags: i32, accepted: i32) -> i32;
            }
        }
        $link! {
            ($($context)*) "wasi_unstable" unstable { $($both)* }
        }
    };
}

/// Passes the functions that may wait, or take long, to the macro `$link`, like
/// [`for_each_function`]: the module that guests import from, the module of this crate
/// with the async forms, and the signatures. An engine that can suspend its guests
/// awaits these in async calls.
///
/// ```
/// macro_rules! count {
///     (() $import_module:literal $module:ident {
///         $($function:ident($($number:ident: $type:ty),*) -> $result:ty;)*
///     }) => {
///         assert_eq!([$(stringify!($function)),*].len(), 8);
///     };
/// }
/// wapc_wasi::for_each_waiting_function!(count!());
/// ```
#[macro_export]
macro_rules! for_each_waiting_function {
    ($link:ident!($($context:tt)*)) => {
        $crate::for_each_waiting_function! {
            @both $link ($($context)*) {
                fd_pread(fd: i32, vectors: i32, count: i32, offset: i64, read: i32) -> i32;
                fd_pwrite(fd: i32, vectors: i32, count: i32, offset: i64, written: i32) -> i32;
                fd_read(fd: i32, vectors: i32, count: i32, read: i32) -> i32;
                fd_readdir(fd: i32, buffer: i32, len: i32, cookie: i64, used: i32) -> i32;
                fd_write(fd: i32, vectors: i32, count: i32, written: i32) -> i32;
                poll_oneoff(subscriptions: i32, events: i32, count: i32, happened: i32) -> i32;
                random_get(buffer: i32, len: i32) -> i32;
                sched_yield() -> i32;
            }
        }
    };
    (@both $link:ident ($($context:tt)*) { $($both:tt)* }) => {
        $link! { ($($context)*) "wasi_snapshot_preview1" preview1_async { $($both)* } }
        $link! { ($($context)*) "wasi_unstable" unstable_async { $($both)* } }
    };
}

macro_rules! define {
    (
        () $import_module:literal $module:ident {
            $($function:ident($($number:ident: $type:ty),*) -> $result:ty;)*
        }
    ) => {
        #[doc = concat!("The functions of `", $import_module, "`.")]
        ///
        /// Each takes the guest's whole memory and the numbers that the guest
        /// passed, and returns the guest's result: an errno.
        pub mod $module {
            #![allow(clippy::too_many_arguments, reason = "the signatures are WASI's")]

            use super::*;

            $(
                #[doc = concat!("`", $import_module, ".", stringify!($function), "`.")]
                ///
                /// # Errors
                ///
                /// [`NoReturn`] if the guest's call must end.
                pub fn $function(
                    wasi: &mut Wasi,
                    memory: &mut [u8],
                    $($number: $type),*
                ) -> Result<$result, NoReturn> {
                    wasi.wait.set_awaits(false);
                    let context = &mut wasi.context;
                    let mut function = || {
                        let mut memory = GuestMemory::Unshared(memory);
                        run(guarded::$module::$function(context, &mut memory, $($number),*))
                    };
                    match &wasi.monitor {
                        Some(monitor) => monitor.run(stringify!($function), function)?,
                        None => function(),
                    }
                }
            )*
        }
    };
}

for_each_function!(define!());

macro_rules! define_async {
    (
        () $import_module:literal $module:ident {
            $($function:ident($($number:ident: $type:ty),*) -> $result:ty;)*
        }
    ) => {
        #[doc = concat!("Functions of `", $import_module, "` that may wait, or take long, as futures.")]
        ///
        /// In an async call a future of these is pending while the function waits, and
        /// now and then while it works. It ends when its call must end. In a blocking
        /// call, and in a context that was made without a guest's state, it waits on
        /// its thread and is ready at the first poll.
        pub mod $module {
            use super::*;

            $(
                #[doc = concat!("`", $import_module, ".", stringify!($function), "`.")]
                ///
                /// # Errors
                ///
                /// [`NoReturn`] if the guest's call must end.
                pub async fn $function(
                    wasi: &mut Wasi,
                    memory: &mut [u8],
                    $($number: $type),*
                ) -> Result<$result, NoReturn> {
                    let monitor = wasi.monitor.clone();
                    let awaits = monitor.as_ref().is_some_and(CallMonitor::may_await);
                    wasi.wait.set_awaits(awaits);
                    let mut memory = GuestMemory::Unshared(memory);
                    let context = &mut wasi.context;
                    let function = async {
                        ended(functions_of!($module $function)(context, &mut memory, $($number),*).await)
                    };
                    match monitor {
                        Some(monitor) => {
                            monitor.run_async(stringify!($function), function).await?
                        }
                        None => function.await,
                    }
                }
            )*
        }
    };
}

macro_rules! functions_of {
    (preview1_async $function:ident) => {
        guarded::preview1::$function
    };
    (unstable_async $function:ident) => {
        guarded::unstable::$function
    };
}

for_each_waiting_function!(define_async!());
