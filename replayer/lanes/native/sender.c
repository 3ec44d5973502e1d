/* Connections and the loop. What it decides and counts is what replayer/transport/ and replayer/lanes/python.py do. */
#include "sender.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(time_t) == 8, "epoll_pwait2 is called as on machines of 64 bits");

enum { EVENTS = 256, BATCH = 64, BUFFER = 65536, ADDRESSES = 16, KEPT_OUT = 65536, LARGE = 65536, TOKEN = 512, PUT_OFF = 64 };

static const int64_t SWEEP = 50000000, FIRST_PAUSE = 10000000, LONGEST_PAUSE = 1000000000;
static const int64_t AGAIN = 500000000; /* SPENDABLE_NS of replayer/permission/ceiling.py */

enum state { FREE, CONNECTING, IDLE, BUSY };

struct connection {
    int fd;
    uint32_t generation; /* so that an event of a connection that is gone is not taken for one of its successor */
    uint8_t state, flags;
    bool rested, retried, waits, blocked; /* waits: its request was never written; blocked: part of it is not yet */
    uint16_t route;
    int32_t address, next, previous; /* in the list of those that are idle, or free */
    int64_t due, ready, sent, opened;
    struct recorded recorded;
    uint8_t *out;
    size_t length, written, room, token_at, token_length;
    struct answer answer;
};

struct sender {
    struct settings settings;
    struct ceiling *ceiling;
    pthread_mutex_t door, mutex;
    int epoll, wake;
    bool begun, sending, last, closed;
    bool over; /* not even what a connection lost is sent again */
    bool levered; /* a guard said that its lever is pulled: not even what waits for a connection is sent */
    int64_t gain, deadline, token_until, short_since, not_before, failures, opening, next_sweep, looked, awake;
    uint8_t token[TOKEN];
    uint32_t token_length;
    struct queue queue;
    struct connection *all;
    int32_t used, free, idle, open, idles; /* used: so many of `all` were ever in use */
    struct sockaddr_storage addresses[ADDRESSES];
    socklen_t address_lengths[ADDRESSES];
    int32_t address_count;
    struct look counts;
    struct tally tally, turned;
    uint8_t buffer[BUFFER];
};

static int64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Whoever waits for the mutex holds the door, so a loop that never rests can't come in before them again and again. */
static void enter(struct sender *sender) {
    pthread_mutex_lock(&sender->door);
    pthread_mutex_lock(&sender->mutex);
    pthread_mutex_unlock(&sender->door);
}

static void leave(struct sender *sender) {
    pthread_mutex_unlock(&sender->mutex);
}

static void tell(struct sender *sender, enum news news) {
    uint64_t one = 1;
    if ((sender->counts.news & news) == 0) {
        sender->counts.news |= news;
        if (write(sender->settings.news_fd, &one, sizeof one) < 0) {
            /* The counter is full: somebody will look anyway. */
        }
    }
}

static void count(struct sender *sender, enum tallied kind, uint32_t route, int64_t value, uint64_t times) {
    if (!tally_add(&sender->tally, kind, route, (uint64_t)value, times)) {
        sender->sending = false; /* without memory to count in, nothing more is sent */
        sender->over = true;
        tell(sender, NEWS_BROKEN);
    }
}

static int32_t place(const struct sender *sender, const struct connection *connection) {
    return (int32_t)(connection - sender->all);
}

static bool waiting_or_flying(const struct sender *sender) {
    return sender->counts.waiting > 0 || sender->open - sender->idles > 0;
}

static void settled(struct sender *sender) {
    if (!sender->sending && !waiting_or_flying(sender))
        tell(sender, NEWS_SETTLED);
}

/* --- the list of idle connections: last in, first out, so few stay warm and the others run out --- */

static void rest(struct sender *sender, struct connection *connection) {
    connection->state = IDLE;
    connection->rested = true;
    connection->previous = -1;
    connection->next = sender->idle;
    if (sender->idle >= 0)
        sender->all[sender->idle].previous = place(sender, connection);
    sender->idle = place(sender, connection);
    sender->idles++;
}

