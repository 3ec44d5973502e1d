/* The ceiling, exactly as rules/credit.py (the bucket) and replayer/permission/ceiling.py (sources, turns) have it.
 *
 * Python hears the grants and tells what they earned; here it is spent, so that a loop that is not heard of any more
 * stops by the clock alone: what was earned expires, and so does the signal. */
#include "sender.h"

#include <stdlib.h>
#include <string.h>

struct ceiling *ceiling_new(int32_t count, int64_t spendable_ns, int64_t stale_ns) {
    struct ceiling *ceiling = calloc(1, sizeof *ceiling);
    if (ceiling == NULL)
        return NULL;
    ceiling->sources = calloc(count > 0 ? (size_t)count : 1, sizeof *ceiling->sources);
    if (ceiling->sources == NULL) {
        free(ceiling);
        return NULL;
    }
    ceiling->count = count;
    ceiling->slot_ns = spendable_ns / SLOTS;
    ceiling->stale_ns = stale_ns;
    for (int32_t i = 0; i < count; i++)
        ceiling->sources[i].heard = -1;
    return ceiling;
}

void ceiling_free(struct ceiling *ceiling) {
    if (ceiling != NULL)
        free(ceiling->sources);
    free(ceiling);
}

static int64_t cap(const struct source *source) {
    return source->recent > CREDIT ? source->recent : CREDIT;
}

static void slide(const struct ceiling *ceiling, struct source *source, int64_t now) {
    int64_t slot = now / ceiling->slot_ns, passed = slot - source->slot;
    if (passed <= 0)
        return;
    source->slot = slot;
    if (passed >= SLOTS) {
        memset(source->earned, 0, sizeof source->earned);
        source->recent = 0;
    } else {
        for (int64_t step = slot - passed + 1; step <= slot; step++) {
            source->recent -= source->earned[step % SLOTS];
            source->earned[step % SLOTS] = 0;
        }
    }
    if (source->balance > cap(source))
        source->balance = cap(source);
}

void ceiling_hear(struct ceiling *ceiling, int32_t place, int64_t now, bool clear, int64_t earned, int64_t allowance,
                  int64_t heard, bool lever) {
    if (place < 0 || place >= ceiling->count)
        return;
    struct source *source = &ceiling->sources[place];
    if (clear) {
        memset(source->earned, 0, sizeof source->earned);
        source->recent = source->balance = 0;
    }
    if (earned > 0) {
        slide(ceiling, source, now);
        source->earned[source->slot % SLOTS] += earned;
        source->recent += earned;
        source->balance += earned;
        if (source->balance > cap(source))
            source->balance = cap(source);
    }
    source->allowance = allowance;
    source->heard = heard;
    source->lever = lever;
}

static bool fresh(const struct ceiling *ceiling, const struct source *source, int64_t now) {
    return source->heard >= 0 && now - source->heard <= ceiling->stale_ns;
}

static int32_t spend(const struct ceiling *ceiling, struct source *source, int64_t now) {
    if (!fresh(ceiling, source, now))
        return NO_SIGNAL;
    if ((source->spent + 1) * CREDIT > source->allowance)
        return NO_CREDIT;
    slide(ceiling, source, now);
    if (source->balance < CREDIT || source->recent <= 0)
        return NO_CREDIT;
    source->balance -= CREDIT;
    source->spent++;
    return ALLOWED;
}

static bool pulled(const struct ceiling *ceiling) {
    for (int32_t i = 0; i < ceiling->count; i++)
        if (ceiling->sources[i].lever)
            return true;
    return false;
}

int32_t ceiling_spend(struct ceiling *ceiling, int64_t now) {
    if (ceiling->count == 0)
        return ALLOWED;
    if (pulled(ceiling))
        return LEVER;
    int32_t refusal = NO_SIGNAL;
    for (int32_t i = 0; i < ceiling->count; i++) {
        int32_t place = (ceiling->turn + i) % ceiling->count;
        int32_t found = spend(ceiling, &ceiling->sources[place], now);
        if (found == ALLOWED) { /* turn by turn, so that one sidecar's users do not carry everything */
            ceiling->turn = (ceiling->turn + 1) % ceiling->count;
            return ALLOWED;
        }
        if (found == NO_CREDIT)
            refusal = NO_CREDIT;
    }
    return refusal;
}

int32_t ceiling_open(const struct ceiling *ceiling, int64_t now) {
    if (ceiling->count == 0)
        return ALLOWED;
    if (pulled(ceiling))
        return LEVER;
    for (int32_t i = 0; i < ceiling->count; i++)
        if (fresh(ceiling, &ceiling->sources[i], now))
            return ALLOWED;
    return NO_SIGNAL;
}
