/*
 * The C side between a module in C and its process. It is compiled with each module, behind hrmr.h and before the
 * author's file. Its own names begin with hrmr__. The TypeScript side is calls.ts.
 */

/* ---- Memory ---- */

/* MEMORY in compile.ts renames malloc and the like to these functions. dlsym finds the C library's own. */
void *dlsym(void *handle, const char *name);
#ifdef __APPLE__
#define HRMR__DEFAULT ((void *)-2)
#else
#define HRMR__DEFAULT ((void *)0)
#endif

/*
 * Finds the function at the first call. That may come before `hrmr__open`: a constructor runs when the code is loaded.
 */
#define HRMR__LIBRARYS(own, name) \
  if (own == NULL) own = dlsym(HRMR__DEFAULT, name)

void *hrmr__malloc(size_t size) {
  static void *(*own)(size_t);
  HRMR__LIBRARYS(own, "malloc");
  return own(size);
}

void *hrmr__calloc(size_t count, size_t size) {
  static void *(*own)(size_t, size_t);
  HRMR__LIBRARYS(own, "calloc");
  return own(count, size);
}

void *hrmr__realloc(void *block, size_t size) {
  static void *(*own)(void *, size_t);
  HRMR__LIBRARYS(own, "realloc");
  return own(block, size);
}

int hrmr__posix_memalign(void **block, size_t alignment, size_t size) {
  static int (*own)(void **, size_t, size_t);
  HRMR__LIBRARYS(own, "posix_memalign");
  return own(block, alignment, size);
}

void hrmr__free(void *block) {
  static void (*own)(void *);
  HRMR__LIBRARYS(own, "free");
  own(block);
}

/* ---- Questions to the TypeScript side ---- */

enum {
  HRMR__HEADER, HRMR__PARAM, HRMR__QUERY_PARAM, HRMR__CLIENT, HRMR__CLIENT_PORT, HRMR__IDENTITY, HRMR__CALLER,
  HRMR__TOPIC, HRMR__JSON, HRMR__CONFIG, HRMR__DATA_DIR, HRMR__SOCKET_EVENT, HRMR__SOCKET, HRMR__CLOSE_CODE
};

/* Returns a string that ends with a 0 byte, or NULL. Only HRMR__JSON has `more`. */
static const char *(*hrmr__ask)(int what, const char *name, const char *more);
static void (*hrmr__say)(int level, const char *text);
enum { HRMR__CALL, HRMR__EMIT, HRMR__RELEASE, HRMR__STORE };
/* Returns 1 if it succeeded. The result is in hrmr__shared. */
static int (*hrmr__act)(int what, const char *name, const char *json, int number);

/*
 * The TypeScript side reads the first line after a call, and writes the second one in hrmr__act. These are doubles, as
 * all its numbers are.
 */
static struct {
  double reply, moves, reply_room, head_length, status, failure, code;
  double result_json, result_length, result_code, result_message, result_data;
  double result_version, result_expires_at;
} hrmr__shared;

/* ---- Memory that grows ---- */

/* A longer reply is refused: lengths cross as 32-bit numbers. */
#define HRMR__MAX_BYTES ((size_t)1 << 30)
/* A buffer that a reply made larger than this is freed. */
#define HRMR__KEPT_BYTES ((size_t)1 << 20)

typedef struct {
  char *bytes;
  size_t length, capacity;
} hrmr__buffer;

/* The fields of the reply's head wait in a buffer of their own until the reply is complete. */
static hrmr__buffer hrmr__reply, hrmr__head;
/* What the store is asked, as JSON. */
static hrmr__buffer hrmr__order;
static char hrmr__failure[512];
/* The code of a failure that its caller gets. */
static char hrmr__code[64];

static void hrmr__fail(const char *reason) {
  if (hrmr__shared.failure != 0) return;
  snprintf(hrmr__failure, sizeof hrmr__failure, "%s", reason == NULL || *reason == 0 ? "the handler failed" : reason);
  hrmr__shared.failure = (double)(size_t)hrmr__failure;
}

