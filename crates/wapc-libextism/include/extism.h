// Extism's C API, version 1.41, as the library `libextism` of wapc-libextism has it. Made of its source by cbindgen; do
// not edit.

#ifndef EXTISM_H
#define EXTISM_H

#include <stdbool.h>
#include <stdint.h>

// A function of the host, to be declared.
#define EXTISM_FUNCTION(N) extern void N(ExtismCurrentPlugin*, const ExtismVal*, ExtismSize, ExtismVal*, ExtismSize, void*)
#define EXTISM_GO_FUNCTION(N) extern void N(void*, ExtismVal*, ExtismSize, ExtismVal*, ExtismSize, uintptr_t)

// The code of a call that has succeeded.
#define EXTISM_SUCCESS 0

// The type of a handle of the memory of blocks.
#define EXTISM_PTR ExtismValType_I64


// The type of a number of a function.
typedef enum {
  // An integer of 32 bits.
  ExtismValType_I32,
  // An integer of 64 bits; a handle is one.
  ExtismValType_I64,
  // A float of 32 bits.
  ExtismValType_F32,
  // A float of 64 bits.
  ExtismValType_F64,
  // A vector of 128 bits, which functions cannot have.
  ExtismValType_V128,
  // A reference to a function, which functions cannot have.
  ExtismValType_FuncRef,
  // A reference to data, which functions cannot have.
  ExtismValType_ExternRef,
} ExtismValType;

// Cancels the calls of a plugin.
typedef struct ExtismCancelHandle ExtismCancelHandle;

// A plugin that has been compiled, of which any number can be made.
typedef struct ExtismCompiledPlugin ExtismCompiledPlugin;

// The plugin whose call a function of the host answers. It is valid until the function returns.
typedef struct ExtismCurrentPlugin ExtismCurrentPlugin;

// A function of the host, for one plugin.
typedef struct ExtismFunction ExtismFunction;

// A plugin.
typedef struct ExtismPlugin ExtismPlugin;

// The offset of a block in the memory of blocks.
typedef uint64_t ExtismMemoryHandle;

// A number of bytes, or of values.
typedef uint64_t ExtismSize;

// The bits of a number.
typedef union {
  // Of the type `ExtismValType_I32`.
  int32_t i32;
  // Of the type `ExtismValType_I64`.
  int64_t i64;
  // Of the type `ExtismValType_F32`.
  float f32;
  // Of the type `ExtismValType_F64`.
  double f64;
} ExtismValUnion;

// A number with its type.
typedef struct {
  // The type.
  ExtismValType t;
  // The bits.
  ExtismValUnion v;
} ExtismVal;

// A function of the host. The outputs have their types, and are zero. Without inputs or outputs their addresses are null.
typedef void (*ExtismFunctionType)(ExtismCurrentPlugin *plugin,
                                   const ExtismVal *inputs,
                                   ExtismSize n_inputs,
                                   ExtismVal *outputs,
                                   ExtismSize n_outputs,
                                   void *data);

// Gets a line of the log.
typedef void (*ExtismLogDrainFunctionType)(const char *data, ExtismSize size);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Returns the 16 bytes of a plugin's id, which live as long as the plugin. Null for null.
const uint8_t *extism_plugin_id(ExtismPlugin *plugin);

// Returns the host context of the call, null without.
void *extism_current_plugin_host_context(ExtismCurrentPlugin *plugin);

// Returns the address of the memory of blocks: a block is at this address plus its handle. It is valid until the function
// returns; on the engine wasmi, until the function next makes a block.
uint8_t *extism_current_plugin_memory(ExtismCurrentPlugin *plugin);

// Makes a block. Returns its handle; 0 for no bytes, and if there is no memory for it.
ExtismMemoryHandle extism_current_plugin_memory_alloc(ExtismCurrentPlugin *plugin, ExtismSize n);

// Returns the length of a block; 0 for what is no handle of one.
ExtismSize extism_current_plugin_memory_length(ExtismCurrentPlugin *plugin, ExtismMemoryHandle n);

// Frees a block. What is no handle of one is left alone.
void extism_current_plugin_memory_free(ExtismCurrentPlugin *plugin, ExtismMemoryHandle ptr);

// Makes a function of the host. `free_user_data`, unless it is null, is called with `user_data` once, when neither the
// function nor a plugin needs it any more. Returns null if the name or the function is null, if the name is not UTF-8, and
// for types other than the four of numbers; then `free_user_data` is not called.
ExtismFunction *extism_function_new(const char *name,
                                    const ExtismValType *inputs,
                                    ExtismSize n_inputs,
                                    const ExtismValType *outputs,
                                    ExtismSize n_outputs,
                                    ExtismFunctionType func,
                                    void *user_data,
                                    void (*free_user_data)(void *_));

// Frees a function. The plugins that it was made for keep it. Null is none.
void extism_function_free(ExtismFunction *f);

// Sets the namespace of a function, which is `extism:host/user` before. No effect after a plugin was made with it.
void extism_function_set_namespace(ExtismFunction *ptr,
                                   const char *namespace_);

// Compiles a module (binary or text) or a manifest (JSON or TOML). Returns null if that fails, with a text in `errmsg`, for
// `extism_plugin_new_error_free`, unless that is null.
ExtismCompiledPlugin *extism_compiled_plugin_new(const uint8_t *wasm,
                                                 ExtismSize wasm_size,
                                                 const ExtismFunction **functions,
                                                 ExtismSize n_functions,
                                                 bool with_wasi,
                                                 char **errmsg);

