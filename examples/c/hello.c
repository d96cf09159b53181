/* Calls a guest, answers it, survives its crash, and swaps its code. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "wapc.h"

/* Answers calls of the guest with the payload, after the operation's name. */
static bool answer(void *user_data, const WapcHostCall *call, WapcAnswer *answer) {
    ++*(int *)user_data;
    wapc_answer_append(answer, call->operation.data, call->operation.length);
    wapc_answer_append(answer, (const uint8_t *)": ", 2);
    wapc_answer_append(answer, call->payload.data, call->payload.length);
    return true;
}

static uint8_t *read_file(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(1);
    }
    fseek(file, 0, SEEK_END);
    *length = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(*length);
    if (fread(bytes, 1, *length, file) != *length) exit(1);
    fclose(file);
    return bytes;
}

static void call(WapcHost *host, const char *operation, const char *payload, const WapcCallOptions *options) {
    WapcBuffer response = {0};
    WapcError *error = NULL;
    WapcStatus status = wapc_host_call(host, operation, (const uint8_t *)payload, strlen(payload), options, &response, &error);
    if (status == WAPC_STATUS_OK)
        printf("%s: %.*s\n", operation, (int)response.length, (const char *)response.data);
    else
        printf("%s: %s\n", operation, wapc_status_name(status));
    wapc_buffer_free(&response);
    wapc_error_free(error);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: hello MODULE ENGINE\n");
        return 2;
    }
    size_t length;
    uint8_t *module = read_file(argv[1], &length);
    int host_calls = 0;
    char json[100];
    snprintf(json, sizeof json, "{ \"engine\": \"%s\" }", argv[2]);

    WapcError *error = NULL;
    WapcOptions *options = wapc_options_new();
    wapc_options_set_callback(options, answer, &host_calls, NULL);
    WapcHost *host = NULL;
    if (wapc_options_set_json(options, json, &error) == WAPC_STATUS_OK)
        host = wapc_host_new(module, length, options, &error);
    wapc_options_free(options);
    if (!host) {
        fprintf(stderr, "%s\n", wapc_error_message(error));
        wapc_error_free(error);
        return 1;
    }

    call(host, "hello", "World", NULL);
    call(host, "ping_host", "a payload", NULL);
    printf("the guest has called %d time\n", host_calls);

    /* This one crashes. The next call gets a fresh instance, and at most a second. */
    call(host, "panic", "", NULL);
    WapcCallOptions a_second = {.size = sizeof a_second, .timeout_ms = 1000};
    call(host, "hello", "again", &a_second);

    if (wapc_host_replace(host, module, length, NULL, NULL, NULL, 0, NULL) == WAPC_STATUS_OK) {
        WapcStats stats;
        wapc_host_stats(host, &stats);
        printf("%d calls, now on code %d\n", (int)stats.calls, (int)stats.generation);
    }
    wapc_host_free(host);
    free(module);
    return 0;
}