static void rouse(struct sender *sender, struct connection *connection) {
    if (connection->previous >= 0)
        sender->all[connection->previous].next = connection->next;
    else
        sender->idle = connection->next;
    if (connection->next >= 0)
        sender->all[connection->next].previous = connection->previous;
    sender->idles--;
}

static void forget(struct sender *sender, struct connection *connection) {
    if (connection->state == IDLE)
        rouse(sender, connection);
    else if (connection->state == CONNECTING)
        sender->opening--;
    if (connection->fd >= 0)
        close(connection->fd);
    connection->fd = -1;
    connection->generation++;
    connection->state = FREE;
    answer_begin(&connection->answer);
    if (connection->room > KEPT_OUT) {
        free(connection->out);
        connection->out = NULL;
        connection->room = 0;
    }
    connection->next = sender->free;
    sender->free = place(sender, connection);
    sender->open--;
}

static struct connection *new_connection(struct sender *sender) {
    struct connection *connection;
    if (sender->free >= 0) {
        connection = &sender->all[sender->free];
        sender->free = connection->next;
    } else {
        connection = &sender->all[sender->used++];
    }
    connection->state = BUSY;
    connection->fd = -1;
    connection->rested = connection->retried = connection->waits = connection->blocked = false;
    connection->address = 0;
    sender->open++;
    return connection;
}

static bool watch(struct sender *sender, struct connection *connection, int operation, uint32_t events) {
    struct epoll_event event = {.events = events};
    event.data.u64 = (uint64_t)connection->generation << 32 | (uint32_t)place(sender, connection);
    return epoll_ctl(sender->epoll, operation, connection->fd, &event) == 0;
}

/* --- outcomes --- */

/* What the recording tells of the very requests that were sent, whatever became of them now. */
static void count_recorded(struct sender *sender, const struct connection *connection) {
    const struct recorded *recorded = &connection->recorded;
    if (recorded->status < 0)
        return;
    count(sender, TALLY_RECORDED_STATUS, connection->route, recorded->status, 1);
    if (recorded->status > 0) {
        count(sender, TALLY_RECORDED_BYTES, connection->route, 0, (uint64_t)recorded->size);
        count(sender, TALLY_RECORDED_DURATION, connection->route, rounded(recorded->duration), 1);
        count(sender, TALLY_RECORDED_TTFB, connection->route, rounded(recorded->ttfb), 1);
    }
}

static void shed(struct sender *sender, uint16_t route, enum shed why) {
    sender->counts.shed[why]++;
    count(sender, TALLY_SHED, route, why, 1);
}

static void fail(struct sender *sender, struct connection *connection, enum failure failure) {
    if (connection->waits) {
        sender->counts.waiting--;
        sender->counts.sent++;
    }
    connection->waits = false;
    sender->counts.errors[failure]++;
    count(sender, TALLY_ERROR, connection->route, failure, 1);
    count_recorded(sender, connection);
    forget(sender, connection);
    settled(sender);
}

static void finish(struct sender *sender, struct connection *connection) {
    struct answer *answer = &connection->answer;
    int64_t now = clock_ns();
    sender->counts.bytes_received += answer->size;
    count(sender, TALLY_BYTES, connection->route, 0, (uint64_t)answer->size);
    bool guards = sender->settings.guarded && answer->withheld &&
                  (answer->status == 403 || answer->status == 429 || answer->status == 503);
    if (guards) {
        sender->counts.withheld[answer->withheld - 1]++;
        count(sender, TALLY_WITHHELD, connection->route, answer->withheld, 1);
        if (answer->withheld == 2) {
            sender->sending = false;
            sender->levered = true;
            tell(sender, NEWS_LEVER);
        }
    } else {
        sender->counts.answered++;
        sender->counts.statuses[answer->status]++;
        count(sender, TALLY_STATUS, connection->route, answer->status, 1);
        count(sender, TALLY_LATENCY, connection->route, rounded((now - connection->due) / 1000), 1);
        count(sender, TALLY_SERVICE, connection->route, rounded((now - connection->sent) / 1000), 1);
        count_recorded(sender, connection);
    }
    /* An answer may have come before its request was sent whole. Then the connection is of no more use, and of a large
     * request nobody can tell. */
    if (answer->keep && !connection->blocked && connection->length <= LARGE && !sender->closed)
        rest(sender, connection);
    else
        forget(sender, connection);
    settled(sender);
}

