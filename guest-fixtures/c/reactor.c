// The fixture for what a host grants through WASI: a reactor (the host runs its `_initialize` once)
// whose operations use arguments, environment, files, standard streams, clock and exit.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <wasi/api.h>

#include "wasi.h"

// Volatile, or the compiler sees through the constructor and starts it as true.
static volatile bool initialized;

// Run by `_initialize`.
__attribute__((constructor)) static void initialize(void) { initialized = true; }

static slice text(const char *characters) {
    return (slice){(uint8_t *)characters, strlen(characters)};
}

static const char *c_string(slice bytes) {
    slice terminator = {(uint8_t *)"", 1};
    return (char *)concat(bytes, terminator).start;
}

static int32_t refuse_errno(void) { return refuse(text(strerror(errno))); }

static int32_t done(bool succeeded) { return succeeded ? respond(TEXT("")) : refuse_errno(); }

static bool write_all(int file, slice rest) {
    while (rest.length > 0) {
        ssize_t written = write(file, rest.start, rest.length);
        if (written < 0) {
            return false;
        }
        rest.start += written;
        rest.length -= written;
    }
    return true;
}

static int32_t respond_all_of(int file) {
    slice whole = {NULL, 0};
    size_t capacity = 0;
    for (;;) {
        if (whole.length == capacity) {
            capacity = capacity ? 2 * capacity : 4096;
            uint8_t *larger = call_memory(capacity);
            if (whole.length > 0) {
                memcpy(larger, whole.start, whole.length);
            }
            whole.start = larger;
        }
        ssize_t got = read(file, whole.start + whole.length, capacity - whole.length);
        if (got < 0) {
            return refuse_errno();
        }
        if (got == 0) {
            return respond(whole);
        }
        whole.length += got;
    }
}

// WASI itself, for a reactor has no main to be given them.
static int32_t args(void) {
    size_t count, size;
    __wasi_errno_t error = __wasi_args_sizes_get(&count, &size);
    if (error == 0) {
        uint8_t **each = (uint8_t **)call_memory(count * sizeof(uint8_t *));
        slice joined = {call_memory(size), size};
        error = __wasi_args_get(each, joined.start);
        if (error == 0) {
            // They lie one behind the other, each ended by a zero.
            for (size_t i = 0; i < size; i++) {
                if (joined.start[i] == '\0') {
                    joined.start[i] = '\n';
                }
            }
            joined.length -= size > 0;
            return respond(joined);
        }
    }
    errno = error;
    return refuse_errno();
}

static int32_t env(slice name) {
    const char *value = getenv(c_string(name));
    return value ? respond(text(value)) : refuse(concat(TEXT("not set: "), name));
}

static int32_t read_file(slice path) {
    int file = open(c_string(path), O_RDONLY);
    if (file < 0) {
        return refuse_errno();
    }
    int32_t outcome = respond_all_of(file);
    close(file);
    return outcome;
}

static int32_t write_file(slice path_and_contents) {
    uint8_t *line_end = memchr(path_and_contents.start, '\n', path_and_contents.length);
    if (line_end == NULL) {
        return refuse(TEXT("no newline behind the path"));
    }
    slice path = {path_and_contents.start, line_end - path_and_contents.start};
    slice contents = {line_end + 1, path_and_contents.length - path.length - 1};
    int file = open(c_string(path), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (file < 0) {
        return refuse_errno();
    }
    bool written = write_all(file, contents);
    int error = errno;
    bool closed = close(file) == 0;
    if (!written) {
        errno = error;
    }
    return done(written && closed);
}

static int32_t sleep_for(slice milliseconds) {
    unsigned long all = strtoul(c_string(milliseconds), NULL, 10);
    struct timespec duration = {all / 1000, all % 1000 * 1000000};
    return done(nanosleep(&duration, NULL) == 0);
}

static int32_t operation(slice name, slice payload) {
    if (equal(name, TEXT("args"))) {
        return args();
    }
    if (equal(name, TEXT("env"))) {
        return env(payload);
    }
    if (equal(name, TEXT("read"))) {
        return read_file(payload);
    }
    if (equal(name, TEXT("write"))) {
        return write_file(payload);
    }
    if (equal(name, TEXT("stdin"))) {
        return respond_all_of(STDIN_FILENO);
    }
    if (equal(name, TEXT("stdout"))) {
        return done(write_all(STDOUT_FILENO, payload));
    }
    if (equal(name, TEXT("stderr"))) {
        return done(write_all(STDERR_FILENO, payload));
    }
    if (equal(name, TEXT("sleep"))) {
        return sleep_for(payload);
    }
    if (equal(name, TEXT("exit"))) {
        exit(atoi(c_string(payload)));
    }
    return common_operation(name, payload);
}

int32_t WAPC_EXPORT(__guest_call)(size_t operation_length, size_t payload_length) {
    request taken = take_request(operation_length, payload_length);
    return end_call(initialized ? operation(taken.operation, taken.payload)
                                : refuse(TEXT("_initialize has not run")));
}
