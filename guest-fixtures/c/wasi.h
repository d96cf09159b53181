// What the WASI guests have in common: call_memory from malloc, and the request.
#pragma once

#include "operations.h"

typedef struct {
    slice operation;
    slice payload;
} request;

// The request of the call that the host has just made.
request take_request(size_t operation_length, size_t payload_length);

// Frees what the call took from call_memory, and passes its outcome on.
int32_t end_call(int32_t outcome);