/* --- sending --- */

static bool begin_retry(struct sender *sender, struct connection *stale);

/* The connection ended, or was reset (`error`), with a request on it. */
static void lost(struct sender *sender, struct connection *connection, bool error) {
    if (connection->answer.size == 0) {
        /* A server may close an idle connection at the moment in which a request is sent (RFC 9112, 9.3.1). */
        if (connection->rested && (connection->flags & ITEM_SAFE) && !connection->retried &&
            begin_retry(sender, connection))
            return;
        fail(sender, connection, error ? FAIL_RESET : FAIL_CLOSED);
    } else if (!error && answer_closed(&connection->answer) == FED_DONE) {
        finish(sender, connection);
    } else {
        fail(sender, connection, FAIL_TRUNCATED);
    }
}

static void go_on_writing(struct sender *sender, struct connection *connection) {
    while (connection->written < connection->length) {
        ssize_t some = send(connection->fd, connection->out + connection->written,
                            connection->length - connection->written, MSG_NOSIGNAL);
        if (some < 0 && errno == EINTR)
            continue;
        if (some < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            if (!connection->blocked)
                watch(sender, connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLRDHUP | EPOLLOUT);
            connection->blocked = true;
            return;
        }
        if (some < 0) {
            /* The other end takes no more. It may have answered before: what there is to read tells what became of it,
             * and an event says so at once. */
            connection->written = connection->length;
            connection->blocked = true;
            watch(sender, connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLRDHUP);
            return;
        }
        connection->written += (size_t)some;
    }
    if (connection->blocked)
        watch(sender, connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLRDHUP);
    connection->blocked = false;
}

/* Put the token of this moment in its place, and write. */
static void write_request(struct sender *sender, struct connection *connection) {
    if (connection->token_length != sender->token_length) {
        uint8_t *after = connection->out + connection->token_at;
        memmove(after + sender->token_length, after + connection->token_length,
                connection->length - connection->token_at - connection->token_length);
        connection->length += sender->token_length - connection->token_length;
        connection->token_length = sender->token_length;
    }
    memcpy(connection->out + connection->token_at, sender->token, sender->token_length);
    connection->state = BUSY;
    connection->written = 0;
    connection->blocked = false;
    sender->counts.bytes_sent += (int64_t)connection->length;
    answer_begin(&connection->answer);
    go_on_writing(sender, connection);
}

static void count_sent(struct sender *sender, const struct connection *connection) {
    sender->counts.sent++;
    count(sender, TALLY_LAG, 0, rounded((connection->ready - connection->due) / 1000), 1);
    if (connection->sent > connection->ready)
        count(sender, TALLY_WAIT, 0, rounded((connection->sent - connection->ready) / 1000), 1);
}

static bool copy_request(struct connection *connection, const struct item *item, const uint8_t *content) {
    size_t most = (size_t)item->before + item->after + TOKEN;
    if (most > connection->room) {
        uint8_t *out = realloc(connection->out, most);
        if (out == NULL)
            return false;
        connection->out = out;
        connection->room = most;
    }
    memcpy(connection->out, content + item->start, (size_t)item->before + item->after);
    connection->length = (size_t)item->before + item->after;
    connection->token_at = item->before;
    connection->token_length = 0;
    connection->route = item->route;
    connection->flags = item->flags;
    connection->due = item->due;
    connection->recorded = item->recorded;
    return true;
}

/* --- connecting --- */

static void connected(struct sender *sender, struct connection *connection);

static void not_connected(struct sender *sender, struct connection *connection, enum failure failure, int error) {
    sender->failures++;
    int64_t pause = FIRST_PAUSE << (sender->failures < 11 ? sender->failures - 1 : 10);
    sender->not_before = clock_ns() + (pause < LONGEST_PAUSE ? pause : LONGEST_PAUSE);
    if (sender->counts.reasons[failure] == 0)
        sender->counts.reasons[failure] = error;
    fail(sender, connection, failure);
}

