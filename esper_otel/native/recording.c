/* Recording of events: values are copied while the interpreter's lock is held, and become lines of the log without it.

   A Queue holds what was recorded and is not encoded yet, in order, on two pages: one is filled, one is encoded. A
   record is a Head and, for each field that is present, its number (16 bits) and its value: a letter, then a double, a
   64-bit integer, a text (32 bits of length, UTF-8) or the address of a known one, or a number of members (32 bits) and
   the members. An event that cannot be copied is a reference, for the encoder in Python (esper_otel/log/encode.py),
   which defines every byte of a line. Nothing here knows any event: a Plan, made in Python (plan.py), names its fields.
   The lock guards everything; what runs without it reads records and plans that nothing changes meanwhile. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#ifdef Py_GIL_DISABLED
#error "a free-threaded Python has no lock that guards the queue: events are recorded in Python there"
#endif
#include "line.h"
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <structmember.h>

enum { MOST_BYTES = 1 << 16, MOST_FIELDS = 512, MAX_DEPTH = 16, SLACK = 32 }; /* of one record */
enum { MOST_KEPT = 1 << 20, COPY_COST = 4, OBJECT_COST = 16 };               /* of pages and slices */
#define GIVEN_BYTES (Py_ssize_t)(sizeof(PyObject *) + sizeof(Given))

typedef struct { char *at; size_t used, size; Py_ssize_t events; } Page;
typedef struct {
    PyObject_HEAD
    Page filled, read, work, out; /* work: what take() copied of emitted events; out: lines of it and of the page read */
    size_t cursor;                /* first record on the page read that is not dropped */
    Py_ssize_t limit, bytes;      /* most events and bytes that may wait */
    long long offset_ns;          /* what makes the monotonic clock Unix time */
    Second second;
    char is_open, is_idle;        /* whether recorders may copy into it; whether the encoder sleeps until it is woken */
    PyObject *refuse, *wake;      /* called for an event that does not fit, and for one that finds the encoder asleep */
    PyObject *plans;              /* (class, group) -> plan of emitted events */
} Queue;
typedef struct { uint16_t field, place; } Given;
typedef struct {
    PyObject_HEAD
    Queue *queue;
    PyObject *slow, *plan, *shapes; /* the recorder in Python; names of a call -> address, then Given, of each */
    PyObject *shape;                /* of the latest call */
} Recorder;
typedef struct { PyObject_HEAD double number; } Float; /* loading.py notices where a float is not like this */

/* -- Copying, with the lock ---------------------------------------------------------------------------------------- */

static char *room(Page *page, size_t bytes)
{
    if (page->size - page->used < bytes) {
        size_t size = page->size ? page->size : 2 * MOST_BYTES;
        while (size - page->used < bytes)
            size *= 2;
        char *at = realloc(page->at, size);
        if (!at)
            return NULL;
        page->at = at;
        page->size = size;
    }
    return page->at + page->used;
}

/* Copies a text, or refers to a known one: the same objects come again and again, as keys of maps and names of things.
   One that comes twice at one address is kept for good; where another has its place, it is copied each time. */
static char *copy_text(char *to, const char *end, PyObject *text)
{
    static KnownText texts[1024];
    static PyObject *latest[1024];
    size_t place = (size_t)text / 16 % 1024;
    KnownText *known = &texts[place];
    if (known->text == text) {
        *to = 'k';
        memcpy(to + 1, &known, sizeof known);
        return to + 1 + sizeof known;
    }
    Py_ssize_t bytes;
    const char *utf8 = PyUnicode_CheckExact(text) ? PyUnicode_AsUTF8AndSize(text, &bytes) : NULL;
    if (!utf8 || end - to < bytes + SLACK) {
        PyErr_Clear(); /* lone surrogates */
        return NULL;
    }
    if (!known->text && latest[place] == text && bytes <= KNOWN_BYTES) {
        char quoted[6 * KNOWN_BYTES + 2];
        known->size = (uint32_t)(write_quoted(quoted, utf8, (uint32_t)bytes) - quoted);
        if (known->size <= sizeof known->quoted) { /* it has few bytes that are written as several */
            memcpy(known->quoted, quoted, known->size);
            known->text = text;
            Py_INCREF(text);
        }
    }
    latest[place] = text;
    *to = 's';
    memcpy(to + 1, &(uint32_t){(uint32_t)bytes}, 4);
    memcpy(to + 5, utf8, bytes);
    return to + 5 + bytes;
}

