#include "hrmr.h"

/* A message that begins with "KEY " comes here; a line is a message. */
static void hello(hrmr_request *request) {
  hrmr_reply_format(request, "Hello, %s\n", request->bytes + strlen("KEY "));
}

void hrmr_module(hrmr_setup *setup) {
  hrmr_route *route = hrmr_command(setup, "KEY ", HRMR_LINE, hello);
  hrmr_describe(route, "Says hello");
}
