/*
 * hrmr.h: the interface for modules in C. It is part of hrmr: the machine needs neither this file, nor a compiler, nor
 * the headers of the C library. `hrmr new NAME --c` puts a copy beside the modules for editors. The server always takes
 * its own.
 *
 *     #include "hrmr.h"
 *
 *     static void ping(hrmr_request *request) { hrmr_reply_text(request, "PONG\n"); }
 *
 *     void hrmr_module(hrmr_setup *setup) { hrmr_command(setup, "PING", HRMR_LINE, ping); }
 *
 * The code runs in a process of its own, one call at a time. Static variables are kept from call to call, until the
 * module is reloaded. C11 without _Thread_local and vector types, compiled without optimization.
 */
#ifndef HRMR_H
#define HRMR_H

/* Goes up when something in this file changes its meaning. */
#define HRMR_API 1

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* ---- Routes ---- */

typedef struct hrmr_setup hrmr_setup;
typedef struct hrmr_route hrmr_route;
typedef struct hrmr_request hrmr_request;

/*
 * Answers one message or HTTP request. The reply, written with hrmr_reply and the like, is sent when the handler
 * returns.
 */
typedef void hrmr_handler(hrmr_request *request);

/*
 * Write this function. It declares the routes and hooks, and does nothing else: it also runs when a version is only
 * checked.
 */
void hrmr_module(hrmr_setup *setup);

/* Where a message ends. */
#define HRMR_CHUNK 0 /* The bytes of one read are the message. */
#define HRMR_LINE 1  /* Up to LF; LF and a CR before it are stripped. */
/* An unsigned integer of 1, 2, 4 or 8 bytes behind the key, highest byte first, counts the bytes behind it. */
#define HRMR_LENGTH(prefix_bytes) (2 | (prefix_bytes) << 8)
/* Combine with HRMR_LENGTH by |. */
#define HRMR_LITTLE_ENDIAN 4   /* Lowest byte first. */
#define HRMR_INCLUDES_PREFIX 8 /* The number also counts itself and the bytes before it. */

/* A message that begins with `key` goes to `handler`. */
hrmr_route *hrmr_command(hrmr_setup *setup, const char *key, int framing, hrmr_handler *handler);

/* HTTP: "/api" (every method), "GET /users/:id", "GET " (every path of that method). */
hrmr_route *hrmr_http(hrmr_setup *setup, const char *key, hrmr_handler *handler);

/* Shown by HELP, by lists of procedures, and by `hrmr status`. */
void hrmr_describe(hrmr_route *route, const char *description);

/*
 * How long a call may take. Then its process is ended, and a new one started. Default: the server's timeout. 0: no
 * limit.
 */
void hrmr_timeout(hrmr_route *route, int milliseconds);

/* With HRMR_LENGTH: how many bytes come before the number. Default: the key's length. */
void hrmr_prefix_offset(hrmr_route *route, int bytes);

/*
 * For hrmr_command: the route also takes HTTP/1 requests that begin with the key, as messages, with their header lines
 * and bodies. Default: HTTP requests go to HTTP routes, whatever the key is.
 */
void hrmr_takes_http(hrmr_route *route);

/* ---- Services, events and tasks ---- */

/*
 * Other modules call it: `await context.services.NAME.sum([1, 2])` in TypeScript, where NAME is this module. The
 * request's bytes are the input as JSON ("null": there is none). The reply is the result as JSON; without a reply it is
 * nothing. `name` has letters, digits and _.
 */
hrmr_route *hrmr_service(hrmr_setup *setup, const char *name, hrmr_handler *handler);

/* Clients may call the service, as the procedure "MODULE.NAME". Default: only modules may. */
void hrmr_public(hrmr_route *service);

/* AI agents may call the service, as a tool. It needs a schema. */
void hrmr_mcp(hrmr_route *service);

/* JSON Schema of the service's input, and of its result. Clients are told; the server does not check either. */
void hrmr_schema(hrmr_route *service, const char *input, const char *output);

/*
 * Gets the events of the topics that `pattern` matches: "user.created", "user.*". The request's bytes are the event's
 * data as JSON; see also hrmr_topic. A reply is dropped. It runs in one process of the server, like live.
 */