/* Copies a value of a plain type to a place with SLACK bytes before its end, and leaves as many there. Returns NULL for
   any other value, and where there is no room: the event is then left to Python. */
static char *copy_value(char *to, const char *end, PyObject *value, int depth)
{
    if (PyFloat_CheckExact(value)) {
        *to = 'd';
        memcpy(to + 1, &((Float *)value)->number, 8);
        to += 9;
    } else if (PyUnicode_CheckExact(value))
        to = copy_text(to, end, value);
    else if (value == Py_True || value == Py_False || value == Py_None)
        *to++ = value == Py_True ? 't' : value == Py_False ? 'f' : 'n';
    else if (PyLong_CheckExact(value)) {
        int overflow;
        *to = 'i';
        memcpy(to + 1, &(int64_t){PyLong_AsLongLongAndOverflow(value, &overflow)}, 8);
        to = overflow ? NULL : to + 9;
    } else {
        int is_map = PyDict_CheckExact(value), is_list = PyList_CheckExact(value);
        if (depth == MAX_DEPTH || !(is_map || is_list || PyTuple_CheckExact(value)))
            return NULL;
        Py_ssize_t count = PyObject_Size(value), place = 0;
        PyObject *key, *member;
        *to = is_map ? 'm' : 'l';
        memcpy(to + 1, &(uint32_t){(uint32_t)count}, 4);
        to += 5;
        while (to && is_map && PyDict_Next(value, &place, &key, &member)) {
            to = copy_text(to, end, key);
            to = to && end - to >= SLACK ? copy_value(to, end, member, depth + 1) : NULL;
        }
        for (; to && !is_map && place < count; place++) {
            member = is_list ? PyList_GetItem(value, place) : PyTuple_GetItem(value, place);
            to = copy_value(to, end, member, depth + 1);
        }
    }
    return to && end - to >= SLACK ? to : NULL;
}

/* Begins a record; returns the place of its first field, with room for MOST_BYTES, or NULL without memory. */
static char *begin_record(Page *page, const Plan *plan, int64_t time_ns)
{
    char *to = room(page, MOST_BYTES);
    if (to)
        *(Head *)to = (Head){.plan = plan, .time_ns = time_ns};
    return to ? to + sizeof(Head) : NULL;
}

static char *copy_field(char *to, const char *end, uint32_t field, PyObject *value)
{
    if (value == Py_None)
        return to; /* not measured: absent from the line */
    memcpy(to, &(uint16_t){(uint16_t)field}, 2);
    return copy_value(to + 2, end, value, 0);
}

static void end_record(Page *page, char *to)
{
    Head *head = (Head *)(page->at + page->used);
    head->bytes = (uint32_t)(to - (char *)head);
    page->used += (head->bytes + 7) / 8 * 8; /* the next head must be aligned */
    page->events += 1;
}

/* Copies an emitted event from its slots if its class has a plan; returns 0 if it is anything else. */
static int copy_event(Queue *queue, Page *page, PyObject *item)
{
    PyObject *event, *time, *group, *severity, *message;
    int overflow, is_item = PyArg_ParseTuple(item, "OOOOO", &event, &time, &group, &severity, &message);
    PyObject *kind = is_item ? PyTuple_Pack(2, Py_TYPE(event), group) : NULL;
    PyObject *known = kind ? PyDict_GetItem(queue->plans, kind) : NULL;
    Py_XDECREF(kind);
    if (!known || severity != Py_None || message != Py_None || !PyLong_CheckExact(time)) {
        PyErr_Clear();
        return 0;
    }
    const Plan *plan = (const Plan *)PyBytes_AsString(known);
    const uint32_t *slots = (const uint32_t *)(plan->keys + plan->count);
    int64_t time_ns = PyLong_AsLongLongAndOverflow(time, &overflow);
    char *to = overflow ? NULL : begin_record(page, plan, time_ns), *end = to ? to + MOST_BYTES - sizeof(Head) : NULL;
    for (uint32_t field = 0; to && field < plan->count; field++) {
        PyObject *value = ((PyObject **)event)[slots[field]];
        to = value ? copy_field(to, end, field, value) : NULL;
    }
    if (to)
        end_record(page, to);
    return to != NULL;
}

