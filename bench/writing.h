/* The requests that publish events, built from a template that the driver wrote for the system under test. */
#ifndef WRITING_H
#define WRITING_H
#include "payload.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BATCH = 1000 };

static char *publish_template[4]; /* head, and of the body: prefix, separator between events, suffix */

/* Reads a file of texts that each end with NUL, into at most `limit` pointers; returns how many there are. */
static int load_texts(const char *path, char **texts, int limit)
{
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    size_t size = 0;
    int count = 0;
    if (!file) {
        perror(path);
        exit(1);
    }
    while (count < limit && getdelim(&text, &size, 0, file) >= 0) {
        texts[count++] = text;
        text = NULL;
        size = 0;
    }
    fclose(file);
    return count;
}

/* A request that publishes the events numbered from `first`. Valid until the next call. */
static const char *publish_request(uint64_t first, int batch, uint64_t time, size_t *size)
{
    static char body[MAX_BATCH * (PAYLOAD + 200)], request[sizeof body + 4096];
    char *end = stpcpy(body, publish_template[1]);
    for (int i = 0; i < batch; i++) {
        end = i ? stpcpy(end, publish_template[2]) : end;
        end = put_payload(end, first + i, time);
    }
    end = stpcpy(end, publish_template[3]);
    *size = snprintf(request, sizeof request, "%sContent-Length: %zu\r\n\r\n%.*s", publish_template[0],
                     (size_t)(end - body), (int)(end - body), body);
    return request;
}
#endif
