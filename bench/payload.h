/* What an event says. It is the same 120 bytes of JSON for every system: when it was published, its number, and text.
 *
 *   {"t":"<20 digits of nanoseconds, CLOCK_MONOTONIC>","n":"<10 digits>","text":"xxx..."}
 *
 * The fields have fixed places, so that reading one costs next to nothing.
 */
#ifndef PAYLOAD_H
#define PAYLOAD_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { PAYLOAD = 120 };

static char *put_payload(char *at, uint64_t number, uint64_t time)
{
    int length = sprintf(at, "{\"t\":\"%020llu\",\"n\":\"%010llu\",\"text\":\"", (unsigned long long)time,
                         (unsigned long long)number);
    memset(at + length, 'x', PAYLOAD - 2 - length);
    memcpy(at + PAYLOAD - 2, "\"}", 2);
    return at + PAYLOAD;
}

static uint64_t digits(const char *text, int count)
{
    uint64_t value = 0;
    while (count--)
        value = value * 10 + (uint64_t)(*text++ - '0');
    return value;
}

/* Whether a line of a stream's body is the data of one of our events; its number and time, if it is. */
static bool get_payload(const char *line, size_t length, uint64_t *number, uint64_t *time)
{
    const char *at = line + (length > 5 && line[5] == ' ' ? 6 : 5);
    if (length < (size_t)(at - line) + PAYLOAD || memcmp(line, "data:", 5) || memcmp(at, "{\"t\":\"", 6))
        return false;
    *time = digits(at + 6, 20);
    *number = digits(at + 33, 10);
    return true;
}
#endif
