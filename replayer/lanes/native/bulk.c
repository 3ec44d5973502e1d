/* Requests made of a recorded block as it is stored: what is there once was encoded once, in Python, by the rules of
 * replayer/requests/encoding.py; here the pieces are put together, record by record. Records that need a closer look
 * are `slow`, and not made here. The block's bytes are nobody's that we trust, so every place is checked when it is
 * unfolded. */
#include "sender.h"

#include <stdlib.h>
#include <string.h>

static uint64_t step(const uint8_t *planes, uint32_t width, uint32_t number, uint32_t i) {
    uint64_t value = 0;
    for (uint32_t plane = 0; plane < width; plane++)
        value |= (uint64_t)planes[(size_t)plane * number + i] << 8 * plane;
    return value;
}

/* captures/columns.py: Numbers. False if one of them does not fit into 64 bits, or is less than `least`. */
int32_t unfold_numbers(const uint8_t *planes, uint32_t width, uint32_t number, int64_t base, int64_t unit,
                       int64_t least, int64_t *out) {
    if (base < least || width > 8)
        return 0;
    for (uint32_t i = 0; i < number; i++) {
        uint64_t found = width ? step(planes, width, number, i) : 0;
        __int128 value = (__int128)base + (__int128)unit * (__int128)found;
        if (value < base || value > INT64_MAX)
            return 0;
        out[i] = (int64_t)value;
    }
    return 1;
}

/* captures/columns.py: Choices. The places of the values that were chosen, plus `add`; 0 is the next fresh one. */
int32_t unfold_places(const uint8_t *planes, uint32_t width, uint32_t number, uint32_t values, uint32_t add,
                      uint32_t *out) {
    uint64_t fresh = 0;
    if (width > 8)
        return 0;
    for (uint32_t i = 0; i < number; i++) {
        uint64_t found = width ? step(planes, width, number, i) : 0;
        uint64_t place = found ? found - 1 : fresh++;
        if (place >= values)
            return 0;
        out[i] = (uint32_t)place + add;
    }
    return 1;
}

/* Arrivals from the gaps between them; durations and waits in microseconds. False if one is out of range. */
int32_t unfold_times(uint32_t number, int64_t first, const int64_t *gaps, int64_t *arrivals, int64_t *waits,
                     int64_t *durations) {
    int64_t at = first;
    for (uint32_t i = 0; i < number; i++) {
        if (at < 0)
            return 0;
        arrivals[i] = at;
        if (i + 1 < number && __builtin_add_overflow(at, gaps[i], &at))
            return 0;
        waits[i] = waits[i] < 0 ? 0 : waits[i];
        if (__builtin_add_overflow(waits[i], durations[i], &durations[i]) || durations[i] < 0)
            return 0;
        waits[i] /= 1000;
        durations[i] /= 1000;
    }
    return 1;
}

int64_t unfold_total(const uint32_t *places, uint32_t number, const uint32_t *lengths) {
    int64_t total = 0;
    for (uint32_t i = 0; i < number; i++)
        total += lengths[places[i]];
    return total;
}

void unfold_uses(const uint32_t *places, uint32_t number, uint32_t *uses) {
    for (uint32_t i = 0; i < number; i++)
        uses[places[i]]++;
}

/* Give each record its values of the fields that vary, in the order in which the records use them. */
int32_t block_fill(struct block *block, uint32_t *cursors, const uint32_t *ends) {
    uint32_t filled = 0;
    for (uint32_t i = 0; i < block->number; i++) {
        uint32_t set = block->set[i];
        block->filled[i] = filled;
        for (uint32_t at = block->set_at[set]; at < block->set_at[set + 1]; at++)
            if (block->parts[at] & HOLE) {
                uint32_t hole = block->parts[at] & ~(HOLE | SKIP), cursor = cursors[hole]++;
                bool sent = (block->parts[at] & SKIP) == 0;
                if (cursor >= ends[hole] || (sent && filled >= block->fillings_room))
                    return 0;
                if (sent)
                    block->fillings[filled++] = block->values[cursor];
            }
    }
    return filled == block->fillings_room;
}

