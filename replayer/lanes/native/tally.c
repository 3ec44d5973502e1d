/* Pacing's decision, the gain's, and counts of values: an open-addressed table, so that two thousand routes cost what was met on
 * them and not two thousand whole histograms. */
#include "sender.h"

#include <stdlib.h>
#include <string.h>

int32_t pace(int64_t now, int64_t due, int64_t max_lag, int64_t awake) {
    if (due > now)
        return PACE_WAIT;
    return now - due <= max_lag && due >= awake ? PACE_SEND : PACE_SHED;
}

int64_t awake(int64_t awake, int64_t looked, int64_t now, int64_t max_lag) {
    return looked != 0 && now - looked > LOOK + max_lag ? now : awake;
}

int64_t rounded(int64_t microseconds) {
    if (microseconds < 2048)
        return microseconds < 0 ? 0 : microseconds;
    int spare = 53 - __builtin_clzll((unsigned long long)microseconds); /* all but the leading eleven bits */
    return microseconds >> spare << spare;
}

bool passes(uint64_t seed, uint64_t number, int64_t gain) {
    if (gain >= WHOLE)
        return true;
    uint64_t mixed = seed + (number + 1) * UINT64_C(0x9E3779B97F4A7C15); /* SplitMix64 */
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94D049BB133111EB);
    mixed ^= mixed >> 31;
    return (int64_t)((mixed >> 32) * WHOLE >> 32) < gain;
}

static size_t place(const struct tally *tally, uint64_t key) {
    size_t at = (size_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 20) & (tally->room - 1);
    while (tally->entries[at].key != 0 && tally->entries[at].key != key)
        at = (at + 1) & (tally->room - 1);
    return at;
}

static bool grow(struct tally *tally) {
    struct tally wider = {.room = tally->room ? 2 * tally->room : 4096, .used = tally->used};
    wider.entries = calloc(wider.room, sizeof *wider.entries);
    if (wider.entries == NULL)
        return false;
    for (size_t i = 0; i < tally->room; i++)
        if (tally->entries[i].key != 0)
            wider.entries[place(&wider, tally->entries[i].key)] = tally->entries[i];
    tally_free(tally);
    *tally = wider;
    return true;
}

bool tally_add(struct tally *tally, enum tallied kind, uint32_t route, uint64_t value, uint64_t count) {
    if (2 * tally->used >= tally->room && !grow(tally))
        return false;
    uint64_t key = (uint64_t)kind << 60 | (uint64_t)(route & 0xffff) << 40 | (value & ((UINT64_C(1) << 40) - 1));
    size_t at = place(tally, key);
    if (tally->entries[at].key == 0) {
        tally->entries[at].key = key;
        tally->used++;
    }
    tally->entries[at].count += count;
    return true;
}

void tally_free(struct tally *tally) {
    free(tally->entries);
    memset(tally, 0, sizeof *tally);
}
