// The fixture for the smallest real guest: freestanding C, no C library, no start function, plain
// WebAssembly 1.0, and no imports but waPC's.
#include "operations.h"

enum { PAGE_SIZE = 65536 };

// The linker puts it behind the stack and the data.
extern uint8_t __heap_base;

static uintptr_t heap_top;

// A bump allocator, emptied at each call; memory grows to the largest call and stays.
uint8_t *call_memory(size_t length) {
    uintptr_t start = heap_top;
    uintptr_t size = __builtin_wasm_memory_size(0) * PAGE_SIZE;
    if (length > size - start) {
        size_t missing = length - (size - start);
        size_t pages = missing / PAGE_SIZE + (missing % PAGE_SIZE != 0);
        if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) {
            __builtin_trap();
        }
    }
    heap_top = start + length;
    return (uint8_t *)start;
}

int32_t WAPC_EXPORT(__guest_call)(size_t operation_length, size_t payload_length) {
    heap_top = (uintptr_t)&__heap_base;
    slice operation = {call_memory(operation_length), operation_length};
    slice payload = {call_memory(payload_length), payload_length};
    __guest_request(operation.start, payload.start);
    return common_operation(operation, payload);
}
