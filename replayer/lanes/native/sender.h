/* The native lane: a small HTTP/1.1 sender that knows nothing of Python.
 *
 *   loaded requests (queue) -> in time? -> a connection? -> credit? (credit) -> send -> answer -> counts (tally)
 *
 * One thread runs `sender_run`. Everybody else calls the functions at the end of this file. One mutex guards all of a
 * sender; the loop lets go of it only while it waits for events, so whatever is called takes effect at once and sees
 * counts of one moment. Times are nanoseconds of CLOCK_MONOTONIC, as Python's time.monotonic_ns gives them.
 *
 * What is decided here is what replayer/schedule/pacing.py, permission/ceiling.py and transport/ say, and tests hold it
 * to them.
 */
#ifndef REAMP_SENDER_H
#define REAMP_SENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- credit.c: what a ceiling allows (rules/credit.py, replayer/permission/ceiling.py). The clock is an argument. --- */

enum { CREDIT = 1000000, SLOTS = 20 };

enum refusal { ALLOWED, NO_CREDIT, NO_SIGNAL, LEVER };

struct source {
    int64_t earned[SLOTS], recent, slot, balance; /* the bucket */
    int64_t allowance, spent;                     /* own check: never more than the agreed share of real requests */
    int64_t heard;                                /* when the newest grant was made; -1: it counts for nothing */
    bool lever;
};

struct ceiling {
    int32_t count, turn; /* no sources: unbounded, an idle target */
    int64_t slot_ns, stale_ns;
    struct source *sources;
};

struct ceiling *ceiling_new(int32_t count, int64_t spendable_ns, int64_t stale_ns);
void ceiling_free(struct ceiling *ceiling);
void ceiling_hear(struct ceiling *ceiling, int32_t place, int64_t now, bool clear, int64_t earned, int64_t allowance,
                  int64_t heard, bool lever);
int32_t ceiling_spend(struct ceiling *ceiling, int64_t now);
int32_t ceiling_open(const struct ceiling *ceiling, int64_t now);

/* --- tally.c: wait, send or shed (replayer/schedule/pacing.py), and how values are rounded --- */

enum pace { PACE_WAIT, PACE_SEND, PACE_SHED };

enum { LOOK = 100000000, WHOLE = 1000000 };

int32_t pace(int64_t now, int64_t due, int64_t max_lag, int64_t awake);
int64_t awake(int64_t awake, int64_t looked, int64_t now, int64_t max_lag);
int64_t rounded(int64_t microseconds); /* replayer/comparing/routes.py: to three digits */
bool passes(uint64_t seed, uint64_t number, int64_t gain); /* replayer/safety/thinning.py */

/* --- tally.c, too: how often which value was met, sparse --- */

struct tally {
    struct { uint64_t key, count; } *entries; /* key 0: free */
    size_t room, used;
};

enum tallied { TALLY_LATENCY = 1, TALLY_SERVICE, TALLY_LAG, TALLY_WAIT, TALLY_STATUS, TALLY_ERROR, TALLY_WITHHELD,
               TALLY_BYTES, TALLY_SHED, TALLY_RECORDED_STATUS, TALLY_RECORDED_BYTES, TALLY_RECORDED_DURATION,
               TALLY_RECORDED_TTFB };

bool tally_add(struct tally *tally, enum tallied kind, uint32_t route, uint64_t value, uint64_t count);
void tally_free(struct tally *tally);

/* --- answer.c: where an answer ends --- */

enum { MAX_HEAD = 65536 };

enum fed { FED_MORE, FED_DONE, FED_BAD };

struct answer {
    uint8_t phase, minor, withheld; /* withheld: 1 credit, 2 lever, 3 tag */
    bool keep, chunked, coded, sized;
    uint16_t status;
    uint32_t line;  /* bytes of heads, of a chunk's size line or of trailers so far, to bound them */
    int64_t left;   /* of the body, or of the chunk */
    int64_t size;   /* bytes of all of it so far */
    uint8_t *held;  /* of a head that came in pieces */
    uint32_t held_length, held_room;
};

void answer_begin(struct answer *answer);
enum fed answer_feed(struct answer *answer, const uint8_t *data, size_t length, bool to_head);
enum fed answer_closed(struct answer *answer); /* the other end said that there is no more */

/* --- queue.c: requests that were loaded ahead of need, in order of their times --- */

struct recorded { /* what the recording tells of the answer: status (-1: nothing), body, times in microseconds */
    int64_t status, size, duration, ttfb;
};

struct item {
    int64_t due;
    struct recorded recorded;
    uint32_t start, before, after; /* its bytes: where, and how many come before the token and after it */
    uint16_t route;
    uint8_t flags;
};

enum { ITEM_HEAD = 1, ITEM_SAFE = 2 };

struct batch {
    struct batch *next;
    uint32_t count, at;
    size_t bytes;
    struct item *items;
    uint8_t *content;
};

enum { OPEN_BATCHES = 32 };

struct queue {
    struct batch *first, *last;        /* not begun */
    struct batch *open[OPEN_BATCHES];  /* begun: reports of several sidecars overlap, so their batches do */
    int32_t opened, least;             /* how many, and which holds the earliest request (-1: to be looked for) */
    int64_t requests, bytes;
};

struct batch *batch_new(uint32_t count, size_t bytes);
void queue_push(struct queue *queue, struct batch *batch);
const struct item *queue_peek(struct queue *queue, const uint8_t **content);
void queue_take(struct queue *queue);
void queue_clear(struct queue *queue);