hrmr_route *hrmr_on_event(hrmr_setup *setup, const char *pattern, hrmr_handler *handler);

/*
 * Runs at its times, in one process of the server, one run at a time. `when` is "every 10s" (s, m, h, d) or five fields
 * of cron. The request's bytes are {"task":NAME,"why":"due"|"missed"|"asked","dueAt":TIME}. A reply is dropped.
 */
hrmr_route *hrmr_schedule(hrmr_setup *setup, const char *name, const char *when, hrmr_handler *handler);

/* For a line of cron: "Europe/Berlin". Default: `schedule.timeZone` of the config, else the system's. */
void hrmr_time_zone(hrmr_route *task, const char *zone);

/* One run that was missed while the server was down is made up at its start. */
void hrmr_catch_up(hrmr_route *task);

/* ---- WebSockets ---- */

/*
 * Takes WebSockets at a path ("/chat"). The handler gets the events of all its sockets: see hrmr_event. Sockets stay open
 * over reloads of the module; static variables do not, so keep in the handoff what you know of a socket. If the module's
 * process is lost, its sockets are closed with the code 1012, and that of the event at fault with 1011.
 */
hrmr_route *hrmr_websocket(hrmr_setup *setup, const char *key, hrmr_handler *handler);

enum {
  HRMR_NO_EVENT, /* It is no event of a WebSocket. */
  HRMR_OPEN,     /* The socket is there. The request's bytes are the query behind the "?" of its URL. */
  HRMR_TEXT,     /* A message of text: the request's bytes. */
  HRMR_BINARY,   /* A message of bytes. */
  HRMR_DRAIN,    /* The client has read what waited for it. */
  HRMR_CLOSED    /* The socket is gone: see hrmr_close_code. The request's bytes are the reason. */
};

/*
 * In a handler of hrmr_websocket. A reply (hrmr_reply and the like) is sent to the socket as one message: bytes if it
 * answers bytes, else text. It comes after all that these functions send.
 */
int hrmr_event(hrmr_request *request);
/* The socket's number, the same over reloads. Above 0. */
long long hrmr_socket(hrmr_request *request);
/* With HRMR_CLOSED: as the client sent it; 1006: it is gone without one. */
int hrmr_close_code(hrmr_request *request);

/* Sends one message to the socket. */
void hrmr_send(hrmr_request *request, const void *bytes, size_t length);
void hrmr_send_text(hrmr_request *request, const char *text);
/* Closes the socket, after all that is sent. `code` is 1000 or 3000 to 4999; `reason` has at most 123 bytes, or is NULL. */
void hrmr_close(hrmr_request *request, int code, const char *reason);
/* From now on the socket gets what is published to the topic. Topics belong to the module, and stay over reloads. */
void hrmr_subscribe(hrmr_request *request, const char *topic);
void hrmr_unsubscribe(hrmr_request *request, const char *topic);
/* Sends one message to all other sockets that are subscribed to the topic, in all processes of the server. */
void hrmr_publish(hrmr_request *request, const char *topic, const void *bytes, size_t length);
void hrmr_publish_text(hrmr_request *request, const char *topic, const char *text);

/* ---- Hooks; all are optional ---- */

/*
 * Runs before the first call. `handed` is the handoff of the version before, or NULL. It is freed when start returns.
 * Returns NULL, or the reason why this version must not serve. Then the version before goes on.
 */
void hrmr_on_start(hrmr_setup *setup, const char *(*start)(const void *handed, size_t length));

/* Writes a handoff with hrmr_reply. The next version's start gets it. */
void hrmr_on_handoff(hrmr_setup *setup, void (*handoff)(hrmr_request *next));

/*
 * Runs when this version serves: what acts on the world begins here. Returns NULL, or the reason why it failed. Then the
 * version serves all the same, and live is tried again after 1, 2, 5, 10 and 30 s, then every 30 s.
 */
void hrmr_on_live(hrmr_setup *setup, const char *(*live)(void));

/*
 * Runs when this version leaves, if its live has succeeded: ends what live began. `reason` is "replaced", "removed",
 * "moved" (another process of the server takes over) or "shutdown".
 */
void hrmr_on_leave(hrmr_setup *setup, void (*leave)(const char *reason));