/* Makes room for one more byte than `length`: the 0 byte at the end, which is not counted. */
static char *hrmr__room(hrmr__buffer *buffer, size_t length) {
  size_t capacity = buffer->capacity == 0 ? 4096 : buffer->capacity;
  char *bytes;
  if (length > HRMR__MAX_BYTES || buffer->length + length > HRMR__MAX_BYTES) {
    hrmr__fail("the reply is larger than 1 GB");
    return NULL;
  }
  while (capacity <= buffer->length + length) capacity *= 2;
  if (capacity != buffer->capacity) {
    bytes = realloc(buffer->bytes, capacity);
    if (bytes == NULL) {
      hrmr__fail("out of memory");
      return NULL;
    }
    buffer->bytes = bytes;
    buffer->capacity = capacity;
  }
  return buffer->bytes + buffer->length;
}

static void hrmr__add(hrmr__buffer *buffer, const void *bytes, size_t length) {
  char *to = hrmr__room(buffer, length);
  if (to == NULL || length == 0) return;
  memcpy(to, bytes, length);
  buffer->length += length;
}

static void hrmr__reset(hrmr__buffer *buffer) {
  buffer->length = 0;
  if (buffer->capacity <= HRMR__KEPT_BYTES) return;
  free(buffer->bytes);
  buffer->bytes = NULL;
  buffer->capacity = 0;
}

/* ---- hrmr.h ---- */

void hrmr_reply(hrmr_request *request, const void *bytes, size_t length) { hrmr__add(&hrmr__reply, bytes, length); }

void hrmr_reply_text(hrmr_request *request, const char *text) {
  if (text != NULL) hrmr__add(&hrmr__reply, text, strlen(text));
}

void hrmr_reply_format(hrmr_request *request, const char *format, ...) {
  va_list values;
  char *to = hrmr__room(&hrmr__reply, 128);
  size_t room = hrmr__reply.capacity - hrmr__reply.length;
  int length;
  if (to == NULL) return;
  va_start(values, format);
  length = vsnprintf(to, room, format, values);
  va_end(values);
  if (length >= 0 && (size_t)length >= room) {
    to = hrmr__room(&hrmr__reply, length);
    if (to == NULL) return;
    va_start(values, format);
    vsnprintf(to, (size_t)length + 1, format, values);
    va_end(values);
  }
  if (length < 0) hrmr__fail("hrmr_reply_format: the format cannot be printed");
  else hrmr__reply.length += length;
}

void hrmr_status(hrmr_request *request, int status) { hrmr__shared.status = status; }

void hrmr_set_header(hrmr_request *request, const char *name, const char *value) {
  if (name == NULL || value == NULL) return;
  /* Each with its 0 byte: name, value, name, value. */
  hrmr__add(&hrmr__head, name, strlen(name) + 1);
  hrmr__add(&hrmr__head, value, strlen(value) + 1);
}

void hrmr_fail(hrmr_request *request, const char *reason) { hrmr__fail(reason); }

void hrmr_refuse(hrmr_request *request, const char *code, const char *message) {
  if (hrmr__shared.failure != 0) return;
  snprintf(hrmr__code, sizeof hrmr__code, "%s", code == NULL || *code == 0 ? "FAILED" : code);
  hrmr__shared.code = (double)(size_t)hrmr__code;
  hrmr__fail(message == NULL || *message == 0 ? hrmr__code : message);
}

static void hrmr__add_text(hrmr__buffer *buffer, const char *text) { hrmr__add(buffer, text, strlen(text)); }

static void hrmr__add_json(hrmr__buffer *buffer, const char *text) {
  const unsigned char *at = (const unsigned char *)text;
  const unsigned char *plain = at;
  char escaped[8];
  if (text == NULL) {
    hrmr__add_text(buffer, "null");
    return;
  }
  hrmr__add(buffer, "\"", 1);
  for (; *at != 0; at++) {
    if (*at >= ' ' && *at != '"' && *at != '\\') continue;
    hrmr__add(buffer, plain, at - plain);
    hrmr__add(buffer, escaped, snprintf(escaped, sizeof escaped, *at < ' ' ? "\\u%04x" : "\\%c", *at));
    plain = at + 1;
  }
  hrmr__add(buffer, plain, at - plain);
  hrmr__add(buffer, "\"", 1);
}