/* Try one address after the other, from `connection->address` on. */
static void open_connection(struct sender *sender, struct connection *connection) {
    int error = EADDRNOTAVAIL;
    for (; connection->address < sender->address_count; connection->address++) {
        const struct sockaddr *address = (const struct sockaddr *)&sender->addresses[connection->address];
        connection->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connection->fd < 0) {
            error = errno;
            break;
        }
        int yes = 1;
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        int done = connect(connection->fd, address, sender->address_lengths[connection->address]);
        if ((done == 0 || errno == EINPROGRESS) && watch(sender, connection, EPOLL_CTL_ADD, EPOLLOUT))
            return; /* the event tells how it went, also if it went at once */
        error = errno;
        close(connection->fd);
        connection->fd = -1;
    }
    not_connected(sender, connection,
                  error == ECONNREFUSED ? FAIL_REFUSED : error == ETIMEDOUT ? FAIL_CONNECT_TIMEOUT : FAIL_CONNECT, error);
}

static void start_connecting(struct sender *sender, struct connection *connection, int64_t now) {
    connection->state = CONNECTING;
    connection->opened = now;
    sender->opening++;
    open_connection(sender, connection);
}

static void connecting_went(struct sender *sender, struct connection *connection) {
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    if (error == 0) {
        connected(sender, connection);
        return;
    }
    if (connection->address + 1 < sender->address_count) {
        close(connection->fd);
        connection->fd = -1;
        connection->generation++;
        connection->address++;
        open_connection(sender, connection);
        return;
    }
    not_connected(sender, connection,
                  error == ECONNREFUSED ? FAIL_REFUSED : error == ETIMEDOUT ? FAIL_CONNECT_TIMEOUT : FAIL_CONNECT, error);
}

/* What waited for its connection is decided about again: all that held then has to hold still. */
static void connected(struct sender *sender, struct connection *connection) {
    int64_t now = clock_ns();
    sender->opening--;
    sender->failures = 0;
    sender->counts.open++;
    connection->state = BUSY;
    watch(sender, connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLRDHUP);
    int32_t refusal = sender->levered ? LEVER : ceiling_open(sender->ceiling, now);
    int64_t since = connection->waits ? connection->due : connection->ready, most = sender->settings.max_lag;
    if (!connection->waits && most < AGAIN)
        most = AGAIN; /* it has left the schedule, and what it spent is good for so long */
    enum shed why = refusal == LEVER            ? SHED_LEVER
                    : refusal != ALLOWED        ? SHED_SIGNAL
                    : sender->gain == 0         ? SHED_BACKED_OFF
                    : now - since > most        ? SHED_CONNECTING
                    : now > sender->token_until ? SHED_LATE
                                                : SHEDS;
    if (connection->waits) {
        connection->waits = false;
        sender->counts.waiting--;
        if (why != SHEDS) {
            sender->counts.shed[why]++; /* not by route, as in the Python lane */
            rest(sender, connection);
            settled(sender);
            return;
        }
        connection->sent = now;
        count_sent(sender, connection);
    } else if (why != SHEDS || sender->over) {
        fail(sender, connection, FAIL_CLOSED); /* it was sent before, over a connection that lost it */
        return;
    }
    write_request(sender, connection);
}

/* Also once all that was due is sent: it was due. */
static bool begin_retry(struct sender *sender, struct connection *stale) {
    int64_t now = clock_ns();
    if (sender->closed || sender->over || sender->levered || sender->failures || sender->gain == 0 ||
        now > sender->token_until || ceiling_spend(sender->ceiling, now) != ALLOWED)
        return false;
    sender->counts.retried++;
    close(stale->fd);
    stale->fd = -1;
    stale->generation++;
    stale->retried = true;
    stale->rested = stale->blocked = false;
    stale->address = 0;
    stale->ready = now;
    start_connecting(sender, stale, now);
    return true;
}