/* live and leave run in each process of the server. Default: in one; if it ends, another one takes over. */
void hrmr_in_each_process(hrmr_setup *setup);

/* A module that must serve before this one. start and live run after its own. */
void hrmr_needs(hrmr_setup *setup, const char *module);

/* Runs after the last call. It need not free memory or close files: the process ends. */
void hrmr_on_stop(hrmr_setup *setup, void (*stop)(void));

/*
 * ---- The request ----
 *
 * All texts and bytes that hrmr gives to a handler, here and below, belong to hrmr. They are valid until the handler
 * returns: copy them to keep them. Do not free them. All texts and bytes that you give to hrmr stay yours: it copies
 * them before the function returns.
 */

struct hrmr_request {
  /*
   * The whole message with its key; for HTTP, the request's body. A 0 byte follows, so a text can be read as a string.
   */
  const char *bytes;
  size_t length;
  /* For HTTP; "" for messages. The path as it was sent, and the query behind its "?". */
  const char *method;
  const char *path;
  const char *query;
};

/* Each of these takes some 0.5 us. NULL: there is none. */
const char *hrmr_header(hrmr_request *request, const char *name);      /* A field of the HTTP head, its case ignored. */
const char *hrmr_param(hrmr_request *request, const char *name);       /* The text for ":name" in the key, decoded. */
const char *hrmr_query_param(hrmr_request *request, const char *name); /* "name=value" of the query, decoded. */
const char *hrmr_client(hrmr_request *request);                        /* Its address; "unix" on a unix socket. */
int hrmr_client_port(hrmr_request *request);
const char *hrmr_identity(hrmr_request *request); /* The token's name of the client that began it. */
const char *hrmr_caller(hrmr_request *request);   /* In a service: the module that calls; "rpc" for a client. */
const char *hrmr_topic(hrmr_request *request);    /* In hrmr_on_event: the event's topic. */

/* ---- The reply ---- */

/* Adds to the reply. All parts are sent as one. */
void hrmr_reply(hrmr_request *request, const void *bytes, size_t length);
void hrmr_reply_text(hrmr_request *request, const char *text);
void hrmr_reply_format(hrmr_request *request, const char *format, ...); /* As printf. */

/* HTTP. Default 200. */
void hrmr_status(hrmr_request *request, int status);

/* HTTP: a field of the reply's head. Content-Type is text/plain unless it is set. */
void hrmr_set_header(hrmr_request *request, const char *name, const char *value);

/*
 * Fails the call: the client gets a 500 or ERR, the log gets the reason, and the reply so far is dropped. Return after
 * it.
 */
void hrmr_fail(hrmr_request *request, const char *reason);

/*
 * In a service: its caller gets this code ("NOT_FOUND") and message instead of a result, and nothing is logged.
 * Elsewhere it is hrmr_fail. Return after it.
 */
void hrmr_refuse(hrmr_request *request, const char *code, const char *message);

/* ---- Services of other modules, and events. In handlers and hooks, not in hrmr_module ---- */

/* The outcome of hrmr_call and hrmr_emit. Like all texts of hrmr, these are valid until the handler returns. */
typedef struct {
  bool ok;
  /* The result as JSON, "null" if it is nothing, and its length. NULL: it failed. */
  const char *json;
  size_t length;
  /*
   * Why it failed; NULL if it did not. MODULE_MISSING, SERVICE_MISSING, INVALID_INPUT, INVALID_OUTPUT, TIMEOUT,
   * CANCELLED, BUSY, UNAVAILABLE, DEPTH (it would wait for itself), FAILED, or a code of the service's own.
   */
  const char *code;
  const char *message;
  /* More about the failure, as JSON. NULL: there is no more. */
  const char *data;
} hrmr_result;

/*
 * Calls a service of another module and waits for its result: hrmr_call("kv.get", "\"key\""). `input` is JSON; NULL:
 * none. The call has the time that is left for the handler, and ends early if nobody waits for the handler's reply any
 * more. While it waits, this module answers nobody else. At the server's start no module serves before all have started:
 * call in live, and not in start.
 */
hrmr_result hrmr_call(const char *service, const char *input);

