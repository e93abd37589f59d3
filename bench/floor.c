/* The floor: the least that fan-out over Server-Sent Events can cost a server process.
 *
 * One thread, one epoll, one bare send() per delivery and nothing else: no authorisation, no log, no back-pressure, no
 * memory of what was sent. GET opens a stream, POST sends its body to every stream as one chunk. A stream whose socket
 * is full is dropped, which the load generator counts as an error; within the bounds of the benchmark it cannot happen.
 *
 * Usage: floor PORT
 */
#define _GNU_SOURCE
#include "sockets.h"
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { MAX_FD = 65536, MAX_REQUEST = 65536, BATCH = 256 };

struct request {
    size_t length;
    char bytes[MAX_REQUEST];
};

static struct request *requests[MAX_FD]; /* by fd: what has been read of a request that is not complete */
static int streams[MAX_FD];              /* fds of the open streams, dense */
static int slot[MAX_FD];                 /* by fd: its index in `streams` plus one; 0 where it is no stream */
static int stream_count;
static unsigned long position;

static const char STREAM_HEAD[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
                                  "transfer-encoding: chunked\r\n\r\n3\r\n:\n\n\r\n";
static const char POST_REPLY[] = "HTTP/1.1 204 No Content\r\n\r\n";

static void forget(int fd)
{
    if (slot[fd]) {
        int last = streams[--stream_count];
        streams[slot[fd] - 1] = last;
        slot[last] = slot[fd];
        slot[fd] = 0;
    }
    free(requests[fd]);
    requests[fd] = NULL;
    close(fd);
}

static void fan_out(const char *data, size_t length)
{
    static char chunk[MAX_REQUEST + 128];
    char head[64];
    int head_length = snprintf(head, sizeof head, "id: %lu\ndata: ", ++position);
    int size = snprintf(chunk, sizeof chunk, "%zx\r\n%s%.*s\n\n\r\n", head_length + length + 2, head, (int)length, data);
    for (int i = stream_count - 1; i >= 0; i--)
        if (send(streams[i], chunk, size, MSG_DONTWAIT | MSG_NOSIGNAL) != size)
            forget(streams[i]);
}

static void open_stream(int fd)
{
    free(requests[fd]);
    requests[fd] = NULL;
    streams[stream_count++] = fd;
    slot[fd] = stream_count;
    if (send(fd, STREAM_HEAD, sizeof STREAM_HEAD - 1, MSG_NOSIGNAL) < 0)
        forget(fd);
}

/* Answers every complete request in the buffer. */
static void serve(int fd)
{
    struct request *request;
    while ((request = requests[fd]) && request->length) {
        request->bytes[request->length] = 0;
        char *end = strstr(request->bytes, "\r\n\r\n");
        if (!end)
            return;
        if (request->bytes[0] == 'G') {
            open_stream(fd);
            return;
        }
        char *header = strcasestr(request->bytes, "content-length:");
        size_t head = end + 4 - request->bytes, body = header ? strtoul(header + 15, NULL, 10) : 0;
        if (request->length < head + body)
            return;
        send(fd, POST_REPLY, sizeof POST_REPLY - 1, MSG_NOSIGNAL);
        fan_out(request->bytes + head, body);
        request->length -= head + body;
        memmove(request->bytes, request->bytes + head + body, request->length);
    }
}

static void readable(int fd)
{
    char ignored[512];
    struct request *request = requests[fd];
    if (slot[fd]) {
        if (recv(fd, ignored, sizeof ignored, 0) <= 0)
            forget(fd);
        return;
    }
    if (!request)
        request = requests[fd] = calloc(1, sizeof *request);
    ssize_t count = recv(fd, request->bytes + request->length, MAX_REQUEST - 1 - request->length, 0);
    if (count <= 0) {
        forget(fd);
        return;
    }
    request->length += count;
    serve(fd);
}

static void accept_all(int epoll, int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        send_at_once(fd);
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

static int listen_on(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    struct sockaddr_in address = loopback(0, port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096))
        fatal("floor: cannot listen");
    return fd;
}

int main(int argc, char **argv)
{
    allow_many_files();
    int listener = listen_on(argc > 1 ? atoi(argv[1]) : 0), epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[BATCH];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(epoll, ready, BATCH, -1);
        for (int i = 0; i < count; i++) {
            if (ready[i].data.fd == listener)
                accept_all(epoll, listener);
            else
                readable(ready[i].data.fd);
        }
    }
}