/* --- the pump: what is due is sent or shed, in its order --- */

enum shortage { NONE, ALL_IN_USE, BACKING_OFF };

static enum shortage shortage(const struct sender *sender, int64_t now) {
    if (sender->idle >= 0)
        return NONE;
    if (sender->failures && (sender->opening || now < sender->not_before))
        return BACKING_OFF;
    return sender->open >= sender->settings.max_connections ? ALL_IN_USE : NONE;
}

static void send_item(struct sender *sender, const struct item *item, const uint8_t *content, int64_t now) {
    bool kept = sender->idle >= 0;
    struct connection *connection = kept ? &sender->all[sender->idle] : new_connection(sender);
    if (kept)
        rouse(sender, connection);
    connection->state = BUSY;
    connection->retried = false;
    connection->sent = now;
    connection->ready = !sender->short_since ? now : sender->short_since > item->due ? sender->short_since : item->due;
    if (!copy_request(connection, item, content)) {
        shed(sender, item->route, SHED_LATE);
        forget(sender, connection);
        sender->sending = false;
        sender->over = true;
        tell(sender, NEWS_BROKEN);
    } else if (kept) {
        count_sent(sender, connection);
        write_request(sender, connection);
    } else {
        connection->waits = true;
        sender->counts.waiting++;
        start_connecting(sender, connection, now);
    }
}

/* Gives when to look again; INT64_MAX: when something happens. */
static int64_t pump(struct sender *sender) {
    for (int round = 0; sender->sending; round++) {
        int64_t now = clock_ns();
        const uint8_t *content;
        sender->awake = awake(sender->awake, sender->looked, now, sender->settings.max_lag);
        sender->looked = now;
        if (round == BATCH)
            return now; /* answers get their turn */
        if (sender->deadline && now >= sender->deadline) {
            sender->sending = false;
            tell(sender, NEWS_DEADLINE);
            break;
        }
        const struct item *item = queue_peek(&sender->queue, &content);
        if (item == NULL) {
            sender->short_since = 0;
            if (sender->last) {
                sender->sending = false;
                tell(sender, NEWS_EXHAUSTED);
            }
            break;
        }
        int32_t decision = pace(now, item->due, sender->settings.max_lag, sender->awake);
        if (decision == PACE_WAIT) {
            sender->short_since = 0;
            return sender->deadline && sender->deadline < item->due ? sender->deadline : item->due;
        }
        enum shed why = SHEDS;
        if (decision == PACE_SHED) {
            why = sender->short_since ? SHED_CONNECTIONS : SHED_LATE;
        } else if (!passes(sender->settings.seed, (uint64_t)sender->counts.taken, sender->gain)) {
            why = SHED_BACKED_OFF;
        } else {
            enum shortage lacking = shortage(sender, now);
            if (lacking == ALL_IN_USE) {
                if (!sender->short_since)
                    sender->short_since = now;
                int64_t too_late = item->due + sender->settings.max_lag + 1;
                return sender->deadline && sender->deadline < too_late ? sender->deadline : too_late;
            }
            int32_t refusal = ALLOWED;
            if (lacking == BACKING_OFF)
                why = SHED_BACKOFF;
            else if (now > sender->token_until)
                why = SHED_LATE; /* who renews the tag was held up */
            else if ((refusal = ceiling_spend(sender->ceiling, now)) != ALLOWED)
                why = refusal == LEVER ? SHED_LEVER : refusal == NO_SIGNAL ? SHED_SIGNAL : SHED_CREDIT;
        }
        sender->counts.taken++;
        if (why != SHEDS) {
            shed(sender, item->route, why);
        } else {
            if (sender->short_since && now - item->due > sender->settings.lag_bound)
                sender->counts.crowded++;
            send_item(sender, item, content, now);
        }
        queue_take(&sender->queue);
        if (!sender->last && sender->queue.requests < sender->settings.low)
            tell(sender, NEWS_LOW);
    }
    return sender->sending && sender->deadline ? sender->deadline : INT64_MAX;
}