/* --- bulk.c: requests made of a recorded block, as it is stored --- */

#define HOLE UINT32_C(0x80000000)
#define SKIP UINT32_C(0x40000000) /* of a hole: this set has it, and its value is not sent */

struct block {
    uint32_t number, paths, before, after, fillings_room;
    const int64_t *arrivals, *waits, *durations, *sizes, *statuses;
    const uint32_t *line, *path, *set;        /* of each record */
    const uint32_t *set_at, *parts;           /* of each header set: texts, or holes to be filled */
    const uint32_t *values;                   /* of the holes, one after the other: texts */
    uint32_t *filled, *fillings;              /* of each record: where its fillings begin, and those */
    uint8_t *slow;
    const uint8_t *text;
    const uint32_t *text_at;                  /* text i lies between text_at[i] and text_at[i + 1] */
    const uint32_t *line_head, *line_tail, *path_text;
    const uint8_t *line_method, *line_flags;
    const uint16_t *routes;                   /* by method and path */
};

struct sender;
int32_t unfold_numbers(const uint8_t *planes, uint32_t width, uint32_t number, int64_t base, int64_t unit,
                       int64_t least, int64_t *out);
int32_t unfold_places(const uint8_t *planes, uint32_t width, uint32_t number, uint32_t values, uint32_t add,
                      uint32_t *out);
int32_t unfold_times(uint32_t number, int64_t first, const int64_t *gaps, int64_t *arrivals, int64_t *waits,
                     int64_t *durations);
int64_t unfold_total(const uint32_t *places, uint32_t number, const uint32_t *lengths);
void unfold_uses(const uint32_t *places, uint32_t number, uint32_t *uses);
int32_t block_fill(struct block *block, uint32_t *cursors, const uint32_t *ends);
void block_mark(struct block *block, const uint8_t *slow_line, const uint8_t *slow_path, const uint8_t *slow_set,
                const uint32_t *body, const uint8_t *slow_body, const int64_t *missing, uint8_t *used);
int32_t block_load(const struct block *block, struct sender *sender, const uint32_t *places, uint32_t count,
                   int64_t shift);
uint32_t block_prefix(const struct block *block, uint32_t i, uint8_t *out, uint32_t room);

/* --- sender.c: connections, the loop --- */

enum shed { SHED_CREDIT, SHED_SIGNAL, SHED_LEVER, SHED_CONNECTIONS, SHED_BACKOFF, SHED_CONNECTING, SHED_LATE, SHED_BACKED_OFF,
            SHEDS };
enum failure { FAIL_REFUSED, FAIL_CONNECT, FAIL_CONNECT_TIMEOUT, FAIL_CLOSED, FAIL_RESET, FAIL_FIRST_BYTE, FAIL_TRUNCATED,
               FAIL_TIMEOUT, FAIL_PROTOCOL, FAILURES };
enum news { NEWS_LOW = 1, NEWS_DEADLINE = 2, NEWS_EXHAUSTED = 4, NEWS_LEVER = 8, NEWS_SETTLED = 16, NEWS_BROKEN = 32 };

struct settings {
    int64_t max_lag, lag_bound, connect_timeout, first_byte_timeout, timeout;
    uint64_t seed; /* of what is drawn for when not all of it is to be sent */
    int32_t max_connections, guarded, news_fd, low;
};

struct look { /* everything of one moment */
    int64_t taken, queued, queued_bytes, sent, answered, in_flight, waiting, open;
    int64_t retried, crowded, bytes_sent, bytes_received, news;
    int64_t shed[SHEDS], withheld[3], errors[FAILURES], reasons[FAILURES]; /* reasons: the first errno of each kind */
    int64_t statuses[1000];
};

struct sender;

struct sender *sender_new(const struct settings *settings, struct ceiling *ceiling);
int32_t sender_run(struct sender *sender);
int32_t sender_address(struct sender *sender, const void *address, uint32_t length, bool first);
void sender_begin(struct sender *sender, int64_t deadline);
int32_t sender_load(struct sender *sender, uint32_t count, const int64_t *due, const uint32_t *before,
                    const uint32_t *after, const uint16_t *route, const uint8_t *flags, const int64_t *recorded,
                    const uint8_t *content, uint64_t bytes);
int32_t sender_push(struct sender *sender, struct batch *batch);
void sender_last(struct sender *sender); /* there will be no more to load */
void sender_fed_again(struct sender *sender, int64_t now); /* whoever loads was held up until now */
int32_t sender_token(struct sender *sender, const uint8_t *token, uint32_t length, int64_t until);
void sender_hear(struct sender *sender, int32_t place, int64_t now, bool clear, int64_t earned, int64_t allowance,
                 int64_t heard, bool lever);
void sender_gain(struct sender *sender, int64_t gain); /* the share that goes on, in millionths */
int64_t sender_halt(struct sender *sender);
int64_t sender_withdraw(struct sender *sender);
void sender_look(struct sender *sender, struct look *look, int64_t *spent);
int64_t sender_queued(struct sender *sender, int64_t *bytes); /* requests that are loaded and not yet taken */
int64_t sender_news(struct sender *sender); /* what happened since it was asked before, as `enum news` */
uint64_t sender_turn(struct sender *sender); /* begin a new tally; give how many entries the old one has */
void sender_tallied(struct sender *sender, uint64_t *keys, uint64_t *counts);
int64_t sender_close(struct sender *sender);
void sender_free(struct sender *sender); /* after the loop has ended */

#endif
