/* Requests loaded ahead of need. Batches come roughly in order, and each is in order. */
#include "sender.h"

#include <stdlib.h>
#include <string.h>

struct batch *batch_new(uint32_t count, size_t bytes) {
    size_t items = count * sizeof(struct item);
    struct batch *batch = malloc(sizeof *batch + items + bytes);
    if (batch == NULL)
        return NULL;
    batch->next = NULL;
    batch->count = count;
    batch->at = 0;
    batch->bytes = bytes;
    batch->items = (struct item *)(batch + 1);
    batch->content = (uint8_t *)(batch->items + count);
    return batch;
}

void queue_push(struct queue *queue, struct batch *batch) {
    queue->requests += batch->count;
    queue->bytes += (int64_t)batch->bytes;
    if (batch->count == 0) {
        free(batch);
        return;
    }
    if (queue->last != NULL)
        queue->last->next = batch;
    else
        queue->first = batch;
    queue->last = batch;
}

static int64_t due(const struct batch *batch) {
    return batch->items[batch->at].due;
}

static void look_for_least(struct queue *queue) {
    queue->least = queue->opened - 1;
    for (int32_t i = 0; i < queue->opened; i++)
        if (due(queue->open[i]) < due(queue->open[queue->least]))
            queue->least = i;
}

const struct item *queue_peek(struct queue *queue, const uint8_t **content) {
    /* Nearly always one batch is open, and the next one begins later than what is at hand. */
    while (queue->first != NULL && queue->opened < OPEN_BATCHES &&
           (queue->opened == 0 || due(queue->first) < due(queue->open[queue->least]))) {
        struct batch *batch = queue->first;
        queue->first = batch->next;
        if (queue->first == NULL)
            queue->last = NULL;
        queue->open[queue->opened++] = batch;
        look_for_least(queue);
    }
    if (queue->opened == 0)
        return NULL;
    struct batch *batch = queue->open[queue->least];
    *content = batch->content;
    return &batch->items[batch->at];
}

void queue_take(struct queue *queue) {
    struct batch *batch = queue->open[queue->least];
    queue->requests--;
    if (++batch->at == batch->count) {
        queue->bytes -= (int64_t)batch->bytes;
        free(batch);
        queue->open[queue->least] = queue->open[--queue->opened];
    }
    if (queue->opened > 0)
        look_for_least(queue);
}

void queue_clear(struct queue *queue) {
    while (queue->first != NULL) {
        struct batch *next = queue->first->next;
        free(queue->first);
        queue->first = next;
    }
    while (queue->opened > 0)
        free(queue->open[--queue->opened]);
    memset(queue, 0, sizeof *queue);
}
