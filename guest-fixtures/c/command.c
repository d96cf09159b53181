// The fixture for a WASI command that is also a waPC guest: the host runs its `_start` once, main
// returns, and the instance goes on to answer calls.
#include "wasi.h"

static bool started;

int main(void) {
    started = true;
    return 0;
}

int32_t WAPC_EXPORT(__guest_call)(size_t operation_length, size_t payload_length) {
    request taken = take_request(operation_length, payload_length);
    return end_call(started ? common_operation(taken.operation, taken.payload)
                            : refuse(TEXT("_start has not run")));
}
