// The operations that every fixture offers, for each guest in C to build upon.
#pragma once

#include <stdbool.h>

#include "wapc.h"

// Memory that lives until the end of the call; each guest brings its own. Traps when there is none.
uint8_t *call_memory(size_t length);

bool equal(slice a, slice b);

// One slice of both, in call_memory.
slice concat(slice a, slice b);

// Answers the operation; an unknown one is refused.
int32_t common_operation(slice operation, slice payload);
