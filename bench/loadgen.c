/* The load generator: opens streams, publishes events, and counts and times every delivery. One thread, one epoll.
 *
 * It reads commands from standard input, one per line, and answers each with one line of JSON:
 *
 *   requests FILE     the requests that open streams, each ended by NUL; stream i sends request i mod n
 *   publish FILE      the request that publishes: head, prefix, separator and suffix, each ended by NUL; its body is the
 *                     prefix, payloads with separators between them, the suffix
 *   open COUNT WINDOW EVENTS      open COUNT more streams, at most WINDOW at once; a stream is open when EVENTS events have
 *                     arrived (0: with the first line of its body)
 *   paced EVENTS INTERVAL_US SECONDS      publish EVENTS events, INTERVAL_US apart, but none before every stream has the one
 *                     before; stop after SECONDS
 *   closed IN_FLIGHT SECONDS      publish event i as soon as every stream has event i - IN_FLIGHT; answer when all have all
 *   post CONNECTIONS BATCH EVENTS SECONDS      publish BATCH events per request on each connection, waiting for nothing but
 *                     the answers; stop after EVENTS events or SECONDS
 *   listen FIRST EVENTS      wait for EVENTS events that someone else publishes, numbered from FIRST
 *   close             close all streams
 *
 * While it measures it polls and never sleeps, except in `listen`, so that a server under test pays for no wake-ups of this
 * process. A delivery counts when its line has been read and parsed. In each answer, `idle` is the share of the time in which
 * there was nothing to do; `wrong` is how many streams did not receive every event of the command exactly once; `gone` is how
 * many connections the server closed or refused.
 *
 * Usage: loadgen PORT
 */
#define _GNU_SOURCE
#include "reading.h"
#include "sockets.h"
#include "timing.h"
#include "writing.h"
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    MAX_STREAMS = 60000,
    MAX_PUBLISHERS = 256,
    MAX_REQUESTS = 256, /* that differ from each other */
    RING = 1 << 16, /* more events than can be in flight */
    PER_ADDRESS = 10000, /* streams from one source address, far fewer than it has ephemeral ports */
    KEPT_ALIVE = 3,      /* seconds that an idle connection is still good for another request; uvicorn's and Node's are 5 */
    PATIENCE = 30,       /* seconds without a delivery or an answer after which a command gives up */
};

static int epoll, port;
static struct connection streams[MAX_STREAMS], publishers[MAX_PUBLISHERS];
static char *requests[MAX_REQUESTS];
static int stream_count, request_count, publisher_count; /* the last: those that the current command may use */
static uint64_t next_number; /* of the next event; never used twice */

/* What the current command is about; all of it begins at zero. */
static struct {
    uint64_t began, idle, last_progress; /* nanoseconds */
    uint64_t first_number, published, complete, answered, deliveries, first_publish, last_delivery;
    uint64_t open_events; /* how many make a stream open */
    uint64_t bytes; /* read from streams */
    int ready, gone, rejected, last_status;
    bool timing_answers;
    char last_id[LINE]; /* as the first stream received it */
    struct histogram latency; /* of deliveries, or of what `open` and `post` wait for */
} run;
static uint64_t now;
static uint32_t received[RING]; /* by event: how many streams have it */

/* ---- what arrives ---- */

static void opened(struct connection *c)
{
    c->ready = true;
    c->busy = false;
    run.ready++;
    run.last_progress = now;
    histogram_add(&run.latency, now - c->started);
}

static void delivered(struct connection *c, uint64_t stamp, uint64_t number)
{
    c->count++;
    c->sum += number;
    run.deliveries++;
    run.last_delivery = run.last_progress = now;
    if (!c->ready) {
        if (c->count == run.open_events)
            opened(c);
        return;
    }
    histogram_add(&run.latency, now - stamp);
    received[number % RING]++;
    while (run.complete < run.published && received[(run.first_number + run.complete) % RING] >= (uint32_t)stream_count)
        run.complete++;
}

static void on_body_line(struct connection *c, const char *line, size_t length)
{
    uint64_t number, stamp;
    if (!c->ready && !run.open_events)
        opened(c);
    if (get_payload(line, length, &number, &stamp))
        delivered(c, stamp, number);
    else if (c == streams && length > 4 && length < LINE && !memcmp(line, "id:", 3)) {
        const char *id = line + (line[3] == ' ' ? 4 : 3), *end = line + length - (line[length - 1] == '\r');
        memcpy(run.last_id, id, end - id);
        run.last_id[end - id] = 0;
    }
}

