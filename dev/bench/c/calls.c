/* Times calls of an Extism plugin through the C API of several libraries, in turns in one process:
 *
 *     gcc -O2 calls.c -ldl -o calls && ./calls NAME=LIBRARY[:ENGINE] ... 
 *
 * for example ours=target/release/libextism.so:wasmtime theirs=extism_sys/libextism_sys.so. For each row and
 * library it prints the least of the medians of ROUNDS rounds. */
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
    const char *name;
    void *plugin;
    int32_t (*call)(void *, const char *, const uint8_t *, uint64_t);
    uint64_t (*output_length)(void *);
    const uint8_t *(*output_data)(void *);
} Library;

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
    char *copy = strdup(argument), *path = strchr(copy, '='), *engine;
    if (!path) exit(2);
    *path++ = 0;
    if ((engine = strchr(path, ':'))) *engine++ = 0;
    setenv("WAPC_ENGINE", engine ? engine : "", 1);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    void *(*function)(const char *, const int *, uint64_t, const int *, uint64_t, void *, void *, void *) = dlsym(library, "extism_function_new");
    void *(*new)(const uint8_t *, uint64_t, void **, uint64_t, bool, char **) = dlsym(library, "extism_plugin_new");
    int i64 = 1;
    void *functions[] = {function("same", &i64, 1, &i64, 1, same, NULL, NULL)};
    char *error = NULL;
    Library result = {copy, new((const uint8_t *)MODULE, sizeof MODULE - 1, functions, 1, false, &error),
                      dlsym(library, "extism_plugin_call"), dlsym(library, "extism_plugin_output_length"),
                      dlsym(library, "extism_plugin_output_data")};
    if (!result.plugin) {
        fprintf(stderr, "%s: %s\n", copy, error);
        exit(1);
    }
    return result;
}

/* Returns the median of the time of one call. */
static double round_of(Library *library, const char *export, const uint8_t *input, uint64_t length, int calls) {
    double samples[SAMPLES];
    for (int i = 0; i < SAMPLES; i++) {
        double begin = now();
        for (int call = 0; call < calls; call++) {
            if (library->call(library->plugin, export, input, length)) exit(1);
            if (length && (library->output_length(library->plugin) != length || library->output_data(library->plugin)[length - 1] != input[length - 1])) exit(1);
        }
        samples[i] = (now() - begin) / calls;
    }
    qsort(samples, SAMPLES, sizeof *samples, compare);
    return samples[SAMPLES / 2];
}

int main(int argc, char **argv) {
    static const struct { const char *export; uint64_t length; int calls; } rows[] = {
        {"noop", 0, 200}, {"echo", 64, 200}, {"echo", 1 << 20, 2}, {"copy", 64 << 10, 2}, {"host", 64, 100},
    };
    static uint8_t input[1 << 20];
    Library libraries[MAX_LIBRARIES];
    int count = argc - 1;
    if (count < 1 || count > MAX_LIBRARIES) return 2;
    printf("%-16s", "");
    for (int i = 0; i < count; i++) {
        libraries[i] = load(argv[i + 1]);
        printf("%16s", libraries[i].name);
    }
    puts("");
    memset(input, 'x', sizeof input);
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
        double best[MAX_LIBRARIES];
        for (int round = 0; round < ROUNDS; round++)
            for (int i = 0; i < count; i++) {
                double time = round_of(&libraries[i], rows[row].export, input, rows[row].length, rows[row].calls);
                if (!round || time < best[i]) best[i] = time;
            }
        printf("%-4s %8d B  ", rows[row].export, (int)rows[row].length);
        for (int i = 0; i < count; i++) printf("%13.2f µs", best[i] / 1000);
        puts("");
    }
}