/* --- events --- */

static void receive(struct sender *sender, struct connection *connection, uint32_t events) {
    if (connection->state == IDLE) { /* a parting message of a server that closes, or garbage: of no more use */
        forget(sender, connection);
        return;
    }
    ssize_t some = recv(connection->fd, sender->buffer, BUFFER, 0);
    if (some < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (some <= 0) {
        lost(sender, connection, some < 0);
        return;
    }
    enum fed fed =
        answer_feed(&connection->answer, sender->buffer, (size_t)some, (connection->flags & ITEM_HEAD) != 0);
    if (fed == FED_BAD) {
        fail(sender, connection, FAIL_PROTOCOL);
    } else if (fed == FED_DONE) {
        if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            connection->answer.keep = false;
        finish(sender, connection);
    }
}

static void handle(struct sender *sender, const struct epoll_event *event) {
    if (event->data.u64 == UINT64_MAX) {
        uint64_t wakes;
        if (read(sender->wake, &wakes, sizeof wakes) < 0) {
            /* Somebody else's wake was read with the one before. */
        }
        return;
    }
    struct connection *connection = &sender->all[(uint32_t)event->data.u64];
    if (connection->generation != event->data.u64 >> 32 || connection->state == FREE)
        return;
    if (connection->state == CONNECTING) {
        connecting_went(sender, connection);
        return;
    }
    uint32_t generation = connection->generation;
    if (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP))
        receive(sender, connection, event->events);
    if ((event->events & EPOLLOUT) && connection->generation == generation && connection->blocked)
        go_on_writing(sender, connection);
}

/* Give up what has waited too long: some times a second, in place of a timer for each request. */
static void sweep(struct sender *sender, int64_t now) {
    const struct settings *settings = &sender->settings;
    for (int32_t i = 0; i < sender->used; i++) {
        struct connection *connection = &sender->all[i];
        if (connection->state == CONNECTING) {
            if (now - connection->opened > settings->connect_timeout)
                not_connected(sender, connection, FAIL_CONNECT_TIMEOUT, ETIMEDOUT);
        } else if (connection->state == BUSY && now - connection->sent > settings->timeout) {
            fail(sender, connection, FAIL_TIMEOUT);
        } else if (connection->state == BUSY && connection->answer.size == 0 &&
                   now - connection->sent > settings->first_byte_timeout) {
            fail(sender, connection, FAIL_FIRST_BYTE);
        }
    }
}

static int wait_for_events(struct sender *sender, struct epoll_event *events, int64_t until) {
    int64_t left = until - clock_ns();
    struct timespec span = {0, 0};
    if (left > 0) {
        span.tv_sec = left / 1000000000;
        span.tv_nsec = left % 1000000000;
    }
    /* To the nanosecond, where epoll_wait knows milliseconds only. */
    return (int)syscall(SYS_epoll_pwait2, sender->epoll, events, EVENTS, &span, NULL, 8);
}

int32_t sender_run(struct sender *sender) {
    struct epoll_event events[EVENTS];
    int put_off = 0;
    prctl(PR_SET_TIMERSLACK, 1UL); /* the kernel may be late by 50 us else */
    enter(sender);
    while (!sender->closed) {
        int64_t until = sender->begun ? pump(sender) : INT64_MAX;
        if (until > sender->next_sweep)
            until = sender->next_sweep;
        int64_t asked = clock_ns();
        leave(sender);
        int found = wait_for_events(sender, events, until);
        int error = errno;
        enter(sender);
        if (found < 0 && error != EINTR) {
            sender->sending = false;
            sender->over = true;
            tell(sender, NEWS_BROKEN);
            leave(sender);
            return error;
        }
        for (int i = 0; i < found && !sender->closed; i++)
            handle(sender, &events[i]);
        /* What came while this thread was held up is not given up: that all was read which was there is what makes it
         * sure that an answer had not come by the time of the question. */
        if (asked >= sender->next_sweep && ((found >= 0 && found < EVENTS) || ++put_off == PUT_OFF)) {
            sweep(sender, asked);
            sender->next_sweep = asked + SWEEP;
            put_off = 0;
        }
    }
    leave(sender);
    return 0;
}