/* The same, with a time limit besides. */
hrmr_result hrmr_call_within(int milliseconds, const char *service, const char *input);

/* Sends an event to all subscribers, without waiting for them. `data` is JSON; NULL: none. */
hrmr_result hrmr_emit(const char *topic, const char *data);

/* ---- The store that all modules share. In handlers and hooks, not in hrmr_module ---- */

/* The outcome of the functions below. Like all texts of hrmr, these are valid until the handler returns. */
typedef struct {
  bool ok;
  /* The document as JSON, and its length. NULL: there is none, or it failed. */
  const char *json;
  size_t length;
  /* The document's, or the change's. 0: there is no document, or nothing has changed. */
  long long version;
  /* By the store's clock, in milliseconds since 1970. 0: the document stays. */
  long long expires_at;
  /*
   * Why it failed; NULL if it did not. CONFLICT, TOO_LARGE, INVALID_KEY, INVALID_NAME, INVALID_VALUE, NOT_A_NUMBER,
   * TIMEOUT, CANCELLED, BUSY, FULL (the disk), READ_ONLY, UNAVAILABLE or FAILED. Nothing was written then, but for
   * UNKNOWN: the time was over, or the server gone, while the commit was under way.
   */
  const char *code;
  const char *message;
} hrmr_stored;

/* For `version`: whichever the document has. 0 is: only if there is no document. */
#define HRMR_ANY (-1)
/* For `ttl_ms`, how long the document lives, in milliseconds. */
#define HRMR_STAYS 0      /* It stays. */
#define HRMR_KEEP_TTL (-1) /* As it was. */

/* A document. If there is none, `ok` is true and `json` is NULL. */
hrmr_stored hrmr_store_get(const char *collection, const char *key);

/* Writes a document, if it has this version: else CONFLICT. It is on the disk when the function returns. */
hrmr_stored hrmr_store_set(const char *collection, const char *key, const char *json, long long ttl_ms,
                           long long version);

/* Deletes a document. `version` of the outcome is 0 if there was none. */
hrmr_stored hrmr_store_delete(const char *collection, const char *key, long long version);

/* Adds to a number; a missing one is 0. `json` is the number after it. */
hrmr_stored hrmr_store_increment(const char *collection, const char *key, double by);

/*
 * The documents whose keys begin with `prefix` (NULL: all), in the order of their keys, at most 1,000. `json` is a list:
 * [{"key":"ann","value":{"points":3},"version":7,"expiresAt":null}]. The next page is `after` the last key; NULL: from
 * the first.
 */
hrmr_stored hrmr_store_list(const char *collection, const char *prefix, const char *after, int limit);

/* What hrmr_write does. */
enum {
  HRMR_CHECK = 1, /* Nothing. The commit fails with CONFLICT unless the document has this `version` (0: none). */
  HRMR_SET,       /* `json`, `ttl_ms`. */
  HRMR_DELETE,
  HRMR_INCREMENT, /* `by`, and `field`: of an object, or NULL. Keeps the time of the document. */
  HRMR_PATCH      /* `json` is a merge patch (RFC 7396). Keeps the time of the document. */
};

typedef struct {
  int what;
  const char *collection;
  const char *key;
  const char *json;
  long long ttl_ms;
  long long version;
  double by;
  const char *field;
} hrmr_write;

/*
 * A transaction: all of the writes, in their order, or none. Read, then commit with a check of each document that was
 * read; after CONFLICT do both again. `json` is a list with an element for each write: null for a check, and
 * {"version":7} for the others, with the document as "value" for HRMR_INCREMENT and HRMR_PATCH. `version` is that of the
 * last change.
 *
 *     hrmr_write writes[] = {
 *         {HRMR_CHECK, "accounts", "ann", .version = ann.version},
 *         {HRMR_INCREMENT, "accounts", "ann", .by = -10},
 *         {HRMR_INCREMENT, "accounts", "bob", .by = 10},
 *     };
 *     hrmr_stored done = hrmr_store_commit(writes, 3);
 */
hrmr_stored hrmr_store_commit(const hrmr_write *writes, size_t count);

/*
 * Gives a text of hrmr_call, hrmr_emit, hrmr_json, hrmr_store_... or the request's questions back before the handler
 * returns. Only loops with many calls need it.
 */