static void hang_up(struct connection *c)
{
    if (c->fd <= 0)
        return;
    close(c->fd);
    c->fd = -1;
    run.gone += c->is_stream || c->busy; /* a server may well close a publisher's connection that is idle */
    c->busy = false;
}

static void on_answer(struct connection *c)
{
    run.last_progress = now;
    if (c->status / 100 != 2) {
        run.rejected++;
        run.last_status = c->status;
    }
    if (c->is_stream) {
        hang_up(c);
        return;
    }
    c->busy = false;
    run.answered++;
    if (run.timing_answers)
        histogram_add(&run.latency, now - c->started);
}

/* ---- what is sent ---- */

static void send_request(struct connection *c, const char *bytes, size_t length)
{
    if (send(c->fd, bytes, length, MSG_NOSIGNAL) != (ssize_t)length)
        hang_up(c);
}

static void connect_to_server(struct connection *c, int source)
{
    struct epoll_event event = {.events = EPOLLIN | (c->is_stream ? EPOLLOUT : 0), .data.ptr = c};
    c->fd = connect_from(source, port, !c->is_stream);
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
}

static void start_stream(void)
{
    struct connection *c = &streams[stream_count];
    memset(c, 0, sizeof *c);
    c->is_stream = c->busy = true;
    c->started = clock_ns();
    connect_to_server(c, 1 + stream_count / PER_ADDRESS);
    stream_count++;
}

/* The socket of a new stream can be written to: it is connected, and the request fits. */
static void writable(struct connection *c)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
    send_request(c, requests[(c - streams) % request_count], strlen(requests[(c - streams) % request_count]));
}

/* Publishes `batch` events in one request, on a connection that has none on its way; false if all have. */
static bool publish(int batch)
{
    struct connection *c = publishers;
    while (c < publishers + publisher_count && c->busy)
        c++;
    if (c == publishers + publisher_count)
        return false;
    for (int i = 0; i < batch; i++)
        received[(next_number + i) % RING] = 0;
    c->busy = true;
    c->started = clock_ns();
    size_t size;
    const char *request = publish_request(next_number, batch, c->started, &size);
    next_number += batch;
    run.first_publish = run.first_publish ? run.first_publish : c->started;
    run.published += batch;
    send_request(c, request, size);
    return true;
}

/* ---- the loop ---- */

static void readable(struct connection *c)
{
    static char bytes[1 << 18];
    ssize_t count = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    now = clock_ns();
    run.bytes += c->is_stream && count > 0 ? count : 0;
    if (count > 0)
        feed(c, bytes, count);
    else if (count == 0 || (errno != EAGAIN && errno != EINTR))
        hang_up(c);
}

