/*
 * HTTP: counts the words of what is sent, and greets.
 *
 *     $ curl -d 'to be or not to be' localhost:8080/text/count
 *     {"bytes":18,"words":6,"lines":1}
 *     $ curl 'localhost:8080/text/hello/bob?times=2'
 *     Hello, bob! Hello, bob!
 */
#include "hrmr.h"

static void count(hrmr_request *request) {
  size_t words = 0, lines = 0, at;
  bool is_in_word = false;
  for (at = 0; at < request->length; at++) {
    bool is_space = isspace((unsigned char)request->bytes[at]);
    if (!is_space && !is_in_word) words++;
    if (request->bytes[at] == '\n') lines++;
    is_in_word = !is_space;
  }
  if (request->length > 0 && request->bytes[request->length - 1] != '\n') lines++;
  hrmr_set_header(request, "Content-Type", "application/json");
  hrmr_reply_format(request, "{\"bytes\":%zu,\"words\":%zu,\"lines\":%zu}\n", request->length, words, lines);
}

static void hello(hrmr_request *request) {
  const char *asked = hrmr_query_param(request, "times");
  long times = asked == NULL ? 1 : strtol(asked, NULL, 10);
  long at;
  if (times < 1 || times > 100) {
    hrmr_status(request, 400);
    hrmr_reply_text(request, "times is from 1 to 100\n");
    return;
  }
  for (at = 0; at < times; at++) hrmr_reply_format(request, "%sHello, %s!", at == 0 ? "" : " ", hrmr_param(request, "name"));
  hrmr_reply_text(request, "\n");
}

void hrmr_module(hrmr_setup *setup) {
  hrmr_describe(hrmr_http(setup, "POST /text/count", count), "Counts bytes, words and lines of the body");
  hrmr_describe(hrmr_http(setup, "GET /text/hello/:name", hello), "Greets, ?times=N times");
}