/* -- The queue ----------------------------------------------------------------------------------------------------- */

static Py_ssize_t queue_length(PyObject *self) { return ((Queue *)self)->filled.events + ((Queue *)self)->read.events; }

static int has_room(Queue *queue)
{
    return queue_length((PyObject *)queue) < queue->limit
        && queue->filled.used + queue->read.used < (size_t)queue->bytes;
}

static PyObject **reference_in(Head *head) { return (PyObject **)(head + 1); }

static size_t size_of(const Head *head) { return (head->bytes + 7) / 8 * 8; }

static void wake_encoder(Queue *queue)
{
    if (!queue->is_idle)
        return;
    queue->is_idle = 0;
    PyObject *done = PyObject_CallNoArgs(queue->wake);
    Py_XDECREF(done);
    if (!done)
        PyErr_Clear();
}

static PyObject *queue_put(Queue *queue, PyObject *item)
{
    Page *page = &queue->filled;
    char *to = has_room(queue) ? begin_record(page, NULL, 0) : NULL;
    if (!to)
        return PyObject_CallNoArgs(queue->refuse);
    Py_INCREF(item);
    *(PyObject **)to = item;
    end_record(page, to + sizeof item);
    wake_encoder(queue);
    Py_RETURN_NONE;
}

static void turn_page(Queue *queue)
{
    if (queue->read.events)
        return;
    Page page = queue->read;
    page.used = queue->cursor = 0;
    if (page.size > MOST_KEPT) { /* after a time in which the disk was slow */
        free(page.at);
        page = (Page){NULL, 0, 0, 0};
    }
    queue->read = queue->filled;
    queue->filled = page;
}

/* take(first_seq, most, step_ns, shift_ns, within_ns): the lines of the first events, as (lines, their number), or, if
   the first cannot be copied, (a list of the first such, their number). A time within within_ns of step_ns is shifted
   by shift_ns. The events stay in the queue until drop(). For one thread. */
static PyObject *queue_take(Queue *queue, PyObject *args)
{
    unsigned long long seq;
    long long step_ns, shift_ns, within_ns;
    Py_ssize_t most, cost = 0, count = 0;
    if (!PyArg_ParseTuple(args, "KnLLL", &seq, &most, &step_ns, &shift_ns, &within_ns))
        return NULL;
    Page *read = &queue->read, *work = &queue->work, *out = &queue->out;
    work->used = out->used = 0;
    turn_page(queue);
    size_t at = queue->cursor, end = at;
    for (; end < read->used && cost < most && end - at + work->used < MOST_KEPT; count++) {
        Head *head = (Head *)(read->at + end);
        if (!head->plan && !copy_event(queue, work, *reference_in(head)))
            break;
        cost += head->plan ? 1 : COPY_COST;
        end += size_of(head);
    }
    if (!count) {
        PyObject *items = PyList_New(0);
        for (; items && at < read->used && cost < most; cost += OBJECT_COST) {
            Head *head = (Head *)(read->at + at);
            if (head->plan)
                break;
            if (PyList_Append(items, *reference_in(head)))
                Py_CLEAR(items);
            at += size_of(head);
        }
        return items ? Py_BuildValue("Nn", items, PyList_Size(items)) : NULL;
    }
    int is_written = 1;
    Py_BEGIN_ALLOW_THREADS
    for (const char *copied = work->at; at < end && is_written; at += size_of((const Head *)(read->at + at))) {
        const Head *head = (const Head *)(read->at + at);
        if (!head->plan) {
            head = (const Head *)copied;
            copied += size_of(head);
        }
        uint64_t since_step_ns = (uint64_t)head->time_ns - (uint64_t)(step_ns - within_ns);
        int64_t time_ns = head->time_ns + (since_step_ns <= 2 * (uint64_t)within_ns ? shift_ns : 0);
        char *line = room(out, MOST_OF_LINE * head->bytes + 2 * (size_t)head->plan->bytes + 256);
        is_written = line != NULL;
        if (is_written)
            out->used = (size_t)(write_line(&queue->second, line, head, time_ns, seq++) - out->at);
    }
    Py_END_ALLOW_THREADS
    return is_written ? Py_BuildValue("y#n", out->at, (Py_ssize_t)out->used, count) : PyErr_NoMemory();
}

