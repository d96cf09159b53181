// The operations that every fixture offers. Needs no C library.
#include "operations.h"

static uint32_t calls_counted;

static void copy(uint8_t *to, slice from) {
    for (size_t i = 0; i < from.length; i++) {
        to[i] = from.start[i];
    }
}

bool equal(slice a, slice b) {
    if (a.length != b.length) {
        return false;
    }
    for (size_t i = 0; i < a.length; i++) {
        if (a.start[i] != b.start[i]) {
            return false;
        }
    }
    return true;
}

slice concat(slice a, slice b) {
    slice whole = {call_memory(a.length + b.length), a.length + b.length};
    copy(whole.start, a);
    copy(whole.start + a.length, b);
    return whole;
}

static slice decimal(uint32_t number) {
    static uint8_t digits[10];
    uint8_t *first = digits + sizeof(digits);
    do {
        *--first = '0' + number % 10;
        number /= 10;
    } while (number != 0);
    return (slice){first, digits + sizeof(digits) - first};
}

static int32_t ping_host(slice payload) {
    slice binding = TEXT("bind"), ns = TEXT("ns"), operation = TEXT("op");
    if (__host_call(binding.start, binding.length, ns.start, ns.length, operation.start,
                    operation.length, payload.start, payload.length)) {
        size_t length = __host_response_len();
        slice answer = {call_memory(length), length};
        __host_response(answer.start);
        return respond(answer);
    }
    size_t length = __host_error_len();
    slice reason = {call_memory(length), length};
    __host_error(reason.start);
    return refuse(reason);
}

int32_t common_operation(slice operation, slice payload) {
    if (equal(operation, TEXT("echo"))) {
        return respond(payload);
    }
    if (equal(operation, TEXT("hello"))) {
        return respond(concat(concat(TEXT("Hello, "), payload), TEXT(".")));
    }
    if (equal(operation, TEXT("ping_host"))) {
        return ping_host(payload);
    }
    if (equal(operation, TEXT("fail"))) {
        return refuse(payload);
    }
    if (equal(operation, TEXT("log"))) {
        __console_log(payload.start, payload.length);
        return respond(TEXT(""));
    }
    if (equal(operation, TEXT("panic"))) {
        __builtin_trap();
    }
    if (equal(operation, TEXT("count"))) {
        calls_counted++;
        return respond(decimal(calls_counted));
    }
    return refuse(concat(TEXT("unknown operation: "), operation));
}