/* Handles what is there, and waits for it at most so many milliseconds. */
static void turn_within(int wait_ms)
{
    struct epoll_event ready[1024];
    uint64_t before = clock_ns();
    int count = epoll_wait(epoll, ready, sizeof ready / sizeof *ready, wait_ms);
    now = clock_ns();
    if (!count || wait_ms)
        run.idle += now - before;
    for (int i = 0; i < count; i++) {
        struct connection *c = ready[i].data.ptr;
        if (c->fd >= 0 && ready[i].events & EPOLLOUT)
            writable(c);
        if (c->fd >= 0 && ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            readable(c);
    }
}

static void turn(void)
{
    turn_within(0);
}

/* Sees to the connections to publish on: new ones, and those that a server has closed for having been idle, or is about to. */
static void want_publishers(int count)
{
    turn();
    publisher_count = count < MAX_PUBLISHERS ? count : MAX_PUBLISHERS;
    for (struct connection *c = publishers; c < publishers + publisher_count; c++) {
        if (c->fd > 0 && elapsed(c->started, now) < KEPT_ALIVE)
            continue;
        hang_up(c);
        memset(c, 0, sizeof *c);
        c->started = now;
        connect_to_server(c, 0);
    }
}

static bool stuck(void)
{
    return run.gone || elapsed(run.last_progress, now) > PATIENCE;
}

static bool in_flight(void)
{
    bool posting = false;
    for (int i = 0; i < publisher_count; i++)
        posting = posting || publishers[i].busy;
    return posting || (stream_count && run.complete < run.published);
}

static void drain(void)
{
    while (in_flight() && !stuck())
        turn();
}

static void begin(void)
{
    char last_id[LINE];
    memcpy(last_id, run.last_id, LINE);
    memset(&run, 0, sizeof run);
    memcpy(run.last_id, last_id, LINE);
    run.began = run.last_progress = now = clock_ns();
    run.first_number = next_number;
    for (int i = 0; i < stream_count; i++)
        streams[i].count = streams[i].sum = 0;
}

/* How many streams did not receive each event of this command exactly once. */
static int wrong(void)
{
    uint64_t n = run.published, sum = n * run.first_number + n * (n - 1) / 2;
    int count = 0;
    for (int i = 0; i < stream_count && n; i++)
        count += streams[i].count != n || streams[i].sum != sum;
    return count;
}

static void answer(void)
{
    printf("{\"seconds\": %.6f, \"span\": %.6f, \"idle\": %.4f, \"streams\": %d, \"published\": %llu, \"answered\": %llu, "
           "\"deliveries\": %llu, \"bytes\": %llu, \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, \"wrong\": %d, \"gone\": %d, "
           "\"rejected\": %d, \"status\": %d, \"stuck\": %s, \"last_id\": \"%s\"}\n",
           elapsed(run.began, now), elapsed(run.first_publish, run.last_delivery),
           elapsed(0, run.idle) / (elapsed(run.began, now) + 1e-9), stream_count, (unsigned long long)run.published,
           (unsigned long long)run.answered, (unsigned long long)run.deliveries, (unsigned long long)run.bytes,
           histogram_us(&run.latency, 0.5), histogram_us(&run.latency, 0.99), histogram_us(&run.latency, 1), wrong(),
           run.gone, run.rejected, run.last_status, stuck() ? "true" : "false", run.last_id);
    fflush(stdout);
}

/* ---- commands ---- */

static void open_streams(int count, int window, int events)
{
    int before = stream_count, wanted = before + count < MAX_STREAMS ? before + count : MAX_STREAMS;
    run.open_events = events;
    while (run.ready < wanted - before && !stuck()) {
        while (stream_count < wanted && stream_count - before - run.ready < window)
            start_stream();
        turn();
    }
}

static void publish_paced(uint64_t events, uint64_t interval_ns, double seconds)
{
    want_publishers(1);
    for (uint64_t due = now; run.published < events && elapsed(run.began, now) < seconds; due += interval_ns) {
        if (stuck())
            return;
        while (now < due)
            turn();
        publish(1);
        drain();
    }
}

static void publish_closed(uint64_t in_flight_wanted, double seconds)
{
    want_publishers(2 * in_flight_wanted); /* an answer may take longer than the deliveries */
    while (elapsed(run.began, now) < seconds && !stuck()) {
        while (run.published - run.complete < in_flight_wanted && publish(1))
            ;
        turn();
    }
    drain();
}

static void publish_only(int connections, int batch, uint64_t events, double seconds)
{
    run.timing_answers = true;
    want_publishers(connections);
    while (run.published < events && elapsed(run.began, now) < seconds && !stuck()) {
        while (run.published < events && publish(batch))
            ;
        turn();
    }
    drain();
}

/* What another process publishes. It does not know when: waiting leaves the core to that process. */
static void listen_to(uint64_t first, uint64_t events)
{
    for (uint64_t i = 0; i < events; i++)
        received[(first + i) % RING] = 0;
    run.first_number = first;
    run.published = events;
    next_number = first + events;
    publisher_count = 0;
    while (in_flight() && !stuck())
        turn_within(100);
}

static void close_streams(void)
{
    while (stream_count) {
        struct connection *c = &streams[--stream_count];
        if (c->fd >= 0)
            close(c->fd);
    }
}

static void command(const char *line)
{
    char path[512];
    double seconds;
    int a, b, c;
    begin();
    if (sscanf(line, "requests %511s", path) == 1)
        request_count = load_texts(path, requests, MAX_REQUESTS);
    else if (sscanf(line, "publish %511s", path) == 1)
        load_texts(path, publish_template, 4);
    else if (sscanf(line, "open %d %d %d", &a, &b, &c) == 3)
        open_streams(a, b, c);
    else if (sscanf(line, "paced %d %d %lf", &a, &b, &seconds) == 3)
        publish_paced(a, b * 1000ull, seconds);
    else if (sscanf(line, "closed %d %lf", &a, &seconds) == 2)
        publish_closed(a, seconds);
    else if (sscanf(line, "post %d %d %d %lf", &a, &b, &c, &seconds) == 4 && b <= MAX_BATCH)
        publish_only(a, b, c, seconds);
    else if (sscanf(line, "listen %d %d", &a, &b) == 2)
        listen_to(a, b);
    else if (!strncmp(line, "close", 5))
        close_streams();
    else
        errno = EINVAL, fatal(line);
    answer();
}

int main(int argc, char **argv)
{
    char line[1024];
    allow_many_files();
    port = argc > 1 ? atoi(argv[1]) : 0;
    epoll = epoll_create1(0);
    while (fgets(line, sizeof line, stdin))
        command(line);
}
