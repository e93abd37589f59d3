/* Reading HTTP/1.1 responses incrementally: a status, headers, and a body that is chunked, has a length or never ends.
 *
 * Knows nothing of sockets, events or time: whoever includes it says what to do with a line of a stream's body, with a
 * complete answer and with a refusal.
 */
#ifndef READING_H
#define READING_H
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LINE = 192 }; /* bytes kept of a line that a read has cut in two; more than any line that is looked at */

enum reading { STATUS, HEADERS, SIZE, CHUNK, CHUNK_END, TRAILERS, BODY, DONE };

struct carry {
    uint32_t length;
    char bytes[LINE];
};

struct connection {
    int fd;
    enum reading reading;
    bool is_stream; /* its body consists of lines and does not end */
    bool busy;      /* a request is on its way: being connected, sent or answered */
    bool ready;     /* a stream that has been made and now takes part in what is measured */
    bool chunked;
    int status;
    size_t left;      /* bytes of the chunk or of the body still to come */
    uint64_t started; /* when the request began, in nanoseconds */
    uint64_t count, sum; /* of events received, and of their numbers */
    struct carry framing, body;
};

static void on_body_line(struct connection *c, const char *line, size_t length);
static void on_answer(struct connection *c); /* complete, or refused where a stream was asked for */

static void answer_ends(struct connection *c)
{
    c->reading = c->is_stream ? DONE : STATUS;
    on_answer(c);
}

static void head_ends(struct connection *c)
{
    if (c->is_stream && c->status != 200)
        answer_ends(c);
    else if (c->chunked)
        c->reading = SIZE;
    else if (c->is_stream || c->left)
        c->reading = BODY;
    else
        answer_ends(c);
}

static void header(struct connection *c, const char *line)
{
    if (!strncasecmp(line, "content-length:", 15))
        c->left = strtoul(line + 15, NULL, 10);
    else if (!strncasecmp(line, "transfer-encoding: chunked", 26))
        c->chunked = true;
}

/* One line outside the body: a status, a header, the size of a chunk, the end of one. */
static void framing_line(struct connection *c, const char *line, size_t length)
{
    char text[LINE + 1];
    bool blank = length <= 1;
    length = length < LINE ? length : LINE;
    memcpy(text, line, length);
    text[length] = 0;
    switch (c->reading) {
    case STATUS:
        c->status = length > 9 ? atoi(text + 9) : 0;
        c->chunked = false;
        c->left = 0;
        c->reading = HEADERS;
        break;
    case HEADERS:
        blank ? head_ends(c) : header(c, text);
        break;
    case SIZE:
        c->left = strtoul(text, NULL, 16);
        c->reading = c->left ? CHUNK : TRAILERS;
        break;
    case CHUNK_END:
        c->reading = SIZE;
        break;
    default: /* TRAILERS */
        if (blank)
            answer_ends(c);
    }
}

/* Takes one line off `bytes`, joined with what the read before left over, or keeps its beginning for the next read.
 * Returns where the rest begins. */
static const char *take_line(struct connection *c, struct carry *carry, const char *bytes, size_t length,
                             void (*take)(struct connection *, const char *, size_t))
{
    const char *end = memchr(bytes, '\n', length);
    size_t size = end ? (size_t)(end - bytes) : length;
    if (end && !carry->length) {
        take(c, bytes, size);
        return end + 1;
    }
    size_t room = LINE - carry->length, copied = size < room ? size : room;
    memcpy(carry->bytes + carry->length, bytes, copied);
    carry->length += copied;
    if (!end)
        return bytes + length;
    size = carry->length;
    carry->length = 0;
    take(c, carry->bytes, size);
    return end + 1;
}

/* As much of the body as these bytes hold. Returns where the rest begins. */
static const char *take_body(struct connection *c, const char *bytes, size_t length)
{
    bool endless = c->reading == BODY && c->is_stream;
    size_t part = endless || length < c->left ? length : c->left;
    const char *stop = bytes + part;
    while (c->is_stream && bytes < stop)
        bytes = take_line(c, &c->body, bytes, stop - bytes, on_body_line);
    if (endless)
        return stop;
    c->left -= part;
    if (!c->left && c->reading == CHUNK)
        c->reading = CHUNK_END;
    else if (!c->left)
        answer_ends(c);
    return stop;
}

static void feed(struct connection *c, const char *bytes, size_t length)
{
    const char *end = bytes + length;
    while (bytes < end && c->reading != DONE)
        bytes = c->reading == CHUNK || c->reading == BODY
                    ? take_body(c, bytes, end - bytes)
                    : take_line(c, &c->framing, bytes, end - bytes, framing_line);
}
#endif
