/*
 * Work for a core: counts the primes up to a number, with a sieve.
 *
 *     $ hrmr send 'PRIMES 1000000'
 *     78498 primes up to 1000000
 *
 * One call runs at a time in a module's process, and the server goes on with everything else meanwhile.
 */
#include "hrmr.h"

#define MAX_NUMBER 20000000

static void primes(hrmr_request *request) {
  long number = strtol(request->bytes + strlen("PRIMES "), NULL, 10);
  long at, multiple, count = 0;
  char *is_composite;
  if (number < 1 || number > MAX_NUMBER) {
    hrmr_reply_format(request, "ERR from 1 to %d\n", MAX_NUMBER);
    return;
  }
  is_composite = calloc(number + 1, 1);
  if (is_composite == NULL) {
    hrmr_fail(request, "out of memory");
    return;
  }
  for (at = 2; at <= number; at++) {
    if (is_composite[at]) continue;
    count++;
    for (multiple = at * at; multiple <= number; multiple += at) is_composite[multiple] = 1;
  }
  free(is_composite);
  hrmr_reply_format(request, "%ld primes up to %ld\n", count, number);
}

void hrmr_module(hrmr_setup *setup) {
  hrmr_route *route = hrmr_command(setup, "PRIMES ", HRMR_LINE, primes);
  hrmr_describe(route, "Counts primes: PRIMES 1000000");
  hrmr_timeout(route, 10000);
}