void hrmr_reply_json(hrmr_request *request, const char *text) { hrmr__add_json(&hrmr__reply, text); }

const char *hrmr_header(hrmr_request *request, const char *name) { return hrmr__ask(HRMR__HEADER, name, NULL); }
const char *hrmr_param(hrmr_request *request, const char *name) { return hrmr__ask(HRMR__PARAM, name, NULL); }
const char *hrmr_query_param(hrmr_request *request, const char *name) { return hrmr__ask(HRMR__QUERY_PARAM, name, NULL); }
const char *hrmr_client(hrmr_request *request) { return hrmr__ask(HRMR__CLIENT, NULL, NULL); }
const char *hrmr_identity(hrmr_request *request) { return hrmr__ask(HRMR__IDENTITY, NULL, NULL); }
const char *hrmr_caller(hrmr_request *request) { return hrmr__ask(HRMR__CALLER, NULL, NULL); }
const char *hrmr_topic(hrmr_request *request) { return hrmr__ask(HRMR__TOPIC, NULL, NULL); }
const char *hrmr_json(const char *json, const char *path) { return hrmr__ask(HRMR__JSON, json, path); }
const char *hrmr_config(const char *key) { return hrmr__ask(HRMR__CONFIG, key, NULL); }
const char *hrmr_data_dir(void) { return hrmr__ask(HRMR__DATA_DIR, NULL, NULL); }

int hrmr_client_port(hrmr_request *request) {
  const char *port = hrmr__ask(HRMR__CLIENT_PORT, NULL, NULL);
  return port == NULL ? 0 : atoi(port);
}

static long long hrmr__number(int what) {
  const char *digits = hrmr__ask(what, NULL, NULL);
  return digits == NULL ? 0 : (long long)atof(digits);
}

int hrmr_event(hrmr_request *request) { return (int)hrmr__number(HRMR__SOCKET_EVENT); }
long long hrmr_socket(hrmr_request *request) { return hrmr__number(HRMR__SOCKET); }
int hrmr_close_code(hrmr_request *request) { return (int)hrmr__number(HRMR__CLOSE_CODE); }

static size_t hrmr__length(const char *text) { return text == NULL ? 0 : strlen(text); }

/*
 * What a handler of WebSockets does, as socket-acts.ts reads it: a letter, and a name and bytes, each behind its length.
 * It waits where the fields of an HTTP reply's head wait.
 */
static void hrmr__socket_act(char act, const char *name, const void *bytes, size_t length) {
  unsigned name_length = hrmr__length(name), bytes_length = bytes == NULL ? 0 : length;
  /* Elsewhere it would be taken for a field of the head. */
  if (hrmr_event(NULL) == HRMR_NO_EVENT) return;
  hrmr__add(&hrmr__head, &act, 1);
  hrmr__add(&hrmr__head, &name_length, 4);
  hrmr__add(&hrmr__head, name, name_length);
  hrmr__add(&hrmr__head, &bytes_length, 4);
  hrmr__add(&hrmr__head, bytes, bytes_length);
}

void hrmr_send(hrmr_request *request, const void *bytes, size_t length) { hrmr__socket_act('b', NULL, bytes, length); }
void hrmr_send_text(hrmr_request *request, const char *text) {
  hrmr__socket_act('t', NULL, text, hrmr__length(text));
}
void hrmr_close(hrmr_request *request, int code, const char *reason) {
  char digits[16];
  snprintf(digits, sizeof digits, "%d", code);
  hrmr__socket_act('c', digits, reason, hrmr__length(reason));
}
void hrmr_subscribe(hrmr_request *request, const char *topic) { hrmr__socket_act('+', topic, NULL, 0); }
void hrmr_unsubscribe(hrmr_request *request, const char *topic) { hrmr__socket_act('-', topic, NULL, 0); }
void hrmr_publish(hrmr_request *request, const char *topic, const void *bytes, size_t length) {
  hrmr__socket_act('B', topic, bytes, length);
}
void hrmr_publish_text(hrmr_request *request, const char *topic, const char *text) {
  hrmr__socket_act('T', topic, text, hrmr__length(text));
}