// Compiles as `extism_compiled_plugin_new` does. Each call has that much fuel.
ExtismCompiledPlugin *extism_compiled_plugin_new_with_fuel_limit(const uint8_t *wasm,
                                                                 ExtismSize wasm_size,
                                                                 const ExtismFunction **functions,
                                                                 ExtismSize n_functions,
                                                                 bool with_wasi,
                                                                 uint64_t fuel_limit,
                                                                 char **errmsg);

// Frees a compiled plugin. The plugins that were made of it are not affected. Null is none.
void extism_compiled_plugin_free(ExtismCompiledPlugin *plugin);

// Makes a plugin of a module (binary or text) or a manifest (JSON or TOML). Returns null if that fails, with a text in
// `errmsg`, for `extism_plugin_new_error_free`, unless that is null. Freed by `extism_plugin_free`.
ExtismPlugin *extism_plugin_new(const uint8_t *wasm,
                                ExtismSize wasm_size,
                                const ExtismFunction **functions,
                                ExtismSize n_functions,
                                bool with_wasi,
                                char **errmsg);

// Makes a plugin of a compiled one, with variables and a configuration of its own. Fails as `extism_plugin_new` does.
ExtismPlugin *extism_plugin_new_from_compiled(const ExtismCompiledPlugin *compiled,
                                              char **errmsg);

// Makes a plugin as `extism_plugin_new` does. Each call has that much fuel.
ExtismPlugin *extism_plugin_new_with_fuel_limit(const uint8_t *wasm,
                                                ExtismSize wasm_size,
                                                const ExtismFunction **functions,
                                                ExtismSize n_functions,
                                                bool with_wasi,
                                                uint64_t fuel_limit,
                                                char **errmsg);

// Has a plugin see the headers of HTTP responses.
void extism_plugin_allow_http_response_headers(ExtismPlugin *plugin);

// Frees the text of an error of a function that makes plugins, and no other. Null is none.
void extism_plugin_new_error_free(char *err);

// Frees a plugin. A call that runs on another thread ends as usual. Null is none.
void extism_plugin_free(ExtismPlugin *plugin);

// Returns the handle that cancels a plugin's calls. It lives as long as the plugin, and is not freed. Null for null.
const ExtismCancelHandle *extism_plugin_cancel_handle(const ExtismPlugin *plugin);

// Cancels the call of a plugin that runs, from any thread. It fails with 134 and `timeout`. Without one, it has no effect.
// Returns false for null.
bool extism_plugin_cancel(const ExtismCancelHandle *handle);

// Merges a JSON object of strings into the configuration of a plugin; null removes a key. Returns false if it cannot be
// read.
bool extism_plugin_config(ExtismPlugin *plugin,
                          const uint8_t *json,
                          ExtismSize json_size);

// Returns whether a plugin has an export that can be called: one without parameters and with at most one result.
bool extism_plugin_function_exists(ExtismPlugin *plugin,
                                   const char *func_name);

// Calls an export. Returns its code, and on failure what it has exited with, 134 for a crash, a timeout and a cancelled
// call, or -1; `extism_plugin_error` has the text. A call on another thread is waited for; one on this thread, from a
// function of the plugin, is refused.
int32_t extism_plugin_call(ExtismPlugin *plugin,
                           const char *func_name,
                           const uint8_t *data,
                           ExtismSize data_len);

// Calls an export as `extism_plugin_call` does, with a pointer for functions of the host.
int32_t extism_plugin_call_with_host_context(ExtismPlugin *plugin,
                                             const char *func_name,
                                             const uint8_t *data,
                                             ExtismSize data_len,
                                             void *host_context);

// Returns what `extism_plugin_error` returns. Deprecated.
const char *extism_error(ExtismPlugin *plugin);

// Returns the error of the last call, null for none. It is valid until the next call, and the next use of the configuration.
const char *extism_plugin_error(ExtismPlugin *plugin);

// Returns the length of the output of the last call.
ExtismSize extism_plugin_output_length(ExtismPlugin *plugin);

// Returns the output of the last call. It is valid until the next call. Null for null.
const uint8_t *extism_plugin_output_data(ExtismPlugin *plugin);

// Writes the log of plugins that are made afterwards to a file, to which it appends, or to `stdout`, `stderr` or `-`; null is
// `stderr`. The level is `trace`, `debug`, `info`, `warn` or `error`, or a filter of them; null is `error`. It holds
// for the process. Returns false if the process logs already, or the file cannot be opened.
bool extism_log_file(const char *filename,
                     const char *log_level);

// Keeps the log of plugins that are made afterwards, at most 4 MiB of it, for `extism_log_drain`. Levels and result are as of
// `extism_log_file`.
bool extism_log_custom(const char *log_level);

// Calls a function with each line that `extism_log_custom` has kept. A line ends with a line feed, and then a NUL, which is not
// counted.
void extism_log_drain(ExtismLogDrainFunctionType handler);

// Forgets the output of the last call. Returns false for null.
bool extism_plugin_reset(ExtismPlugin *plugin);

// Returns the version: Extism's, and this library's.
const char *extism_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* EXTISM_H */
