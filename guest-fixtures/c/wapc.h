// waPC for guests in C: the nine imports, and slices to speak with them.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define WAPC_IMPORT(name) __attribute__((import_module("wapc"), import_name(#name))) name
#define WAPC_EXPORT(name) __attribute__((export_name(#name))) name

void WAPC_IMPORT(__guest_request)(uint8_t *operation, uint8_t *payload);
void WAPC_IMPORT(__guest_response)(const uint8_t *start, size_t length);
void WAPC_IMPORT(__guest_error)(const uint8_t *start, size_t length);
int32_t WAPC_IMPORT(__host_call)(const uint8_t *binding, size_t binding_length,
                                 const uint8_t *ns, size_t ns_length,
                                 const uint8_t *operation, size_t operation_length,
                                 const uint8_t *payload, size_t payload_length);
size_t WAPC_IMPORT(__host_response_len)(void);
void WAPC_IMPORT(__host_response)(uint8_t *to);
size_t WAPC_IMPORT(__host_error_len)(void);
void WAPC_IMPORT(__host_error)(uint8_t *to);
void WAPC_IMPORT(__console_log)(const uint8_t *start, size_t length);

// Bytes that somebody else owns.
typedef struct {
    uint8_t *start;
    size_t length;
} slice;

#define TEXT(literal) ((slice){(uint8_t *)(literal), sizeof(literal) - 1})

// What __guest_call returns to the host.
enum { FAILURE = 0, SUCCESS = 1 };

static inline int32_t respond(slice response) {
    __guest_response(response.start, response.length);
    return SUCCESS;
}

static inline int32_t refuse(slice reason) {
    __guest_error(reason.start, reason.length);
    return FAILURE;
}
