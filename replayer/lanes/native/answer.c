/* Where an answer ends. Strict: what is doubtful is no answer (FED_BAD). Bodies are counted and dropped.
 *
 * RFC 9112: status line (4), fields (5), body length (6.3), chunks (7.1). A head is looked at once it is whole, so one
 * that comes in pieces is held until then, up to MAX_HEAD bytes, the heads of 1xx answers included. */
#include "sender.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum phase { HEAD, LENGTH, CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_LF, CHUNK_DATA, CHUNK_CR, CHUNK_END, TRAILER_START,
             TRAILER, TRAILER_LF, LAST_LF, UNTIL_CLOSE, DONE };

void answer_begin(struct answer *answer) {
    free(answer->held);
    memset(answer, 0, sizeof *answer);
}

static bool is(const uint8_t *text, size_t length, const char *word) {
    return length == strlen(word) && strncasecmp((const char *)text, word, length) == 0;
}

/* Take the next item of a list like `close, Upgrade`. */
static bool listed(const uint8_t **at, const uint8_t *end, const uint8_t **item, size_t *length) {
    while (*at < end && (**at == ' ' || **at == '\t' || **at == ','))
        ++*at;
    *item = *at;
    while (*at < end && **at != ',')
        ++*at;
    const uint8_t *last = *at;
    while (last > *item && (last[-1] == ' ' || last[-1] == '\t'))
        --last;
    *length = (size_t)(last - *item);
    return *length > 0;
}

static bool take_length(struct answer *answer, const uint8_t *value, size_t length) {
    if (answer->sized || length == 0 || length > 18)
        return false;
    answer->sized = true;
    answer->left = 0;
    for (size_t i = 0; i < length; i++) {
        if (value[i] < '0' || value[i] > '9')
            return false;
        answer->left = 10 * answer->left + (value[i] - '0');
    }
    return true;
}

static bool take_field(struct answer *answer, const uint8_t *name, size_t named, const uint8_t *value, size_t length) {
    const uint8_t *at = value, *end = value + length, *item;
    size_t size;
    switch (named) { /* by its length first: most fields are none of these */
    case 10:
        if (is(name, named, "connection"))
            while (listed(&at, end, &item, &size)) {
                if (is(item, size, "close"))
                    answer->keep = false;
                else if (answer->minor == 0 && is(item, size, "keep-alive"))
                    answer->keep = true;
            }
        break;
    case 14:
        if (is(name, named, "content-length"))
            return take_length(answer, value, length);
        if (is(name, named, "reamp-withheld")) {
            if (is(value, length, "credit"))
                answer->withheld = 1;
            else if (is(value, length, "lever"))
                answer->withheld = 2;
            else if (is(value, length, "tag"))
                answer->withheld = 3;
        }
        break;
    case 17:
        if (is(name, named, "transfer-encoding")) {
            answer->coded = true;
            while (listed(&at, end, &item, &size))
                answer->chunked = is(item, size, "chunked"); /* the last one says how it ends */
        }
        break;
    default:
        break;
    }
    return true;
}

static bool is_name(uint8_t byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '-' || (byte >= '0' && byte <= '9') ||
           (byte != 0 && strchr("!#$%&'*+.^_`|~", byte) != NULL);
}

/* Count control characters, but for tabs. Eight bytes at a time are passed over if there is none among them. */
static size_t controls(const uint8_t *at, const uint8_t *end) {
    const uint64_t each = UINT64_MAX / 255;
    size_t found = 0;
    while (at < end) {
        const uint8_t *until = end - at < 8 ? end : at + 8;
        if (until - at == 8) {
            uint64_t word;
            memcpy(&word, at, sizeof word);
            uint64_t other = word ^ 127 * each, low = (word - 32 * each) & ~word, none = (other - each) & ~other;
            if (((low | none) & 128 * each) == 0)
                at = until;
        }
        for (; at < until; at++)
            found += (size_t)(((*at < ' ') & (*at != '\t')) | (*at == 127));
    }
    return found;
}