static hrmr_result hrmr__result(int is_ok) {
  hrmr_result result;
  result.ok = is_ok != 0;
  result.json = (const char *)(size_t)hrmr__shared.result_json;
  result.length = (size_t)hrmr__shared.result_length;
  result.code = (const char *)(size_t)hrmr__shared.result_code;
  result.message = (const char *)(size_t)hrmr__shared.result_message;
  result.data = (const char *)(size_t)hrmr__shared.result_data;
  return result;
}

hrmr_result hrmr_call(const char *service, const char *input) {
  return hrmr__result(hrmr__act(HRMR__CALL, service, input, 0));
}

hrmr_result hrmr_call_within(int milliseconds, const char *service, const char *input) {
  return hrmr__result(hrmr__act(HRMR__CALL, service, input, milliseconds < 1 ? 1 : milliseconds));
}

hrmr_result hrmr_emit(const char *topic, const char *data) { return hrmr__result(hrmr__act(HRMR__EMIT, topic, data, 0)); }

/* Asks the store what hrmr__order says. */
static hrmr_stored hrmr__stored(void) {
  hrmr_stored stored;
  stored.ok = hrmr__act(HRMR__STORE, hrmr__order.bytes, NULL, (int)hrmr__order.length) != 0;
  stored.json = (const char *)(size_t)hrmr__shared.result_json;
  stored.length = (size_t)hrmr__shared.result_length;
  stored.version = (long long)hrmr__shared.result_version;
  stored.expires_at = (long long)hrmr__shared.result_expires_at;
  stored.code = (const char *)(size_t)hrmr__shared.result_code;
  stored.message = (const char *)(size_t)hrmr__shared.result_message;
  hrmr__reset(&hrmr__order);
  return stored;
}

/* `order` is ["get", ["list", or ["commit". */
static void hrmr__begin_order(const char *order) {
  hrmr__reset(&hrmr__order);
  hrmr__add_text(&hrmr__order, order);
}

static void hrmr__add_number(double number) {
  char digits[40];
  /* As a text, since JSON has no infinity. */
  snprintf(digits, sizeof digits, ",\"%.17g\"", number);
  hrmr__add_text(&hrmr__order, digits);
}

static void hrmr__add_name(const char *name) {
  hrmr__add_text(&hrmr__order, ",");
  hrmr__add_json(&hrmr__order, name);
}

static void hrmr__add_write(const hrmr_write *write) {
  char what[40];
  snprintf(what, sizeof what, ",[%d", write->what);
  hrmr__add_text(&hrmr__order, what);
  hrmr__add_name(write->collection);
  hrmr__add_name(write->key);
  hrmr__add_name(write->json);
  hrmr__add_number((double)write->ttl_ms);
  hrmr__add_number((double)write->version);
  hrmr__add_number(write->by);
  hrmr__add_name(write->field);
  hrmr__add_text(&hrmr__order, "]");
}

/* One write, with a check before it unless `version` is HRMR_ANY. Its outcome is that of the write. */
static hrmr_stored hrmr__write_one(const hrmr_write *write) {
  hrmr_write check = {HRMR_CHECK, write->collection, write->key};
  check.version = write->version;
  hrmr__begin_order("[\"write\"");
  if (write->version != HRMR_ANY) hrmr__add_write(&check);
  hrmr__add_write(write);
  hrmr__add_text(&hrmr__order, "]");
  return hrmr__stored();
}

hrmr_stored hrmr_store_get(const char *collection, const char *key) {
  hrmr__begin_order("[\"get\"");
  hrmr__add_name(collection);
  hrmr__add_name(key);
  hrmr__add_text(&hrmr__order, "]");
  return hrmr__stored();
}

hrmr_stored hrmr_store_set(const char *collection, const char *key, const char *json, long long ttl_ms,
                           long long version) {
  hrmr_write write = {HRMR_SET, collection, key, json, ttl_ms, version};
  return hrmr__write_one(&write);
}

hrmr_stored hrmr_store_delete(const char *collection, const char *key, long long version) {
  hrmr_write write = {HRMR_DELETE, collection, key, NULL, 0, version};
  return hrmr__write_one(&write);
}