static void drop(Queue *queue, Py_ssize_t count)
{
    for (; count > 0 && queue->read.events; count--) {
        Head *head = (Head *)(queue->read.at + queue->cursor);
        PyObject *item = head->plan ? NULL : *reference_in(head);
        queue->cursor += size_of(head);
        queue->read.events -= 1;
        Py_XDECREF(item); /* which may run anything */
    }
    turn_page(queue);
}

static PyObject *queue_drop(Queue *queue, PyObject *count)
{
    drop(queue, PyLong_AsSsize_t(count));
    Py_RETURN_NONE;
}

static void queue_free(PyObject *self)
{
    Queue *queue = (Queue *)self;
    PyTypeObject *type = Py_TYPE(self);
    Page *pages[] = {&queue->filled, &queue->read, &queue->work, &queue->out};
    drop(queue, PY_SSIZE_T_MAX);
    drop(queue, PY_SSIZE_T_MAX);
    for (int i = 0; i < 4; i++)
        free(pages[i]->at);
    Py_XDECREF(queue->refuse);
    Py_XDECREF(queue->wake);
    Py_XDECREF(queue->plans);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMethodDef queue_methods[] = {
    {"put", (PyCFunction)queue_put, METH_O, NULL},
    {"take", (PyCFunction)queue_take, METH_VARARGS, NULL},
    {"drop", (PyCFunction)queue_drop, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef queue_members[] = {
    {"limit", T_PYSSIZET, offsetof(Queue, limit), 0, NULL},
    {"bytes", T_PYSSIZET, offsetof(Queue, bytes), 0, NULL},
    {"offset_ns", T_LONGLONG, offsetof(Queue, offset_ns), 0, NULL},
    {"is_open", T_BOOL, offsetof(Queue, is_open), 0, NULL},
    {"is_idle", T_BOOL, offsetof(Queue, is_idle), 0, NULL},
    {"refuse", T_OBJECT_EX, offsetof(Queue, refuse), 0, NULL},
    {"wake", T_OBJECT_EX, offsetof(Queue, wake), 0, NULL},
    {"plans", T_OBJECT_EX, offsetof(Queue, plans), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

/* -- The recorder -------------------------------------------------------------------------------------------------- */

/* Puts the values of a call into an array; returns its names' shape, or NULL if Python did not see these names yet. */
static PyObject *shape_of(Recorder *recorder, PyObject *named, PyObject **values)
{
    Py_ssize_t count = PyDict_Size(named), place = 0, next = 0;
    PyObject *key, *names;
    if (recorder->shape && PyBytes_Size(recorder->shape) == count * GIVEN_BYTES) {
        PyObject *const *known = (PyObject *const *)PyBytes_AsString(recorder->shape);
        while (PyDict_Next(named, &next, &key, &values[place]) && key == known[place])
            place++;
        if (place == count)
            return recorder->shape;
    }
    if (!(names = PyTuple_New(count)))
        return NULL;
    for (place = next = 0; PyDict_Next(named, &next, &key, &values[place]); place++) {
        Py_INCREF(key);
        PyTuple_SetItem(names, place, key);
    }
    recorder->shape = PyDict_GetItem(recorder->shapes, names); /* which keeps it */
    Py_DECREF(names);
    return recorder->shape;
}

static int copy_call(Recorder *recorder, PyObject *named)
{
    Queue *queue = recorder->queue;
    PyObject *values[MOST_FIELDS];
    if (!named || !queue || !queue->is_open || !has_room(queue) || PyDict_Size(named) > MOST_FIELDS)
        return 0;
    PyObject *shape = shape_of(recorder, named, values);
    if (!shape)
        return 0;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const Plan *plan = (const Plan *)PyBytes_AsString(recorder->plan);
    Py_ssize_t count = PyBytes_Size(shape) / GIVEN_BYTES;
    const Given *given = (const Given *)(PyBytes_AsString(shape) + count * (Py_ssize_t)sizeof(PyObject *));
    char *to = begin_record(&queue->filled, plan, now.tv_sec * 1000000000ll + now.tv_nsec + queue->offset_ns);
    char *end = to ? to + MOST_BYTES - sizeof(Head) : NULL;
    for (Py_ssize_t i = 0; to && i < count; i++)
        to = copy_field(to, end, given[i].field, values[given[i].place]);
    if (to)
        end_record(&queue->filled, to);
    return to != NULL;
}

/* A call of more than 15 keywords is one with a map in any case, which is why this takes one. */
static PyObject *recorder_record(Recorder *recorder, PyObject *positional, PyObject *named)
{
    if (PyTuple_Size(positional) || !copy_call(recorder, named))
        return PyObject_Call(recorder->slow, positional, named);
    wake_encoder(recorder->queue);
    Py_RETURN_NONE;
}

static void recorder_free(PyObject *self)
{
    Recorder *recorder = (Recorder *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject *held[] = {(PyObject *)recorder->queue, recorder->slow, recorder->plan, recorder->shapes};
    for (int i = 0; i < 4; i++)
        Py_XDECREF(held[i]);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMethodDef recorder_methods[] = {
    {"record", (PyCFunction)(void (*)(void))recorder_record, METH_VARARGS | METH_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef recorder_members[] = {
    {"queue", T_OBJECT, offsetof(Recorder, queue), 0, NULL},
    {"slow", T_OBJECT_EX, offsetof(Recorder, slow), 0, NULL},
    {"plan", T_OBJECT_EX, offsetof(Recorder, plan), 0, NULL},
    {"shapes", T_OBJECT_EX, offsetof(Recorder, shapes), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

/* -- The module ---------------------------------------------------------------------------------------------------- */

static PyType_Slot queue_slots[] = {
    {Py_tp_new, PyType_GenericNew}, {Py_tp_dealloc, queue_free}, {Py_tp_methods, queue_methods},
    {Py_tp_members, queue_members}, {Py_sq_length, queue_length}, {0, NULL},
};
static PyType_Slot recorder_slots[] = {
    {Py_tp_new, PyType_GenericNew}, {Py_tp_dealloc, recorder_free}, {Py_tp_methods, recorder_methods},
    {Py_tp_members, recorder_members}, {0, NULL},
};
static PyType_Spec types[] = {
    {"esper_otel.native._recording.Queue", sizeof(Queue), 0, Py_TPFLAGS_DEFAULT, queue_slots},
    {"esper_otel.native._recording.Recorder", sizeof(Recorder), 0, Py_TPFLAGS_DEFAULT, recorder_slots},
};

static PyObject *set_powers(PyObject *module, PyObject *table)
{
    (void)module;
    memcpy(powers, PyBytes_AsString(table), sizeof powers);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {{"set_powers", set_powers, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_recording", NULL, -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__recording(void)
{
    PyObject *module = PyModule_Create(&definition);
    for (int i = 0; module && i < 2; i++) {
        PyObject *type = PyType_FromSpec(&types[i]);
        if (!type || PyModule_AddObjectRef(module, i ? "Recorder" : "Queue", type))
            Py_CLEAR(module);
    }
    return module;
}