/* --- what others call --- */

static void wake(struct sender *sender) {
    uint64_t one = 1;
    if (write(sender->wake, &one, sizeof one) < 0) {
        /* The counter is full: it is awake. */
    }
}

struct sender *sender_new(const struct settings *settings, struct ceiling *ceiling) {
    struct sender *sender = calloc(1, sizeof *sender);
    if (sender == NULL)
        return NULL;
    sender->settings = *settings;
    sender->ceiling = ceiling;
    sender->gain = WHOLE;
    sender->free = sender->idle = -1;
    sender->token_until = -1;
    pthread_mutex_init(&sender->door, NULL);
    pthread_mutex_init(&sender->mutex, NULL);
    /* One more than may be used: a connection that replaces a lost one. */
    sender->all = calloc((size_t)settings->max_connections + 1, sizeof *sender->all);
    sender->epoll = epoll_create1(EPOLL_CLOEXEC);
    sender->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = UINT64_MAX};
    struct timespec none = {0, 0};
    if (sender->all == NULL || sender->epoll < 0 || sender->wake < 0 ||
        epoll_ctl(sender->epoll, EPOLL_CTL_ADD, sender->wake, &event) < 0 ||
        syscall(SYS_epoll_pwait2, sender->epoll, &event, 1, &none, NULL, 8) < 0) { /* a kernel before 5.11 */
        sender_free(sender);
        return NULL;
    }
    return sender;
}

int32_t sender_address(struct sender *sender, const void *address, uint32_t length, bool first) {
    int32_t taken = 0;
    enter(sender);
    if (first)
        sender->address_count = 0;
    if (length <= sizeof sender->addresses[0] && sender->address_count < ADDRESSES) {
        memcpy(&sender->addresses[sender->address_count], address, length);
        sender->address_lengths[sender->address_count++] = length;
        taken = 1;
    }
    leave(sender);
    return taken;
}

void sender_begin(struct sender *sender, int64_t deadline) {
    enter(sender);
    sender->begun = sender->sending = true;
    sender->deadline = deadline;
    leave(sender);
    wake(sender);
}

int32_t sender_load(struct sender *sender, uint32_t number, const int64_t *due, const uint32_t *before,
                    const uint32_t *after, const uint16_t *route, const uint8_t *flags, const int64_t *recorded,
                    const uint8_t *content, uint64_t bytes) {
    struct batch *batch = batch_new(number, bytes);
    if (batch == NULL)
        return 0;
    memcpy(batch->content, content, bytes);
    uint64_t start = 0;
    for (uint32_t i = 0; i < number; i++) {
        const int64_t *then = recorded + 4 * (size_t)i;
        batch->items[i] = (struct item){due[i], {then[0], then[1], then[2], then[3]}, (uint32_t)start, before[i], after[i], route[i], flags[i]};
        start += (uint64_t)before[i] + after[i];
    }
    if (start != bytes || start > UINT32_MAX) {
        free(batch);
        return 0;
    }
    return sender_push(sender, batch);
}

int32_t sender_push(struct sender *sender, struct batch *batch) {
    enter(sender);
    queue_push(&sender->queue, batch);
    leave(sender);
    wake(sender);
    return 1;
}

void sender_last(struct sender *sender) {
    enter(sender);
    sender->last = true;
    leave(sender);
    wake(sender);
}

/* If there was nothing left to send meanwhile, what fell due in that time was missed, however awake this thread was. */
void sender_fed_again(struct sender *sender, int64_t now) {
    enter(sender);
    if (sender->queue.requests == 0)
        sender->awake = now;
    leave(sender);
}

int32_t sender_token(struct sender *sender, const uint8_t *token, uint32_t length, int64_t until) {
    if (length > TOKEN)
        return 0;
    enter(sender);
    memcpy(sender->token, token, length);
    sender->token_length = length;
    sender->token_until = until;
    leave(sender);
    return 1;
}

