/* Records of events, and the line that each becomes. */

#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum { REPEATED = 3, KNOWN_BYTES = 32, MOST_OF_LINE = 12 };

typedef struct { uint32_t at, size; } Text; /* of a plan, from its beginning */
typedef struct {
    uint32_t bytes, count, repeated[REPEATED]; /* size of it all; number of fields; those that the envelope repeats */
    Text id, kind, group, tail, end, names[REPEATED], keys[]; /* then the slot of each field, then the texts */
} Plan;
typedef struct {
    const Plan *plan; /* NULL: a reference follows */
    int64_t time_ns;
    uint64_t bytes; /* of the record, this included */
} Head;
/* quoted: at most 6 bytes for each of the 9 of a reference to it */
typedef struct { const void *text; uint32_t size; char quoted[52]; } KnownText;
typedef struct { int64_t second; char text[32]; } Second; /* the time of the latest line, down to the second */

extern uint64_t powers[617][2]; /* 10^-292 to 10^324, 128 bits each, rounded up */

/* Writes a text as a string of JSON: for each byte 6 at most, and 2 more; returns its end. */
char *write_quoted(char *out, const char *text, uint32_t size);

/* Writes the line of a record; returns its end. A byte of a record becomes MOST_OF_LINE at most: 6, and 6 more where
   the envelope repeats the value. Twice the bytes of the plan and 256 more are added. */
char *write_line(Second *cached, char *out, const Head *head, int64_t time_ns, uint64_t seq);
