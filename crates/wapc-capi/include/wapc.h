// waPC guests on any engine: the library `libwapc`. Made of its source by cbindgen; do not edit.

#ifndef WAPC_H
#define WAPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The end of a function: `WAPC_STATUS_OK`, or the kind of its error. Numbers keep their meaning; new ones may come.
typedef enum {
  // No error.
  WAPC_STATUS_OK = 0,
  // The guest reported an error: `wapc_error_guest_message`. It keeps its state.
  WAPC_STATUS_GUEST = 1,
  // The guest crashed.
  WAPC_STATUS_TRAPPED = 2,
  // The guest left by WASI's `proc_exit`: `wapc_error_exit_code`.
  WAPC_STATUS_EXITED = 3,
  // The guest broke waPC's protocol.
  WAPC_STATUS_PROTOCOL = 4,
  // A function of the program's own (`wapc_options_add_function`) has ended the guest.
  WAPC_STATUS_FUNCTION = 5,
  // The guest exceeded a limit.
  WAPC_STATUS_LIMIT = 6,
  // The call's time was over.
  WAPC_STATUS_TIMED_OUT = 7,
  // The call was cancelled.
  WAPC_STATUS_CANCELLED = 8,
  // No instance was free in time.
  WAPC_STATUS_BUSY = 9,
  // The module is no guest, or no instance of it could be made.
  WAPC_STATUS_INIT = 10,
  // The probe of a swap refused the new code.
  WAPC_STATUS_PROBE = 11,
  // There is no code to roll back to.
  WAPC_STATUS_NO_PREVIOUS = 12,
  // A swap has taken effect, but calls on the old code did not end in time.
  WAPC_STATUS_NOT_DRAINED = 13,
  // The options need an interruption that the host was made without.
  WAPC_STATUS_NOT_INTERRUPTIBLE = 14,
  // The engine itself failed.
  WAPC_STATUS_ENGINE = 16,
  // A call would have waited for itself.
  WAPC_STATUS_REENTRANT = 17,
  // The request is larger than the guest may get.
  WAPC_STATUS_TOO_LARGE = 18,
  // An argument is null, too long or not UTF-8, or options cannot be read.
  WAPC_STATUS_INVALID_ARGUMENT = 32,
  // The caller's buffer is smaller than the response. The guest has been called.
  WAPC_STATUS_BUFFER_TOO_SMALL = 33,
  // The library itself failed.
  WAPC_STATUS_INTERNAL = 34,
} WapcStatus;

// The answer to a call of a guest, which a callback fills.
typedef struct WapcAnswer WapcAnswer;

// Cancels calls, from any thread.
typedef struct WapcCancel WapcCancel;

// An instance of new code, for `wapc_candidate_call`.
typedef struct WapcCandidate WapcCandidate;

// An error, with what is known of it.
typedef struct WapcError WapcError;

// A call of a function of the program's own, with the memory of the guest.
typedef struct WapcFunctionCall WapcFunctionCall;

// A guest that is called by operation name, and whose code can be replaced while it is called. Each function may be called
// on any thread.
typedef struct WapcHost WapcHost;

// The options of a host: its engine, limits, instances and WASI as JSON, the callback, and functions of the program's own.
// They may be used for several hosts, also at a time, but not while they are being set.
typedef struct WapcOptions WapcOptions;

// Options of one call. What is 0 or null is the host's.
typedef struct {
  // `sizeof(WapcCallOptions)`, by which a library knows which fields there are.
  size_t size;
  // The time that the call may take, in milliseconds.
  uint64_t timeout_ms;
  // The fuel that the call may use.
  uint64_t fuel;
  // Ends the call when it is cancelled.
  const WapcCancel *cancel;
  // A pointer for the callback.
  void *context;
  // The timeout includes the wait for an instance.
  bool timeout_includes_wait;
} WapcCallOptions;

// A response of the library's, which grows as needed. Begin with zeros, use it for any number of calls, one at a time, and
// free it at the end.
typedef struct {
  // The bytes.
  uint8_t *data;
  // Their number.
  size_t length;
  // The library's.
  size_t capacity;
} WapcBuffer;

