/* The line of a record: bytes equal to those of the encoder in Python (esper_otel/log/encode.py). No call of Python. */

#define _GNU_SOURCE
#include "line.h"
#include <string.h>

uint64_t powers[617][2];

static char *write_bytes(char *out, const char *text, size_t size)
{
    memcpy(out, text, size);
    return out + size;
}

static char *write_text(char *out, const Plan *plan, Text text)
{
    return write_bytes(out, (const char *)plan + text.at, text.size);
}

static char *write_whole(char *out, uint64_t number)
{
    char digits[20], *at = digits + 20;
    do
        *--at = (char)('0' + number % 10);
    while (number /= 10);
    return write_bytes(out, at, (size_t)(digits + 20 - at));
}

char *write_quoted(char *out, const char *text, uint32_t size)
{
    static const char hex[] = "0123456789abcdef", named[] = "btn?fr"; /* characters 8 to 13; 11 has no name */
    *out++ = '"';
    for (const char *end = text + size; text < end; text++) {
        unsigned char byte = (unsigned char)*text;
        int is_named = byte >= 8 && byte <= 13 && byte != 11;
        if (byte < ' ' || byte == '"' || byte == '\\')
            *out++ = '\\';
        if (byte >= ' ' || is_named)
            *out++ = is_named ? named[byte - 8] : (char)byte;
        else
            out = write_bytes(out, (char[]){'u', '0', '0', hex[byte >> 4], hex[byte & 15]}, 5);
    }
    *out++ = '"';
    return out;
}

static uint64_t scaled(const uint64_t power[2], uint64_t number) /* upper half of the product, its last bit sticky */
{
    unsigned __int128 low = (unsigned __int128)power[1] * number;
    unsigned __int128 high = (unsigned __int128)power[0] * number + (uint64_t)(low >> 64);
    return (uint64_t)(high >> 64) | ((uint64_t)high > 1);
}

/* The shortest decimal that reads back as a finite number above 0, and of those the nearest: Giulietti, "The Schubfach
   way to render doubles", 2020. Returns its digits; *exponent is that of the last one. */
static uint64_t shortest(uint64_t bits, int *exponent)
{
    uint64_t fraction = bits & 0xfffffffffffff, biased = bits >> 52;
    uint64_t c = biased ? fraction | 1ull << 52 : fraction, odd = c & 1;
    int q = (int)(biased ? biased : 1) - 1075;
    int is_uneven = fraction == 0 && biased > 1; /* the lower neighbour is nearer */
    int k = (q * 1262611 - (is_uneven ? 524031 : 0)) >> 22, shift = q + ((-k * 1741647) >> 19) + 1;
    const uint64_t *power = powers[292 - k];
    uint64_t lower = scaled(power, (4 * c - 2 + (uint64_t)is_uneven) << shift) + odd;
    uint64_t middle = scaled(power, 4 * c << shift), upper = scaled(power, (4 * c + 2) << shift) - odd;
    for (uint64_t unit = 10; unit; unit = unit == 10 ? 1 : 0) { /* one digit fewer, if that is unambiguous */
        uint64_t below = middle / 4 / unit;
        int is_below = lower <= 4 * unit * below, is_above = 4 * unit * (below + 1) <= upper;
        *exponent = k + (unit == 10);
        if (is_below != is_above && (unit == 1 || below))
            return below + (uint64_t)is_above;
    }
    uint64_t below = middle / 4, half = 4 * below + 2;
    return below + (middle > half || (middle == half && (below & 1)));
}

/* From the bits: where torch has the processor flush denormal numbers, it would compare them as zeros. */
static char *write_float(char *out, uint64_t bits, int *is_nonfinite)
{
    uint64_t size = bits << 1 >> 1, infinity = 0x7ffull << 52;
    if (size >= infinity) {
        const char *name = size > infinity ? "\"NaN\"" : size == bits ? "\"Infinity\"" : "\"-Infinity\"";
        *is_nonfinite = 1;
        return write_bytes(out, name, strlen(name));
    }
    if (size != bits)
        *out++ = '-';
    if (!size)
        return write_bytes(out, "0.0", 3);
    char digits[20];
    int exponent;
    uint64_t value = shortest(size, &exponent);
    for (; value % 10 == 0; value /= 10)
        exponent++;
    int count = (int)(write_whole(digits, value) - digits), point = count + exponent;
    if (point > 0 && point <= 16) {
        for (int i = 0; i < count || i < point + (point >= count); i++) {
            if (i == point)
                *out++ = '.';
            *out++ = i < count ? digits[i] : '0';
        }
        return out;
    }
    if (point > -5 && point <= 0) {
        out = write_bytes(out, "0.0000", (size_t)(2 - point));
        return write_bytes(out, digits, (size_t)count);
    }
    *out++ = digits[0];
    if (count > 1)
        *out++ = '.';
    out = write_bytes(out, digits + 1, (size_t)count - 1);
    out = write_bytes(out, "e-", point < 1 ? 2 : 1);
    return write_whole(out, (uint64_t)(point < 1 ? 1 - point : point - 1));
}