void hrmr_release(const char *text);

/* ---- JSON ---- */

/*
 * The value at `path` in `json`: "user.name", "rows.0.id"; "" is all of it. A text is given as it is, other values as
 * JSON. NULL: it is not there, or `json` is not JSON.
 */
const char *hrmr_json(const char *json, const char *path);

/* Adds `text` to the reply as JSON: with quotes and escapes. NULL is null. */
void hrmr_reply_json(hrmr_request *request, const char *text);

/* ---- The rest ---- */

#define HRMR_DEBUG 0
#define HRMR_INFO 1
#define HRMR_WARN 2
#define HRMR_ERROR 3

/* A line in the server's log, with the module's name. */
void hrmr_log(int level, const char *text);
void hrmr_log_format(int level, const char *format, ...); /* As printf. */

/*
 * A setting of the module, `modules.NAME.KEY` of hrmr.json: a text as it is, other values as JSON. NULL: not set. Not
 * for hrmr_module.
 */
const char *hrmr_config(const char *key);

/* A folder for this module's own files. It outlives reloads and restarts. Not for hrmr_module. */
const char *hrmr_data_dir(void);

/*
 * Installed libraries: the line
 *
 *     #pragma hrmr link "z"
 *
 * links libz; with "/opt/x/libx.so" it links that file. `modules.NAME.libs` of hrmr.json does the same. Declare the
 * functions that you call, or include the library's header: `#pragma hrmr include "/opt/x/include"`, or
 * `modules.NAME.include`.
 */

/* ---- Parts of the C library, so that its headers are not needed. You may include them too ---- */

typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef __INT64_TYPE__ int64_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned __INT64_TYPE__ uint64_t;
typedef __INTPTR_TYPE__ intptr_t;
typedef __UINTPTR_TYPE__ uintptr_t;

void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *block, size_t size);
void free(void *block);
void abort(void);
int abs(int number);
int atoi(const char *text);
double atof(const char *text);
long strtol(const char *text, char **end, int base);
unsigned long strtoul(const char *text, char **end, int base);
long long strtoll(const char *text, char **end, int base);
unsigned long long strtoull(const char *text, char **end, int base);
double strtod(const char *text, char **end);
void qsort(void *items, size_t count, size_t size, int (*compare)(const void *, const void *));
void *bsearch(const void *key, const void *items, size_t count, size_t size,
              int (*compare)(const void *, const void *));
int rand(void);
void srand(unsigned seed);
char *getenv(const char *name);

void *memcpy(void *to, const void *from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
void *memchr(const void *bytes, int byte, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *text);
char *strcpy(char *to, const char *from);
char *strncpy(char *to, const char *from, size_t size);
char *strcat(char *to, const char *from);
char *strncat(char *to, const char *from, size_t size);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t size);
int strcasecmp(const char *a, const char *b);
int strncasecmp(const char *a, const char *b, size_t size);
char *strchr(const char *text, int character);
char *strrchr(const char *text, int character);
char *strstr(const char *text, const char *part);
char *strdup(const char *text);
char *strtok_r(char *text, const char *separators, char **state);
size_t strspn(const char *text, const char *accepted);
size_t strcspn(const char *text, const char *refused);

int snprintf(char *to, size_t size, const char *format, ...);
int vsnprintf(char *to, size_t size, const char *format, va_list values);
int printf(const char *format, ...); /* To the server's log. */
int puts(const char *line);

int isalpha(int character);
int isdigit(int character);
int isalnum(int character);
int isspace(int character);
int isupper(int character);
int islower(int character);
int isprint(int character);
int ispunct(int character);
int isxdigit(int character);
int toupper(int character);
int tolower(int character);

double sqrt(double x);
double cbrt(double x);
double pow(double x, double y);
double exp(double x);
double log(double x);
double log2(double x);
double log10(double x);
double sin(double x);
double cos(double x);
double tan(double x);
double asin(double x);
double acos(double x);
double atan(double x);
double atan2(double y, double x);
double hypot(double x, double y);
double floor(double x);
double ceil(double x);
double round(double x);
double trunc(double x);
double fabs(double x);
double fmod(double x, double y);

#endif
