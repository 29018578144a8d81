/*
 * A text command with state: adds numbers, and knows how many sums it has made, over reloads too.
 *
 *     $ hrmr send 'SUM 1 2 39'
 *     42 (sum 1)
 */
#include "hrmr.h"

static long sums;

static void sum(hrmr_request *request) {
  const char *at = request->bytes + strlen("SUM ");
  char *end;
  double total = 0;
  for (;;) {
    double number = strtod(at, &end);
    if (end == at) break;
    total += number;
    at = end;
  }
  while (isspace(*at)) at++;
  if (*at != 0) {
    hrmr_reply_format(request, "ERR not a number: %.40s\n", at);
    return;
  }
  hrmr_reply_format(request, "%.15g (sum %ld)\n", total, ++sums);
}

static const char *start(const void *handed, size_t length) {
  /* A version with another idea of the state must not take this one's bytes for its own: look at the length at least. */
  if (handed != NULL && length == sizeof sums) memcpy(&sums, handed, length);
  return NULL;
}

static void handoff(hrmr_request *next) { hrmr_reply(next, &sums, sizeof sums); }

void hrmr_module(hrmr_setup *setup) {
  hrmr_route *route = hrmr_command(setup, "SUM ", HRMR_LINE, sum);
  hrmr_describe(route, "Adds numbers: SUM 1 2 39");
  hrmr_on_start(setup, start);
  hrmr_on_handoff(setup, handoff);
}