static char *write_value(char *out, const char **in, int *is_nonfinite)
{
    char kind = *(*in)++;
    const char *at = *in;
    if (kind == 't' || kind == 'f' || kind == 'n')
        return write_bytes(out, kind == 't' ? "true" : kind == 'f' ? "false" : "null", kind == 'f' ? 5 : 4);
    if (kind == 'd' || kind == 'i') {
        uint64_t bits;
        memcpy(&bits, at, 8);
        *in += 8;
        if (kind == 'd')
            return write_float(out, bits, is_nonfinite);
        if (bits >> 63)
            *out++ = '-';
        return write_whole(out, bits >> 63 ? -bits : bits);
    }
    if (kind == 'k') {
        const KnownText *known;
        memcpy(&known, at, sizeof known);
        *in += sizeof known;
        return write_bytes(out, known->quoted, known->size);
    }
    uint32_t count;
    memcpy(&count, at, 4);
    *in += 4;
    if (kind == 's') {
        *in += count;
        return write_quoted(out, at + 4, count);
    }
    *out++ = kind == 'm' ? '{' : '[';
    for (uint32_t i = 0; i < count; i++) {
        if (i)
            *out++ = ',';
        if (kind == 'm') {
            out = write_value(out, in, is_nonfinite);
            *out++ = ':';
        }
        out = write_value(out, in, is_nonfinite);
    }
    *out++ = kind == 'm' ? '}' : ']';
    return out;
}

static char *write_time(Second *cached, char *out, int64_t time_ns)
{
    time_t second = time_ns / 1000000000 - (time_ns % 1000000000 < 0);
    if (second != cached->second || !cached->text[0]) {
        struct tm parts;
        strftime(cached->text, sizeof cached->text, "%Y-%m-%dT%H:%M:%S.", gmtime_r(&second, &parts));
        cached->second = second;
    }
    out = write_bytes(out, cached->text, 20);
    int64_t microsecond = (time_ns - second * 1000000000) / 1000;
    for (int i = 5; i >= 0; i--, microsecond /= 10)
        out[i] = (char)('0' + microsecond % 10);
    return write_bytes(out + 6, "+00:00\"", 7);
}

char *write_line(Second *cached, char *out, const Head *head, int64_t time_ns, uint64_t seq)
{
    const Plan *plan = head->plan;
    const char *in = (const char *)(head + 1), *record_end = (const char *)head + head->bytes;
    const char *line = out, *repeated[REPEATED], *ends[REPEATED] = {NULL};
    char *data = out + plan->bytes + (MOST_OF_LINE / 2) * head->bytes + 128; /* behind the room for the envelope */
    char *data_end = data;
    int is_nonfinite = 0;
    while (in < record_end) {
        uint16_t field;
        memcpy(&field, in, 2);
        in += 2;
        if (data_end > data)
            *data_end++ = ',';
        const char *value = data_end = write_text(data_end, plan, plan->keys[field]);
        data_end = write_value(data_end, &in, &is_nonfinite);
        for (int i = 0; i < REPEATED; i++)
            if (plan->repeated[i] == field) {
                repeated[i] = value;
                ends[i] = data_end;
            }
    }
    out = write_whole(write_text(out, plan, plan->id), seq);
    out = write_time(cached, write_text(out, plan, plan->kind), time_ns);
    for (int i = 0; i < REPEATED; i++)
        if (ends[i])
            out = write_bytes(write_text(out, plan, plan->names[i]), repeated[i], (size_t)(ends[i] - repeated[i]));
    out = write_text(out, plan, plan->group);
    memmove(out, data, (size_t)(data_end - data));
    out = write_text(out + (data_end - data), plan, plan->tail);
    out = write_text(write_whole(out, seq), plan, plan->end);
    size_t size = (size_t)(out - line);
    if ((is_nonfinite || memmem(line, size, "null", 4)) /* the encoder in Python looks no further without one */
        && (memmem(line, size, "\"NaN\"", 5) || memmem(line, size, "Infinity\"", 9)))
        out = write_bytes(out, ",\"nonfinite\":true", 17);
    return write_bytes(out, "}\n", 2);
}