// Reads a response in the guest's own memory, during its call. If the guest responds several times, it is called for each.
typedef void (*WapcReader)(void *user_data, const uint8_t *response, size_t length);

// Tries new code before a swap, on the thread of the swap. Returns whether the swap goes on.
typedef bool (*WapcProbe)(void *user_data, WapcCandidate *candidate);

// Counters of a host at one moment.
typedef struct {
  // The number of the code that new calls run: 1 at first, and one more after each swap and rollback.
  uint64_t generation;
  // The number of instances.
  uint64_t live;
  // The number of instances that no call uses.
  uint64_t idle;
  // The number of calls that wait for an instance.
  uint64_t waiting;
  // The number of calls that have reached a guest and ended.
  uint64_t calls;
  // The number of swaps and rollbacks.
  uint64_t swaps;
  // The time that guests have run in timed calls, in nanoseconds.
  uint64_t time_in_guest_ns;
} WapcStats;

// Bytes or UTF-8 text of the library's, which are valid until the function that gets them returns. Text has no NUL at its
// end.
typedef struct {
  // The first byte; not null, also where there is none.
  const uint8_t *data;
  // Their number.
  size_t length;
} WapcBytes;

// A call of a guest to its host. It is valid until the callback returns.
typedef struct {
  // The number of the host: `wapc_host_id`.
  uint64_t host_id;
  // The number of the guest's code.
  uint64_t generation;
  // The first of the three names.
  WapcBytes binding;
  // The second name.
  WapcBytes namespace_;
  // The third name.
  WapcBytes operation;
  // The payload.
  WapcBytes payload;
  // The context of the call that the guest serves, null without.
  void *context;
} WapcHostCall;

// Answers calls of guests. What it has written to `answer` is the answer if it returns true, and the text of an error for
// the guest if it returns false.
typedef bool (*WapcCallback)(void *user_data, const WapcHostCall *call, WapcAnswer *answer);

// Frees what a program has handed over with a function, once, when nothing uses it any more, on the thread where that is.
typedef void (*WapcFree)(void *user_data);

// The type of a number: `WAPC_I32`, `WAPC_I64`, `WAPC_F32` or `WAPC_F64`.
typedef uint32_t WapcType;

// A number of a function of the program's own. Which one it is says the function's type.
typedef union {
  // Of the type `WAPC_I32`.
  int32_t i32;
  // Of the type `WAPC_I64`.
  int64_t i64;
  // Of the type `WAPC_F32`.
  float f32;
  // Of the type `WAPC_F64`.
  double f64;
} WapcValue;

// A function that guests import. `results` has a place for each result, all zero. If it returns false, the guest's call
// ends with `WAPC_STATUS_FUNCTION` and the text of `wapc_function_fail`.
typedef bool (*WapcFunction)(void *user_data,
                             WapcFunctionCall *call,
                             const WapcValue *parameters,
                             WapcValue *results);

// Gets a log line of the level 1 (error) to 5 (trace), on the thread that writes it.
typedef void (*WapcLog)(void *user_data, uint32_t level, WapcBytes target, WapcBytes message);

// An integer of 32 bits.
#define WAPC_I32 0

// An integer of 64 bits.
#define WAPC_I64 1

// A float of 32 bits.
#define WAPC_F32 2

// A float of 64 bits.
#define WAPC_F64 3

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Appends bytes to an answer, or to the text of an error. Null with a length above 0 is ignored.
void wapc_answer_append(WapcAnswer *answer, const uint8_t *data, size_t length);

// Appends `length` bytes of zero to an answer and returns their address, to be written until the next use of the answer.
// Null if there is no memory for them.
uint8_t *wapc_answer_reserve(WapcAnswer *answer,
                             size_t length);

// Returns the guest's memory, and its length in `length`. The address is valid until the function returns, and no longer
// than until `wapc_function_grow_memory`.
uint8_t *wapc_function_memory(WapcFunctionCall *call,
                              size_t *length);