hrmr_stored hrmr_store_increment(const char *collection, const char *key, double by) {
  hrmr_write write = {HRMR_INCREMENT, collection, key, NULL, 0, HRMR_ANY, by};
  return hrmr__write_one(&write);
}

hrmr_stored hrmr_store_list(const char *collection, const char *prefix, const char *after, int limit) {
  hrmr__begin_order("[\"list\"");
  hrmr__add_name(collection);
  hrmr__add_name(prefix);
  hrmr__add_name(after);
  hrmr__add_number(limit);
  hrmr__add_text(&hrmr__order, "]");
  return hrmr__stored();
}

hrmr_stored hrmr_store_commit(const hrmr_write *writes, size_t count) {
  size_t at;
  hrmr__begin_order("[\"commit\"");
  for (at = 0; at < count; at++) hrmr__add_write(&writes[at]);
  hrmr__add_text(&hrmr__order, "]");
  return hrmr__stored();
}

void hrmr_release(const char *text) {
  if (text != NULL) hrmr__act(HRMR__RELEASE, text, NULL, 0);
}

void hrmr_log(int level, const char *text) { hrmr__say(level, text); }

void hrmr_log_format(int level, const char *format, ...) {
  char line[2048];
  va_list values;
  va_start(values, format);
  vsnprintf(line, sizeof line, format, values);
  va_end(values);
  hrmr__say(level, line);
}

/* ---- Declarations ---- */

/* In the order of KINDS in routes.ts. */
enum { HRMR__COMMAND, HRMR__HTTP, HRMR__SERVICE, HRMR__EVENT, HRMR__TASK, HRMR__WEBSOCKET };
/* Bits of `flags`. */
enum { HRMR__TAKES_HTTP = 1, HRMR__PUBLIC = 2, HRMR__MCP = 4, HRMR__CATCH_UP = 8 };

struct hrmr_route {
  hrmr_handler *handler;
  char *key;
  char *description;
  /* Of a service: the schemas of its input and its result. Of a task: its times, and their zone. */
  char *first, *second;
  int kind, framing, timeout_ms, prefix_offset, flags;
};

struct hrmr_setup {
  hrmr_route **routes;
  int count;
  const char *(*start)(const void *handed, size_t length);
  void (*handoff)(hrmr_request *next);
  void (*stop)(void);
  const char *(*live)(void);
  void (*leave)(const char *reason);
  int in_each_process;
  /* Each with a 0 byte at its end. */
  char *needs;
  size_t needs_length;
};

static hrmr_setup hrmr__setup;
/* Takes declarations when there is no memory for a route. */
static hrmr_route hrmr__nowhere;

static char *hrmr__copy(const char *text) { return strdup(text == NULL ? "" : text); }

static hrmr_route *hrmr__declare(hrmr_setup *setup, const char *key, int kind, int framing, hrmr_handler *handler) {
  hrmr_route *route = calloc(1, sizeof *route);
  hrmr_route **routes = realloc(setup->routes, (setup->count + 1) * sizeof *routes);
  if (route == NULL || routes == NULL) return &hrmr__nowhere;
  setup->routes = routes;
  routes[setup->count++] = route;
  route->handler = handler;
  route->key = hrmr__copy(key);
  route->description = hrmr__copy("");
  route->first = hrmr__copy("");
  route->second = hrmr__copy("");
  route->kind = kind;
  route->framing = framing;
  route->timeout_ms = -1;
  route->prefix_offset = -1;
  return route;
}

hrmr_route *hrmr_command(hrmr_setup *setup, const char *key, int framing, hrmr_handler *handler) {
  return hrmr__declare(setup, key, HRMR__COMMAND, framing, handler);
}

hrmr_route *hrmr_http(hrmr_setup *setup, const char *key, hrmr_handler *handler) {
  return hrmr__declare(setup, key, HRMR__HTTP, 0, handler);
}

hrmr_route *hrmr_websocket(hrmr_setup *setup, const char *key, hrmr_handler *handler) {
  return hrmr__declare(setup, key, HRMR__WEBSOCKET, 0, handler);
}