void block_mark(struct block *block, const uint8_t *slow_line, const uint8_t *slow_path, const uint8_t *slow_set,
                const uint32_t *body, const uint8_t *slow_body, const int64_t *missing, uint8_t *used) {
    for (uint32_t i = 0; i < block->number; i++) {
        block->slow[i] = slow_line[block->line[i]] || slow_path[block->path[i]] || slow_set[block->set[i]] ||
                         slow_body[body[i]] || missing[i] != 0;
        if (!block->slow[i])
            used[(size_t)block->line_method[block->line[i]] * block->paths + block->path[i]] = 1;
    }
}

static uint32_t length(const struct block *block, uint32_t text) {
    return block->text_at[text + 1] - block->text_at[text];
}

static uint8_t *put(uint8_t *at, const struct block *block, uint32_t text) {
    uint32_t size = length(block, text);
    memcpy(at, block->text + block->text_at[text], size);
    return at + size;
}

static size_t measure(const struct block *block, uint32_t i) {
    uint32_t line = block->line[i], set = block->set[i], filled = block->filled[i];
    size_t size = (size_t)length(block, block->line_head[line]) + length(block, block->path_text[block->path[i]]) +
                  length(block, block->line_tail[line]);
    for (uint32_t at = block->set_at[set]; at < block->set_at[set + 1]; at++)
        if ((block->parts[at] & SKIP) == 0)
            size += length(block, block->parts[at] & HOLE ? block->fillings[filled++] : block->parts[at]);
    return size + length(block, block->before);
}

/* Write all that stands before the token. */
static uint8_t *assemble(uint8_t *out, const struct block *block, uint32_t i) {
    uint32_t line = block->line[i], set = block->set[i], filled = block->filled[i];
    out = put(out, block, block->line_head[line]);
    out = put(out, block, block->path_text[block->path[i]]);
    out = put(out, block, block->line_tail[line]);
    for (uint32_t at = block->set_at[set]; at < block->set_at[set + 1]; at++)
        if ((block->parts[at] & SKIP) == 0)
            out = put(out, block, block->parts[at] & HOLE ? block->fillings[filled++] : block->parts[at]);
    return put(out, block, block->before);
}

/* Make the requests of the records at `places`, none of them slow, due `shift` after they arrived. */
int32_t block_load(const struct block *block, struct sender *sender, const uint32_t *places, uint32_t count,
                   int64_t shift) {
    size_t bytes = 0;
    uint32_t after = length(block, block->after);
    for (uint32_t k = 0; k < count; k++)
        bytes += measure(block, places[k]) + after;
    struct batch *batch = bytes > UINT32_MAX ? NULL : batch_new(count, bytes);
    if (batch == NULL)
        return 0;
    uint8_t *at = batch->content;
    for (uint32_t k = 0; k < count; k++) {
        uint32_t i = places[k], line = block->line[i];
        struct item *item = &batch->items[k];
        item->due = block->arrivals[i] + shift;
        item->recorded =
            (struct recorded){block->statuses[i], block->sizes[i], block->durations[i], block->waits[i]};
        item->route = block->routes[(size_t)block->line_method[line] * block->paths + block->path[i]];
        item->flags = block->line_flags[line];
        item->start = (uint32_t)(at - batch->content);
        at = assemble(at, block, i);
        item->before = (uint32_t)(at - batch->content) - item->start;
        at = put(at, block, block->after);
        item->after = after;
    }
    return sender_push(sender, batch);
}

/* Give all that stands before the token of one record, for tests; 0 if there is no room for it. */
uint32_t block_prefix(const struct block *block, uint32_t i, uint8_t *out, uint32_t room) {
    return measure(block, i) <= room ? (uint32_t)(assemble(out, block, i) - out) : 0;
}
