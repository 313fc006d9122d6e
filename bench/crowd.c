/* Many clients, a process of its own: opens streams, reads them with epoll, and counts events.
 *
 *   crowd PORT AGAIN CLIENTS FILE HELLO REPLY READY STALLED
 *
 * FILE holds the requests, each ended by a NUL; client n sends request n modulo their number. When HELLO has come it sends REPLY
 * (both may be empty), and it is ready when READY has come. The first STALLED clients then read no more. If AGAIN is a port, a client
 * whose stream has ended comes back there, at once, with the id of its last event, and events are parsed; else `"at":` is counted.
 *
 * Says {"ready": n, "seconds": s}, then for each line on stdin what has arrived since the last:
 *   {"events", "ended", "back", "backwards", "busy", "delays"}
 * ended: streams that ended; back: clients that are ready again; backwards: ids that did not grow; busy: its own CPU seconds;
 * delays: those of some fifty clients, seconds since the time that stands in the event, on the clock that processes share.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SAMPLED = 50, AT_ONCE = 256, CARRY = 1024, BUFFER = 1 << 20, ID = 64, MOST_DELAYS = 1 << 22 };
#define AT "\"at\":"

struct client {
    int number, socket, connecting, ready, greeted, sampled;
    char id[ID], pending[ID]; /* of the last whole event, and of the one that is being read */
    int event;                /* the one that is being read is one of ours */
    int carried;
    char carry[CARRY]; /* what may be the beginning of what is looked for */
};

static int port, again, count, stalled;
static const char *hello, *reply, *ready_word;
static char **requests;
static int request_count;
static struct client *clients;
static int poller, waiting, ready_now;
static long events, ended, back, backwards, delay_count;
static double *delays;
static char buffer[CARRY + BUFFER + 1];

