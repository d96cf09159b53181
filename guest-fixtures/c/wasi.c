// What the WASI guests have in common: call_memory from malloc, and the request.
#include "wasi.h"

#include <stdlib.h>

typedef struct block {
    struct block *next;
    uint8_t bytes[];
} block;

static block *blocks_of_call;

uint8_t *call_memory(size_t length) {
    block *new = length > SIZE_MAX - sizeof(block) ? NULL : malloc(sizeof(block) + length);
    if (new == NULL) {
        abort();
    }
    new->next = blocks_of_call;
    blocks_of_call = new;
    return new->bytes;
}

int32_t end_call(int32_t outcome) {
    while (blocks_of_call != NULL) {
        block *last = blocks_of_call;
        blocks_of_call = last->next;
        free(last);
    }
    return outcome;
}

request take_request(size_t operation_length, size_t payload_length) {
    request taken = {{call_memory(operation_length), operation_length},
                     {call_memory(payload_length), payload_length}};
    __guest_request(taken.operation.start, taken.payload.start);
    return taken;
}
