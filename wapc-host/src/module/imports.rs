//! The functions that a host provides to guests: waPC's own, AssemblyScript's
//! and WASI's.

use super::types::{ExternType, ValueType};

/// Returns the type of the host function `module.name`, if there is one.
///
/// ```
/// use wapc_host::module::provided;
///
/// let host_call = provided("wapc", "__host_response_len").unwrap();
/// assert_eq!(host_call.to_string(), "a function () -> i32");
/// assert_eq!(provided("wapc", "no_such_function"), None);
/// ```
#[must_use]
pub fn provided(module: &str, name: &str) -> Option<ExternType> {
    let functions: &[(&str, &str)] = match module {
        "wapc" | "wasmbus" => WAPC_FUNCTIONS,
        "env" => ENV_FUNCTIONS,
        WASI_PREVIEW1 => WASI_FUNCTIONS,
        WASI_UNSTABLE if name == "sock_accept" => return None,
        WASI_UNSTABLE => WASI_FUNCTIONS,
        _ => return None,
    };
    functions
        .iter()
        .find(|(function, _)| *function == name)
        .map(|(_, types)| signature(types))
}

/// Reads the short form of the tables below: `ii>i` is `(i32, i32) -> i32`,
/// with `I` for `i64` and `F` for `f64`.
pub(super) fn signature(short: &str) -> ExternType {
    let types = |short: &str| {
        short
            .bytes()
            .map(|letter| match letter {
                b'I' => ValueType::I64,
                b'F' => ValueType::F64,
                _ => ValueType::I32,
            })
            .collect()
    };
    let (parameters, results) = short.split_once('>').unwrap_or((short, ""));
    ExternType::Function(types(parameters), types(results))
}

const WASI_PREVIEW1: &str = "wasi_snapshot_preview1";
const WASI_UNSTABLE: &str = "wasi_unstable";
pub(super) const WASI_MODULES: [&str; 2] = [WASI_PREVIEW1, WASI_UNSTABLE];

/// waPC's own functions, each a method of
/// [`ModuleState`](crate::ModuleState). Source:
/// <https://wapc.io/docs/spec/>. wasmCloud's actors import them from `wasmbus`.
const WAPC_FUNCTIONS: &[(&str, &str)] = &[
    ("__console_log", "ii"),
    ("__guest_error", "ii"),
    ("__guest_request", "ii"),
    ("__guest_response", "ii"),
    ("__host_call", "iiiiiiii>i"),
    ("__host_error", "i"),
    ("__host_error_len", ">i"),
    ("__host_response", "i"),
    ("__host_response_len", ">i"),
    // Of ours: see `wasi_memory`.
    ("__wasi_memory", "i>i"),
];

/// The functions that AssemblyScript's and Emscripten's compilers import. Sources:
/// <https://github.com/AssemblyScript/assemblyscript/tree/main/std/assembly/bindings>,
/// <https://emscripten.org/docs/tools_reference/settings_reference.html#memory-growth-geometric-step>.
const ENV_FUNCTIONS: &[(&str, &str)] = &[
    ("abort", "iiii"),
    ("console.debug", "i"),
    ("console.error", "i"),
    ("console.info", "i"),
    ("console.log", "i"),
    ("console.warn", "i"),
    ("emscripten_notify_memory_growth", "i"),
    ("seed", ">F"),
    ("trace", "iiFFFFF"),
];

/// WASI preview 1; `wasi_unstable` has the same without `sock_accept`.
/// Source: <https://github.com/WebAssembly/WASI/tree/wasi-0.1/preview1>.
const WASI_FUNCTIONS: &[(&str, &str)] = &[
    ("args_get", "ii>i"),
    ("args_sizes_get", "ii>i"),
    ("clock_res_get", "ii>i"),
    ("clock_time_get", "iIi>i"),
    ("environ_get", "ii>i"),
    ("environ_sizes_get", "ii>i"),
    ("fd_advise", "iIIi>i"),
    ("fd_allocate", "iII>i"),
    ("fd_close", "i>i"),
    ("fd_datasync", "i>i"),
    ("fd_fdstat_get", "ii>i"),
    ("fd_fdstat_set_flags", "ii>i"),
    ("fd_fdstat_set_rights", "iII>i"),
    ("fd_filestat_get", "ii>i"),
    ("fd_filestat_set_size", "iI>i"),
    ("fd_filestat_set_times", "iIIi>i"),
    ("fd_pread", "iiiIi>i"),
    ("fd_prestat_dir_name", "iii>i"),
    ("fd_prestat_get", "ii>i"),
    ("fd_pwrite", "iiiIi>i"),
    ("fd_read", "iiii>i"),
    ("fd_readdir", "iiiIi>i"),
    ("fd_renumber", "ii>i"),
    ("fd_seek", "iIii>i"),
    ("fd_sync", "i>i"),
    ("fd_tell", "ii>i"),
    ("fd_write", "iiii>i"),
    ("path_create_directory", "iii>i"),
    ("path_filestat_get", "iiiii>i"),
    ("path_filestat_set_times", "iiiiIIi>i"),
    ("path_link", "iiiiiii>i"),
    ("path_open", "iiiiiIIii>i"),
    ("path_readlink", "iiiiii>i"),
    ("path_remove_directory", "iii>i"),
    ("path_rename", "iiiiii>i"),
    ("path_symlink", "iiiii>i"),
    ("path_unlink_file", "iii>i"),
    ("poll_oneoff", "iiii>i"),
    ("proc_exit", "i"),
    ("proc_raise", "i>i"),
    ("random_get", "ii>i"),
    ("sched_yield", ">i"),
    ("sock_accept", "iii>i"),
    ("sock_recv", "iiiiii>i"),
    ("sock_send", "iiiii>i"),
    ("sock_shutdown", "ii>i"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_read_like_the_text_format() {
        assert_eq!(
            signature("iI>i").to_string(),
            "a function (i32, i64) -> i32"
        );
        assert_eq!(signature("").to_string(), "a function ()");
    }
}