hrmr_route *hrmr_service(hrmr_setup *setup, const char *name, hrmr_handler *handler) {
  return hrmr__declare(setup, name, HRMR__SERVICE, 0, handler);
}

hrmr_route *hrmr_on_event(hrmr_setup *setup, const char *pattern, hrmr_handler *handler) {
  return hrmr__declare(setup, pattern, HRMR__EVENT, 0, handler);
}

hrmr_route *hrmr_schedule(hrmr_setup *setup, const char *name, const char *when, hrmr_handler *handler) {
  hrmr_route *task = hrmr__declare(setup, name, HRMR__TASK, 0, handler);
  task->first = hrmr__copy(when);
  return task;
}

void hrmr_describe(hrmr_route *route, const char *description) { route->description = hrmr__copy(description); }
void hrmr_timeout(hrmr_route *route, int milliseconds) { route->timeout_ms = milliseconds < 0 ? 0 : milliseconds; }
void hrmr_prefix_offset(hrmr_route *route, int bytes) { route->prefix_offset = bytes; }
void hrmr_takes_http(hrmr_route *route) { route->flags |= HRMR__TAKES_HTTP; }
void hrmr_public(hrmr_route *service) { service->flags |= HRMR__PUBLIC; }
void hrmr_mcp(hrmr_route *service) { service->flags |= HRMR__MCP; }
void hrmr_time_zone(hrmr_route *task, const char *zone) { task->second = hrmr__copy(zone); }
void hrmr_catch_up(hrmr_route *task) { task->flags |= HRMR__CATCH_UP; }

void hrmr_schema(hrmr_route *service, const char *input, const char *output) {
  service->first = hrmr__copy(input);
  service->second = hrmr__copy(output);
}

void hrmr_on_start(hrmr_setup *setup, const char *(*start)(const void *handed, size_t length)) { setup->start = start; }
void hrmr_on_handoff(hrmr_setup *setup, void (*handoff)(hrmr_request *next)) { setup->handoff = handoff; }
void hrmr_on_stop(hrmr_setup *setup, void (*stop)(void)) { setup->stop = stop; }
void hrmr_on_live(hrmr_setup *setup, const char *(*live)(void)) { setup->live = live; }
void hrmr_on_leave(hrmr_setup *setup, void (*leave)(const char *reason)) { setup->leave = leave; }
void hrmr_in_each_process(hrmr_setup *setup) { setup->in_each_process = 1; }

void hrmr_needs(hrmr_setup *setup, const char *module) {
  size_t length = module == NULL ? 0 : strlen(module);
  char *needs = length == 0 ? NULL : realloc(setup->needs, setup->needs_length + length + 1);
  if (needs == NULL) return;
  memcpy(needs + setup->needs_length, module, length + 1);
  setup->needs = needs;
  setup->needs_length += length + 1;
}

/* ---- Functions that the TypeScript side calls ---- */

static void hrmr__begin(void) {
  hrmr__reset(&hrmr__reply);
  hrmr__reset(&hrmr__head);
  hrmr__shared.status = 200;
  hrmr__shared.failure = 0;
  hrmr__shared.code = 0;
}

/*
 * Returns the reply's length; -1: it failed. The head's fields follow the reply. `moves` changes when the bytes have
 * moved, or have more room, since the last call.
 */
static int hrmr__end(void) {
  static char *bytes;
  static size_t room;
  size_t length = hrmr__reply.length;
  hrmr__add(&hrmr__reply, hrmr__head.bytes, hrmr__head.length);
  if (bytes != hrmr__reply.bytes || room != hrmr__reply.capacity) {
    bytes = hrmr__reply.bytes;
    room = hrmr__reply.capacity;
    hrmr__shared.reply = (double)(size_t)bytes;
    hrmr__shared.reply_room = room;
    hrmr__shared.moves++;
  }
  hrmr__shared.head_length = hrmr__head.length;
  return hrmr__shared.failure == 0 ? (int)length : -1;
}

void (*signal(int number, void (*handler)(int)))(int);

int fcntl(int descriptor, int command, ...);

