/* Times calls of an Extism plugin through the C API of several libraries, in turns in one process:
 *
 *     gcc -O2 calls.c -ldl -o calls && ./calls NAME=LIBRARY[:ENGINE] ... 
 *
 * for example ours=target/release/libextism.so:wasmtime theirs=extism_sys/libextism_sys.so. For each row and
 * library it prints the least of the medians of ROUNDS rounds. With EXTISM_PLUGINS, the folder `wasm` of Extism's
 * repository, it has rows for public plugins too. "cold" makes a plugin, calls it and frees it; EXTISM_CACHE_CONFIG="" in
 * the environment turns the other's compile cache off. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 7, SAMPLES = 101, MAX_LIBRARIES = 8 };

static const char MODULE[] =
    "(module"
    "  (import \"extism:host/env\" \"input_offset\" (func $input (result i64)))"
    "  (import \"extism:host/env\" \"input_length\" (func $input_length (result i64)))"
    "  (import \"extism:host/env\" \"output_set\" (func $output (param i64 i64)))"
    "  (import \"extism:host/env\" \"alloc\" (func $alloc (param i64) (result i64)))"
    "  (import \"extism:host/env\" \"load_u64\" (func $load (param i64) (result i64)))"
    "  (import \"extism:host/env\" \"store_u64\" (func $store (param i64 i64)))"
    "  (import \"extism:host/user\" \"same\" (func $same (param i64) (result i64)))"
    "  (func (export \"noop\") (result i32) (i32.const 0))"
    "  (func (export \"echo\") (result i32) (call $output (call $input) (call $input_length)) (i32.const 0))"
    "  (func (export \"copy\") (result i32) (local $to i64) (local $at i64)"
    "    (local.set $to (call $alloc (call $input_length)))"
    "    (loop $next"
    "      (call $store (i64.add (local.get $to) (local.get $at)) (call $load (i64.add (call $input) (local.get $at))))"
    "      (local.set $at (i64.add (local.get $at) (i64.const 8)))"
    "      (br_if $next (i64.lt_u (local.get $at) (call $input_length))))"
    "    (call $output (local.get $to) (call $input_length)) (i32.const 0))"
    "  (func (export \"host\") (result i32)"
    "    (call $output (call $same (call $input)) (call $input_length)) (i32.const 0)))";

typedef struct { int t; union { int64_t i64; } v; } Val;
typedef struct {
    const char *name, *engine;
    void *(*function_new)(const char *, const int *, uint64_t, const int *, uint64_t, void *, void *, void *);
    void *(*new)(const uint8_t *, uint64_t, void **, uint64_t, bool, char **);
    void (*free)(void *);
    int32_t (*call)(void *, const char *, const uint8_t *, uint64_t);
    uint64_t (*output_length)(void *);
    const uint8_t *(*output_data)(void *);
} Library;

typedef struct {
    const char *file, *export;
    uint64_t length;
    int calls, samples;
    bool echoes, cold;
} Row;

static void same(void *plugin, const Val *in, uint64_t n_in, Val *out, uint64_t n_out, void *data) {
    (void)plugin, (void)n_in, (void)n_out, (void)data;
    out->v.i64 = in->v.i64;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static Library load(const char *argument) {
    char *name = strdup(argument), *path = strchr(name, '='), *engine;
    if (!path) exit(2);
    *path++ = 0;
    if ((engine = strchr(path, ':'))) *engine++ = 0;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return (Library){name, engine ? engine : "", dlsym(library, "extism_function_new"), dlsym(library, "extism_plugin_new"),
                     dlsym(library, "extism_plugin_free"), dlsym(library, "extism_plugin_call"),
                     dlsym(library, "extism_plugin_output_length"), dlsym(library, "extism_plugin_output_data")};
}

static void *plugin_of(const Library *library, const uint8_t *module, uint64_t length) {
    int i64 = 1;
    void *functions[] = {library->function_new("same", &i64, 1, &i64, 1, same, NULL, NULL),
                         library->function_new("host_reflect", &i64, 1, &i64, 1, same, NULL, NULL)};
    char *error = NULL;
    setenv("WAPC_ENGINE", library->engine, 1);
    void *plugin = library->new(module, length, functions, 2, true, &error);
    if (!plugin) {
        fprintf(stderr, "%s: %s\n", library->name, error);
        exit(1);
    }
    return plugin;
}

static void call(const Library *library, void *plugin, const Row *row, const uint8_t *input) {
    if (library->call(plugin, row->export, input, row->length)) exit(1);
    if (row->echoes && (library->output_length(plugin) != row->length || library->output_data(plugin)[row->length - 1] != input[row->length - 1])) exit(1);
}

/* Returns the median of the time of one call. */
static double round_of(const Library *library, void *plugin, const Row *row, const uint8_t *module, uint64_t length, const uint8_t *input) {
    double samples[SAMPLES];
    for (int i = 0; i < row->samples; i++) {
        double begin = now();
        if (row->cold) {
            void *fresh = plugin_of(library, module, length);
            call(library, fresh, row, input);
            library->free(fresh);
        } else {
            for (int count = 0; count < row->calls; count++) call(library, plugin, row, input);
        }
        samples[i] = (now() - begin) / row->calls;
    }
    qsort(samples, (size_t)row->samples, sizeof *samples, compare);
    return samples[row->samples / 2];
}