void sender_hear(struct sender *sender, int32_t source, int64_t now, bool clear, int64_t earned, int64_t allowance,
                 int64_t heard, bool lever) {
    enter(sender);
    ceiling_hear(sender->ceiling, source, now, clear, earned, allowance, heard, lever);
    leave(sender);
}

void sender_gain(struct sender *sender, int64_t gain) {
    enter(sender);
    sender->gain = gain;
    leave(sender);
    wake(sender); /* what waits for a connection may have to wait no longer */
}

int64_t sender_halt(struct sender *sender) {
    enter(sender);
    int64_t left = sender->queue.requests;
    sender->sending = false;
    queue_clear(&sender->queue);
    settled(sender);
    leave(sender);
    return left;
}

int64_t sender_withdraw(struct sender *sender) {
    enter(sender);
    int64_t given_up = 0;
    sender->over = true;
    for (int32_t i = 0; i < sender->used; i++) {
        struct connection *connection = &sender->all[i];
        if (connection->state != CONNECTING)
            continue;
        if (connection->waits) {
            connection->waits = false;
            forget(sender, connection);
            given_up++;
        } else {
            fail(sender, connection, FAIL_CLOSED); /* as it was when it was lost */
        }
    }
    sender->counts.waiting = 0;
    settled(sender);
    leave(sender);
    return given_up;
}

void sender_look(struct sender *sender, struct look *look, int64_t *spent) {
    enter(sender);
    sender->counts.queued = sender->queue.requests;
    sender->counts.queued_bytes = sender->queue.bytes;
    sender->counts.in_flight = sender->open - sender->idles - sender->counts.waiting;
    *look = sender->counts;
    for (int32_t i = 0; i < sender->ceiling->count; i++)
        spent[i] = sender->ceiling->sources[i].spent;
    leave(sender);
}

int64_t sender_queued(struct sender *sender, int64_t *bytes) {
    enter(sender);
    int64_t requests = sender->queue.requests;
    *bytes = sender->queue.bytes;
    leave(sender);
    return requests;
}

int64_t sender_news(struct sender *sender) {
    enter(sender);
    int64_t news = sender->counts.news;
    sender->counts.news = 0;
    leave(sender);
    return news;
}

uint64_t sender_turn(struct sender *sender) {
    enter(sender);
    struct tally empty = sender->turned;
    sender->turned = sender->tally;
    sender->tally = empty;
    leave(sender);
    return sender->turned.used;
}

void sender_tallied(struct sender *sender, uint64_t *keys, uint64_t *counts) {
    struct tally *turned = &sender->turned; /* the loop does not know it any more */
    size_t found = 0;
    for (size_t i = 0; i < turned->room; i++)
        if (turned->entries[i].key != 0) {
            keys[found] = turned->entries[i].key;
            counts[found++] = turned->entries[i].count;
            turned->entries[i].key = turned->entries[i].count = 0;
        }
    turned->used = 0;
}

int64_t sender_close(struct sender *sender) {
    enter(sender);
    int64_t unanswered = sender->open - sender->idles - sender->counts.waiting;
    sender->sending = false;
    sender->closed = true;
    sender->counts.waiting = 0;
    queue_clear(&sender->queue);
    for (int32_t i = 0; i < sender->used; i++)
        if (sender->all[i].state != FREE)
            forget(sender, &sender->all[i]);
    leave(sender);
    wake(sender);
    return unanswered;
}

void sender_free(struct sender *sender) {
    if (sender == NULL)
        return;
    queue_clear(&sender->queue);
    for (int32_t i = 0; i < sender->used; i++) {
        if (sender->all[i].state != FREE)
            close(sender->all[i].fd);
        free(sender->all[i].answer.held);
        free(sender->all[i].out);
    }
    free(sender->all);
    tally_free(&sender->tally);
    tally_free(&sender->turned);
    if (sender->epoll >= 0)
        close(sender->epoll);
    if (sender->wake >= 0)
        close(sender->wake);
    pthread_mutex_destroy(&sender->door);
    pthread_mutex_destroy(&sender->mutex);
    ceiling_free(sender->ceiling);
    free(sender);
}