void *hrmr__open(void *ask, void *say, void *act) {
  /* SIGILL, SIGABRT, SIGFPE, SIGSEGV, SIGBUS. Otherwise the runtime would print a crash report of its own. */
  static const int crashes[] = {4, 6, 8, 11,
#ifdef __APPLE__
                                10
#else
                                7
#endif
  };
  size_t at;
  for (at = 0; at < sizeof crashes / sizeof *crashes; at++) signal(crashes[at], NULL);
  hrmr__ask = ask;
  hrmr__say = say;
  hrmr__act = act;
  /* F_SETFD, FD_CLOEXEC: programs that the module starts do not get the channel of hrmr_call (CALLS_FD). */
  fcntl(6, 2, 1);
  return &hrmr__shared;
}

/* Runs hrmr_module. The reply holds ten parts for each route, each with a 0 byte at its end. */
int hrmr__declared(void) {
  int at;
  hrmr__begin();
  hrmr_module(&hrmr__setup);
  for (at = 0; at < hrmr__setup.count; at++) {
    hrmr_route *route = hrmr__setup.routes[at];
    hrmr_reply_format(NULL, "%d%c%d%c%d%c", route->kind, 0, route->framing, 0, route->timeout_ms, 0);
    hrmr_reply_format(NULL, "%d%c%d%c%d%c", route->prefix_offset, 0, route->handler != NULL, 0, route->flags, 0);
    hrmr__add(&hrmr__reply, route->key, strlen(route->key) + 1);
    hrmr__add(&hrmr__reply, route->description, strlen(route->description) + 1);
    hrmr__add(&hrmr__reply, route->first, strlen(route->first) + 1);
    hrmr__add(&hrmr__reply, route->second, strlen(route->second) + 1);
  }
  return hrmr__end();
}

/* Returns the sum of 1: it has a handoff, 2: live, 4: leave, 8: these run in each process. */
int hrmr__hooks(void) {
  hrmr_setup *setup = &hrmr__setup;
  return (setup->handoff != NULL) | (setup->live != NULL) << 1 | (setup->leave != NULL) << 2 |
         setup->in_each_process << 3;
}

/* The reply holds the names of the modules that it needs, each with a 0 byte at its end. */
int hrmr__needed(void) {
  hrmr__begin();
  hrmr__add(&hrmr__reply, hrmr__setup.needs, hrmr__setup.needs_length);
  return hrmr__end();
}

/* `input` holds `length` bytes and a 0 byte. */
int hrmr__call(int route, const char *input, int length) {
  hrmr_request request = {input, length, "", "", ""};
  hrmr__begin();
  hrmr__setup.routes[route]->handler(&request);
  return hrmr__end();
}

/* `input`: method, path and query, each ended by a 0 byte, then the body at `body`. */
int hrmr__fetch(int route, const char *input, int path, int query, int body, int length) {
  hrmr_request request = {input + body, length, input, input + path, input + query};
  hrmr__begin();
  hrmr__setup.routes[route]->handler(&request);
  return hrmr__end();
}

/* `length` -1: nothing was handed over. */
int hrmr__start(const char *handed, int length) {
  const char *refusal;
  hrmr__begin();
  if (hrmr__setup.start != NULL) {
    refusal = hrmr__setup.start(length < 0 ? NULL : handed, length < 0 ? 0 : length);
    if (refusal != NULL) hrmr__fail(refusal);
  }
  return hrmr__end();
}

int hrmr__handoff(void) {
  hrmr_request next = {"", 0, "", "", ""};
  hrmr__begin();
  if (hrmr__setup.handoff != NULL) hrmr__setup.handoff(&next);
  return hrmr__end();
}

int hrmr__live(void) {
  const char *reason;
  hrmr__begin();
  reason = hrmr__setup.live == NULL ? NULL : hrmr__setup.live();
  if (reason != NULL) hrmr__fail(reason);
  return hrmr__end();
}

/* `reason` is a text. */
void hrmr__leave(const char *reason) {
  if (hrmr__setup.leave != NULL) hrmr__setup.leave(reason);
}

void hrmr__stop(void) {
  if (hrmr__setup.stop != NULL) hrmr__setup.stop();
}