static uint8_t *read_file(const char *folder, const char *name, uint64_t *length) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(1);
    }
    fseek(file, 0, SEEK_END);
    *length = (uint64_t)ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(*length);
    if (fread(bytes, 1, *length, file) != *length) exit(1);
    fclose(file);
    return bytes;
}

int main(int argc, char **argv) {
    static const Row rows[] = {
        {NULL, "noop", 0, 200, SAMPLES, false, false},
        {NULL, "echo", 64, 200, SAMPLES, true, false},
        {NULL, "echo", 1 << 20, 2, SAMPLES, true, false},
        {NULL, "copy", 64 << 10, 2, SAMPLES, true, false},
        {NULL, "host", 64, 100, SAMPLES, true, false},
        {"echo.wasm", "echo", 10 << 20, 1, 5, true, false},
        {"consume.wasm", "consume", 10 << 20, 1, 5, false, false},
        {"reflect.wasm", "reflect", 1 << 20, 1, 11, true, false},
        {"code.wasm", "count_vowels", 64 << 10, 1, 31, false, false},
        {"allocations.wasm", "allocations", 0, 1, 3, false, false},
        {"code.wasm", "count_vowels", 64, 1, 3, false, true},
    };
    static uint8_t input[10 << 20];
    const char *folder = getenv("EXTISM_PLUGINS");
    Library libraries[MAX_LIBRARIES];
    int count = argc - 1;
    if (count < 1 || count > MAX_LIBRARIES) return 2;
    printf("%-26s", "");
    for (int i = 0; i < count; i++) {
        libraries[i] = load(argv[i + 1]);
        printf("%16s", libraries[i].name);
    }
    puts("");
    memset(input, 'x', sizeof input);
    for (size_t number = 0; number < sizeof rows / sizeof *rows; number++) {
        const Row *row = &rows[number];
        if (row->file && !folder) continue;
        uint64_t length = sizeof MODULE - 1;
        const uint8_t *module = row->file ? read_file(folder, row->file, &length) : (const uint8_t *)MODULE;
        void *plugins[MAX_LIBRARIES];
        double best[MAX_LIBRARIES];
        for (int i = 0; i < count; i++) plugins[i] = plugin_of(&libraries[i], module, length);
        for (int round = 0; round < ROUNDS; round++)
            for (int i = 0; i < count; i++) {
                double time = round_of(&libraries[i], plugins[i], row, module, length, input);
                if (!round || time < best[i]) best[i] = time;
            }
        printf("%-12s %8d B %s", row->export, (int)row->length, row->cold ? "cold" : "    ");
        for (int i = 0; i < count; i++) {
            libraries[i].free(plugins[i]);
            printf("%13.2f µs", best[i] / 1000);
        }
        puts("");
        fflush(stdout);
    }
}