/* Read a whole head, its blank line included. */
static bool take_head(struct answer *answer, const uint8_t *head, size_t length, bool to_head) {
    const uint8_t *end = head + length - 2, *at = head;
    answer->keep = answer->chunked = answer->coded = answer->sized = false;
    answer->withheld = 0;
    answer->status = 0;
    if (length < 16 || memcmp(head, "HTTP/1.", 7) != 0 || (head[7] != '0' && head[7] != '1') || head[8] != ' ')
        return false;
    for (int i = 9; i < 12; i++) {
        if (head[i] < '0' || head[i] > '9')
            return false;
        answer->status = (uint16_t)(10 * answer->status + (head[i] - '0'));
    }
    if ((head[12] != ' ' && head[12] != '\r') || answer->status < 100)
        return false;
    answer->minor = head[7] - '0';
    answer->keep = answer->minor == 1;
    at = memchr(head, '\n', length); /* there is one: the blank line's */
    if (at[-1] != '\r' || memchr(head, '\r', (size_t)(at - head) - 1) != NULL ||
        memchr(head, 0, (size_t)(at - head)) != NULL)
        return false;
    size_t lines = 0;
    const uint8_t *fields = ++at;
    for (; at < end; lines++) {
        const uint8_t *line = at, *lf = memchr(at, '\n', (size_t)(end - at));
        if (lf == NULL || lf == line || lf[-1] != '\r')
            return false;
        at = lf + 1;
        const uint8_t *last = lf - 1;
        const uint8_t *colon = line;
        while (colon < last && is_name(*colon))
            colon++;
        if (colon == line || colon == last || *colon != ':')
            return false;
        const uint8_t *value = colon + 1;
        while (value < last && (*value == ' ' || *value == '\t'))
            value++;
        while (last > value && (last[-1] == ' ' || last[-1] == '\t'))
            last--;
        if (!take_field(answer, line, (size_t)(colon - line), value, (size_t)(last - value)))
            return false;
    }
    if (controls(fields, end) != 2 * lines) /* the ends of the lines, and not one more */
        return false;
    if (answer->status == 101 || (answer->coded && answer->sized))
        return false; /* nobody asked to upgrade; two lengths are one too many (RFC 9112, 6.1) */
    if (answer->status < 200)
        answer->phase = HEAD;
    else if (to_head || answer->status == 204 || answer->status == 304 || (answer->sized && answer->left == 0))
        answer->phase = DONE;
    else if (answer->chunked)
        answer->phase = CHUNK_SIZE, answer->left = 0, answer->line = 0;
    else if (answer->sized)
        answer->phase = LENGTH;
    else
        answer->phase = UNTIL_CLOSE, answer->keep = false;
    return true;
}

static const uint8_t *blank_line(const uint8_t *data, size_t length) {
    return length < 4 ? NULL : memmem(data, length, "\r\n\r\n", 4);
}

static bool hold(struct answer *answer, const uint8_t *data, size_t length) {
    size_t whole = answer->held_length + length;
    if (whole > answer->held_room) {
        size_t room = whole < 1024 ? 1024 : 2 * whole;
        uint8_t *held = realloc(answer->held, room);
        if (held == NULL)
            return false;
        answer->held = held;
        answer->held_room = (uint32_t)room;
    }
    memcpy(answer->held + answer->held_length, data, length);
    answer->held_length = (uint32_t)whole;
    return true;
}

/* Whether what comes from `from` on could still be lines. Else one would wait for a blank line that never comes. */
static bool are_lines(const uint8_t *data, size_t from, size_t length) {
    for (size_t i = from > 0 ? from : 1; i < length; i++)
        if ((data[i] == '\n') != (data[i - 1] == '\r'))
            return false;
    return true;
}