// Grows the guest's memory by pages of 64 KiB, within the host's limits. Returns whether it has grown.
bool wapc_function_grow_memory(WapcFunctionCall *call,
                               uint32_t pages);

// Returns the context of the call that the guest serves, null without.
void *wapc_function_context(const WapcFunctionCall *call);

// Sets the text of the error with which the function is about to fail.
void wapc_function_fail(WapcFunctionCall *call, const char *message);

// Returns a handle by which calls are cancelled (`WapcCallOptions::cancel`).
WapcCancel *wapc_cancel_new(void);

// Cancels the calls that have this handle, those that come as well.
void wapc_cancel(const WapcCancel *cancel);

// Frees a handle. Calls that have it are not affected. Null is none.
void wapc_cancel_free(WapcCancel *cancel);

// Calls an operation of the guest. Its response is in `response`. Options may be null. Returns
// `WAPC_STATUS_OK`, or the kind of the error; `error`, unless it is null, gets the rest, null for none.
WapcStatus wapc_host_call(const WapcHost *host,
                          const char *operation,
                          const uint8_t *payload,
                          size_t payload_length,
                          const WapcCallOptions *options,
                          WapcBuffer *response,
                          WapcError **error);

// Calls an operation as `wapc_host_call` does, with a buffer of the caller's. `length` gets the length of the response. If
// that is more than `capacity`, the call fails with `WAPC_STATUS_BUFFER_TOO_SMALL`, after the guest has been called.
WapcStatus wapc_host_call_into(const WapcHost *host,
                               const char *operation,
                               const uint8_t *payload,
                               size_t payload_length,
                               const WapcCallOptions *options,
                               uint8_t *buffer,
                               size_t capacity,
                               size_t *length,
                               WapcError **error);

// Calls an operation as `wapc_host_call` does, and has the response read in the guest's memory, without a copy. `reader`
// may have run also if the call fails, since a guest can fail after its response.
WapcStatus wapc_host_call_with(const WapcHost *host,
                               const char *operation,
                               const uint8_t *payload,
                               size_t payload_length,
                               const WapcCallOptions *options,
                               WapcReader reader,
                               void *user_data,
                               WapcError **error);

// Calls an operation of new code, in a probe.
WapcStatus wapc_candidate_call(WapcCandidate *candidate,
                               const char *operation,
                               const uint8_t *payload,
                               size_t payload_length,
                               WapcBuffer *response,
                               WapcError **error);

// Frees the bytes of a buffer, which is empty afterwards. Null is none.
void wapc_buffer_free(WapcBuffer *buffer);

// Returns the status of an error, `WAPC_STATUS_OK` for null.
WapcStatus wapc_error_status(const WapcError *error);

// Returns the text of an error with its causes, UTF-8 with a NUL at its end. It lives as long as the error. Null for null.
const char *wapc_error_message(const WapcError *error);

// Returns the text that the guest itself has given, null if it has given none: that of
// `WAPC_STATUS_GUEST`, and perhaps of a guest that crashed or exited afterwards. It lives as long as the error.
const char *wapc_error_guest_message(const WapcError *error);

// Returns the exit code of `WAPC_STATUS_EXITED`, 0 for other kinds.
int32_t wapc_error_exit_code(const WapcError *error);

// Frees an error. Null is none.
void wapc_error_free(WapcError *error);

// Returns the name of a status, such as `timed_out`, for labels. Null for a number that is none.
const char *wapc_status_name(uint32_t status);

// Returns the version of the library, such as `0.2.0`.
const char *wapc_version(void);

// Makes a host for a module (binary or text) and its first instance. Without options, null, it has the defaults. Returns
// null if that fails, with the error in `error` unless that is null. Freed by `wapc_host_free`.
WapcHost *wapc_host_new(const uint8_t *module,
                        size_t module_length,
                        const WapcOptions *options,
                        WapcError **error);

// Frees a host. Calls that run on it meanwhile end as usual. Null is none.
void wapc_host_free(WapcHost *host);

