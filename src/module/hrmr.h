/*
 * hrmr.h: what a module in C is written with. It is part of hrmr: no file of this name, no compiler and no headers of the C library have
 * to be on the machine. `hrmr new NAME --c` puts a copy beside the modules for editors; the server always takes its own.
 *
 *     #include "hrmr.h"
 *
 *     static void ping(hrmr_request *request) { hrmr_reply_text(request, "PONG\n"); }
 *
 *     void hrmr_module(hrmr_setup *setup) { hrmr_command(setup, "PING", HRMR_LINE, ping); }
 *
 * The code runs in a process of its own, one call at a time. Static variables are kept from call to call, until the module is reloaded.
 * C11 without _Thread_local and vector types, compiled without optimization.
 */
#ifndef HRMR_H
#define HRMR_H

/* Goes up when something here changes its meaning. */
#define HRMR_API 1

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* ---- Routes ---- */

typedef struct hrmr_setup hrmr_setup;
typedef struct hrmr_route hrmr_route;
typedef struct hrmr_request hrmr_request;

/* Answers one message or HTTP request. What it wrote with hrmr_reply and its like is sent when it returns. */
typedef void hrmr_handler(hrmr_request *request);

/* Yours to write. Declares the routes and hooks and does nothing else: it also runs when a version is only tried. */
void hrmr_module(hrmr_setup *setup);

/* Where a message ends. */
#define HRMR_CHUNK 0 /* What one read delivered is the message. */
#define HRMR_LINE 1  /* Up to LF; LF and a CR before it are stripped. */
/* An unsigned integer of 1, 2, 4 or 8 bytes behind the key, highest byte first, counts the bytes behind it. */
#define HRMR_LENGTH(prefix_bytes) (2 | (prefix_bytes) << 8)
#define HRMR_LITTLE_ENDIAN 4   /* | with HRMR_LENGTH: lowest byte first. */
#define HRMR_INCLUDES_PREFIX 8 /* | with HRMR_LENGTH: the number counts the prefix and what stands before it too. */

/* A message that begins with `key` goes to `handler`. */
hrmr_route *hrmr_command(hrmr_setup *setup, const char *key, int framing, hrmr_handler *handler);

/* HTTP: "/api" (every method), "GET /users/:id", "GET " (every path of that method). */
hrmr_route *hrmr_http(hrmr_setup *setup, const char *key, hrmr_handler *handler);

/* Shown by HELP. */
void hrmr_describe(hrmr_route *route, const char *description);

/* How long a call may take; then its process is ended, and a new one started. Default: the server's. 0: without limit. */
void hrmr_timeout(hrmr_route *route, int milliseconds);

/* With HRMR_LENGTH: how many bytes stand before the number. Default: the key's length. */
void hrmr_prefix_offset(hrmr_route *route, int bytes);

/*
 * For hrmr_command: HTTP/1 requests that begin with the key are its messages too, with their header lines and bodies.
 * Default: HTTP requests go to HTTP routes, whatever the key.
 */
void hrmr_takes_http(hrmr_route *route);

/* ---- Hooks; all are optional ---- */

/*
 * Runs before the first call. `handed` is what the version before handed over, or NULL; it is gone when start returns.
 * Returns NULL, or why this version must not serve: the one before goes on.
 */
void hrmr_on_start(hrmr_setup *setup, const char *(*start)(const void *handed, size_t length));

/* What it writes with hrmr_reply is handed to the next version's start. */
void hrmr_on_handoff(hrmr_setup *setup, void (*handoff)(hrmr_request *next));

/* Runs after the last call. Memory and files need not be given back: the process ends. */
void hrmr_on_stop(hrmr_setup *setup, void (*stop)(void));

/* ---- The request. All texts and bytes are there until the handler returns: copy what you keep ---- */

struct hrmr_request {
  /* The whole message, the key included; of an HTTP request, its body. A 0 byte stands behind it, so a text can be read as a string. */
  const char *bytes;
  size_t length;
  /* HTTP; "" for messages. The path as it was sent, and what stands behind its "?". */
  const char *method;
  const char *path;
  const char *query;
};

/* These ask the server's side for what is seldom wanted, some 0.5 us each. NULL: there is none. */
const char *hrmr_header(hrmr_request *request, const char *name);      /* A field of the HTTP head, its case ignored. */
const char *hrmr_param(hrmr_request *request, const char *name);       /* What ":name" in the route's key matched, decoded. */
const char *hrmr_query_param(hrmr_request *request, const char *name); /* "name=value" of the query, decoded. */
const char *hrmr_client(hrmr_request *request);                        /* The client's address; "unix" for a unix socket's. */
int hrmr_client_port(hrmr_request *request);

/* ---- The reply ---- */

/* Adds to the reply. What is added in several steps is sent as one. */
void hrmr_reply(hrmr_request *request, const void *bytes, size_t length);
void hrmr_reply_text(hrmr_request *request, const char *text);
void hrmr_reply_format(hrmr_request *request, const char *format, ...); /* As printf. */

/* HTTP. Default 200. */
void hrmr_status(hrmr_request *request, int status);

/* HTTP: a field of the reply's head. Content-Type is text/plain unless it is set. */
void hrmr_set_header(hrmr_request *request, const char *name, const char *value);

/* The call failed: the client gets a 500 or ERR, the log the reason, and what was written is dropped. Return after it. */
void hrmr_fail(hrmr_request *request, const char *reason);

/* ---- The rest ---- */

#define HRMR_DEBUG 0
#define HRMR_INFO 1
#define HRMR_WARN 2
#define HRMR_ERROR 3

/* A line in the server's log, with the module's name. */
void hrmr_log(int level, const char *text);
void hrmr_log_format(int level, const char *format, ...); /* As printf. */

/* A setting of the module, `modules.NAME.KEY` of hrmr.json: a text as it is, anything else as JSON. NULL: not set. Not in hrmr_module. */
const char *hrmr_config(const char *key);

/* A folder that is this module's own to write to; it outlives reloads and restarts. Not in hrmr_module. */
const char *hrmr_data_dir(void);

/*
 * Libraries, where they are installed: a line
 *
 *     #pragma hrmr link "z"
 *
 * links libz, and "/opt/x/libx.so" that file; `modules.NAME.libs` of hrmr.json does the same. Declare what you call, or include the
 * library's header if it is there: `#pragma hrmr include "/opt/x/include"`, or `modules.NAME.include`.
 */

/* ---- Of the C library, so that its headers are not needed. They may be included beside this one ---- */

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
void *bsearch(const void *key, const void *items, size_t count, size_t size, int (*compare)(const void *, const void *));
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