/* Read of a head what there is. Gives how many bytes were used, -1 if it is no head. */
static ptrdiff_t feed_head(struct answer *answer, const uint8_t *data, size_t length, bool to_head) {
    size_t before = answer->held_length;
    if (before == 0) { /* as a rule it comes in one piece and is never copied */
        const uint8_t *found = blank_line(data, length);
        if (found != NULL) {
            size_t head = (size_t)(found - data) + 4;
            answer->line += (uint32_t)head;
            return answer->line <= MAX_HEAD && take_head(answer, data, head, to_head) ? (ptrdiff_t)head : -1;
        }
    }
    size_t some = length < MAX_HEAD + 1 ? length : MAX_HEAD + 1;
    if (!hold(answer, data, some))
        return -1;
    size_t from = before > 3 ? before - 3 : 0;
    const uint8_t *found = blank_line(answer->held + from, answer->held_length - from);
    if (found == NULL) {
        /* What does not even begin like an answer need not be waited for. */
        size_t known = answer->held_length < 7 ? answer->held_length : 7;
        return answer->line + answer->held_length >= MAX_HEAD || memcmp(answer->held, "HTTP/1.", known) != 0 ||
                       !are_lines(answer->held, before, answer->held_length)
                   ? -1
                   : (ptrdiff_t)length;
    }
    size_t head = (size_t)(found - answer->held) + 4;
    answer->line += (uint32_t)head;
    bool good = answer->line <= MAX_HEAD && take_head(answer, answer->held, head, to_head);
    answer->held_length = 0;
    return good ? (ptrdiff_t)(head - before) : -1;
}

static int hexadecimal(uint8_t byte) {
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* Read one byte of what frames chunks. */
static bool feed_chunk(struct answer *answer, uint8_t byte) {
    if (++answer->line > MAX_HEAD)
        return false;
    switch (answer->phase) {
    case CHUNK_SIZE: {
        int digit = hexadecimal(byte);
        if (digit >= 0) {
            if (answer->line > 15)
                return false;
            answer->left = 16 * answer->left + digit;
            return true;
        }
        if (answer->line == 1)
            return false;
        answer->phase = byte == '\r' ? CHUNK_LF : CHUNK_EXTENSION;
        return byte == '\r' || byte == ';' || byte == ' ' || byte == '\t';
    }
    case CHUNK_EXTENSION:
        if (byte == '\r')
            answer->phase = CHUNK_LF;
        return byte != '\n' && byte != 0;
    case CHUNK_LF:
        answer->line = 0;
        answer->phase = answer->left > 0 ? CHUNK_DATA : TRAILER_START;
        return byte == '\n';
    case CHUNK_CR:
        answer->phase = CHUNK_END;
        return byte == '\r';
    case CHUNK_END:
        answer->phase = CHUNK_SIZE;
        answer->left = 0;
        answer->line = 0;
        return byte == '\n';
    case TRAILER_START:
        answer->phase = byte == '\r' ? LAST_LF : TRAILER;
        return byte == '\r' || is_name(byte);
    case TRAILER:
        if (byte == '\r')
            answer->phase = TRAILER_LF;
        return byte != '\n' && byte != 0;
    case TRAILER_LF:
        answer->phase = TRAILER_START;
        return byte == '\n';
    case LAST_LF:
        answer->phase = DONE;
        return byte == '\n';
    default:
        return false;
    }
}

enum fed answer_feed(struct answer *answer, const uint8_t *data, size_t length, bool to_head) {
    answer->size += (int64_t)length;
    while (length > 0 && answer->phase != DONE) {
        ptrdiff_t used = 1;
        if (answer->phase == HEAD) {
            if ((used = feed_head(answer, data, length, to_head)) < 0)
                return FED_BAD;
        } else if (answer->phase == UNTIL_CLOSE) {
            return FED_MORE;
        } else if (answer->phase == LENGTH || answer->phase == CHUNK_DATA) {
            used = (int64_t)length < answer->left ? (ptrdiff_t)length : (ptrdiff_t)answer->left;
            answer->left -= used;
            if (answer->left == 0)
                answer->phase = answer->phase == LENGTH ? DONE : CHUNK_CR, answer->line = 0;
        } else if (!feed_chunk(answer, *data)) {
            return FED_BAD;
        }
        data += used;
        length -= (size_t)used;
    }
    if (answer->phase != DONE)
        return FED_MORE;
    if (length > 0)
        answer->keep = false; /* the answer is whole; nobody asked for what follows it */
    return FED_DONE;
}

enum fed answer_closed(struct answer *answer) {
    return answer->phase == UNTIL_CLOSE ? FED_DONE : FED_MORE;
}