// Returns the number of a host, which is unique in the process. 0 for null.
uint64_t wapc_host_id(const WapcHost *host);

// Replaces the code of a host by that of a module. Calls go on meanwhile: on the old code until the new one is there, and
// each on one of them. After an error nothing has changed, but with `WAPC_STATUS_NOT_DRAINED`.
//
// Options are null for the engine and the settings that the host has, or else those of the new code; limits,
// instances and the callback remain the host's. `probe`, if it is not null, tries the new code before.
// `drain_ms`, if it is not 0, waits for calls on the old code.
WapcStatus wapc_host_replace(const WapcHost *host,
                             const uint8_t *module,
                             size_t module_length,
                             const WapcOptions *options,
                             WapcProbe probe,
                             void *user_data,
                             uint64_t drain_ms,
                             WapcError **error);

// Swaps back to the code before, which is not compiled again.
WapcStatus wapc_host_rollback(const WapcHost *host, WapcError **error);

// Writes the counters of a host to `stats`, zeros for null.
void wapc_host_stats(const WapcHost *host, WapcStats *stats);

// Returns how many calls and swaps of a host have failed with this status.
uint64_t wapc_host_errors(const WapcHost *host, uint32_t status);

// Returns the default options: the default engine and limits, one instance, no callback.
WapcOptions *wapc_options_new(void);

// Frees options. Hosts that were made with them are not affected. Null is none.
void wapc_options_free(WapcOptions *options);

// Sets options by a JSON object, in the place of all that an earlier one has set. What it does not name has its default:
//
// {
//   "engine": "wasmtime" | "wasmi",
//   "adapt": true,           // modules of other dialects (WASI commands, plugins) become guests
//   "interruption": "kill" | "time" | "fuel" | "time_and_fuel" | "off",  // with fresh instances "time"
//   "limits": { "timeout_ms": 10000, "start_timeout_ms": 10000, "fuel": null, "max_memory_bytes": …,
//     "max_total_memory_bytes": …, "max_memories": …, "max_table_elements": …, "max_tables": …,
//     "max_inbound_bytes": …, "max_outbound_bytes": …, "max_host_calls": …, "max_log_bytes": …, "max_open_files": … },
//   "instances": { "max": 1, "min_idle": 1, "idle_timeout_ms": 60000, "wait_limit_ms": 30000, "max_calls": null },
//   "wasi": { "args": [], "env": {}, "dirs": [{ "host": "/data", "guest": "/", "writable": false }],
//     "stdin": "text", "inherit_stdin": false, "inherit_stdout": false, "inherit_stderr": false }
// }
//
// A time of null is no limit. `max_calls` is the number of calls after which an instance is replaced.
WapcStatus wapc_options_set_json(WapcOptions *options,
                                 const char *json,
                                 WapcError **error);

// Sets what answers calls of guests. `user_data` is handed to each call, and to `free_user_data` (or null) when neither
// the options nor a host need it any more.
void wapc_options_set_callback(WapcOptions *options,
                               WapcCallback callback,
                               void *user_data,
                               WapcFree free_user_data);

// Adds a function that guests import as `module`.`name`, with at most ten parameters and ten results. `user_data` is as in
// `wapc_options_set_callback`, and freed if this fails, too.
WapcStatus wapc_options_add_function(WapcOptions *options,
                                     const char *module,
                                     const char *name,
                                     const WapcType *parameters,
                                     size_t parameter_count,
                                     const WapcType *results,
                                     size_t result_count,
                                     WapcFunction function,
                                     void *user_data,
                                     WapcFree free_user_data,
                                     WapcError **error);

// Has log lines up to `max_level`, 1 (error) to 5 (trace), written by `log`: those of guests with the target
// `wapc::guest`, and those of the library. It holds for the process. Returns false, and does nothing, if `log` is
// null or the process has a logger.
bool wapc_set_log(WapcLog log,
                  void *user_data,
                  uint32_t max_level);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* WAPC_H */