static void fail(const char *format, ...) {
    va_list rest;
    va_start(rest, format);
    vfprintf(stderr, format, rest);
    fprintf(stderr, ": %s\n", strerror(errno));
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static double busy(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void send_all(int socket, const char *text, size_t length) {
    while (length > 0) {
        ssize_t sent = send(socket, text, length, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return; /* reset: reading will tell */
        if (sent > 0)
            text += sent, length -= sent;
    }
}

static void watch(struct client *client, int operation, uint32_t events_wanted) {
    struct epoll_event interest = {.events = events_wanted, .data.ptr = client};
    if (epoll_ctl(poller, operation, client->socket, &interest) < 0)
        fail("epoll");
}

static void open_client(struct client *client) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    client->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (client->socket < 0)
        fail("no socket");
    if (connect(client->socket, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        fail("client %d cannot connect to port %d", client->number, port);
    client->connecting = 1;
    client->ready = client->carried = client->event = client->pending[0] = 0;
    client->greeted = hello[0] == 0;
    watch(client, EPOLL_CTL_ADD, EPOLLOUT);
    waiting++;
}

/* The connection is there, or refused: sends the request, with the id of the last event if there was one. */
static void request(struct client *client) {
    socklen_t size = sizeof errno;
    if (getsockopt(client->socket, SOL_SOCKET, SO_ERROR, &errno, &size) < 0 || errno)
        fail("client %d cannot connect to port %d", client->number, port);
    const char *text = requests[client->number % request_count];
    size_t length = strlen(text);
    if (client->id[0]) {
        char head[ID + 24];
        int more = snprintf(head, sizeof head, "Last-Event-ID: %s\r\n\r\n", client->id);
        send_all(client->socket, text, length - 2); /* before the empty line */
        send_all(client->socket, head, more);
    } else
        send_all(client->socket, text, length);
    client->connecting = 0;
    watch(client, EPOLL_CTL_MOD, EPOLLIN);
}

static void note_delay(struct client *client, const char *at, const char *end) {
    if (client->sampled && end - at > 20 && delay_count < MOST_DELAYS)
        delays[delay_count++] = now() - strtod(at + sizeof AT - 1, NULL);
}

static double position(const char *id) {
    const char *dash = strchr(id, '-');
    return dash ? strtod(dash + 1, NULL) : 0;
}

/* One line of a stream. Lines of the response's head, and of chunked framing, end with CR, and ours do not. */
static void take_line(struct client *client, char *line, char *end) {
    char *at;
    if (end > line && end[-1] == '\r')
        return;
    if (end == line) {
        if (client->pending[0]) {
            if (client->event) {
                events++;
                backwards += client->id[0] && position(client->pending) <= position(client->id);
            }
            strcpy(client->id, client->pending);
        }
        client->event = client->pending[0] = 0;
    } else if (end - line > 4 && !memcmp(line, "id: ", 4) && end - line - 4 < ID) {
        memcpy(client->pending, line + 4, end - line - 4);
        client->pending[end - line - 4] = 0;
    } else if ((at = memmem(line, end - line, AT, sizeof AT - 1))) {
        client->event = 1;
        note_delay(client, at, end);
    }
}

static void parse(struct client *client, char *from, char *end) {
    char *line_end;
    while ((line_end = memchr(from, '\n', end - from))) {
        take_line(client, from, line_end);
        from = line_end + 1;
    }
    if (end - from > CARRY)
        from = end - CARRY; /* only the beginning of a line is lost, and of a line that is none of ours */
    client->carried = end - from;
    memcpy(client->carry, from, client->carried);
}

static void scan(struct client *client, char *from, char *end) {
    char *at = from;
    while ((at = memmem(at, end - at, AT, sizeof AT - 1))) {
        events++;
        note_delay(client, at, end);
        at += sizeof AT - 1;
    }
    client->carried = end - from < (long)sizeof AT - 2 ? end - from : (long)sizeof AT - 2;
    memcpy(client->carry, end - client->carried, client->carried);
}

static void become_ready(struct client *client) {
    client->ready = 1;
    waiting--;
    ready_now++;
    back += ended > 0;
    if (client->number < stalled)
        epoll_ctl(poller, EPOLL_CTL_DEL, client->socket, NULL);
}

static void leave(struct client *client) {
    ended++;
    if (client->ready)
        ready_now--;
    else
        waiting--;
    close(client->socket);
    if (again) {
        port = again;
        open_client(client);
    }
}

static void read_client(struct client *client) {
    if (client->connecting) {
        request(client);
        return;
    }
    char *begin = buffer + CARRY - client->carried;
    memcpy(begin, client->carry, client->carried);
    ssize_t length = recv(client->socket, buffer + CARRY, BUFFER, 0);
    if (length < 0 && errno == EAGAIN)
        return;
    if (length <= 0) {
        leave(client);
        return;
    }
    char *end = buffer + CARRY + length;
    *end = 0;
    if (!client->greeted && memmem(begin, end - begin, hello, strlen(hello))) {
        client->greeted = 1;
        send_all(client->socket, reply, strlen(reply));
    }
    if (!client->ready && client->greeted && memmem(begin, end - begin, ready_word, strlen(ready_word)))
        become_ready(client);
    if (!client->ready && !again) { /* nothing to count yet, and all of it may be the beginning of a word */
        client->carried = end - begin < CARRY ? end - begin : CARRY;
        memcpy(client->carry, end - client->carried, client->carried);
    } else if (again)
        parse(client, begin, end);
    else
        scan(client, begin, end);
}

/* Reads what is there; true if stdin has something to say. */
static int read_all(int timeout_ms) {
    struct epoll_event found[512];
    int said = 0, number = epoll_wait(poller, found, 512, timeout_ms);
    for (int i = 0; i < number; i++)
        if (found[i].data.ptr)
            read_client(found[i].data.ptr);
        else
            said = 1;
    return said;
}

static void read_requests(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file)
        fail("%s", path);
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    char *text = malloc(size + 1), *end = text + size;
    if (!text || fread(text, 1, size, file) != (size_t)size)
        fail("%s", path);
    fclose(file);
    requests = malloc(sizeof(char *) * (size + 1));
    for (char *each = text; each < end; each += strlen(each) + 1)
        requests[request_count++] = each;
}

static void answer(void) {
    printf("{\"events\":%ld,\"ended\":%ld,\"back\":%ld,\"ready\":%d,\"backwards\":%ld,\"busy\":%.6f,\"delays\":[", events, ended, back, ready_now,
           backwards, busy());
    for (long i = 0; i < delay_count; i++)
        printf(i ? ",%.6f" : "%.6f", delays[i]);
    printf("]}\n");
    fflush(stdout);
    events = delay_count = 0;
}

int main(int argc, char **argv) {
    if (argc != 9)
        fail("usage: crowd PORT AGAIN CLIENTS FILE HELLO REPLY READY STALLED");
    port = atoi(argv[1]), again = atoi(argv[2]), count = atoi(argv[3]);
    read_requests(argv[4]);
    hello = argv[5], reply = argv[6], ready_word = argv[7], stalled = atoi(argv[8]);
    clients = calloc(count, sizeof *clients);
    delays = malloc(sizeof *delays * MOST_DELAYS);
    poller = epoll_create1(0);
    double started = now();
    for (int number = 0; number < count; number++) {
        clients[number].number = number;
        clients[number].sampled = number % (count / SAMPLED ? count / SAMPLED : 1) == 0;
        open_client(&clients[number]);
        while (waiting >= AT_ONCE)
            read_all(1000);
    }
    while (waiting)
        read_all(1000);
    printf("{\"ready\":%d,\"seconds\":%.6f}\n", ready_now, now() - started);
    fflush(stdout);
    struct epoll_event interest = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &interest);
    for (;;)
        if (read_all(1000)) {
            char line[4096];
            if (read(STDIN_FILENO, line, sizeof line) <= 0)
                return 0;
            answer();
        }
}
