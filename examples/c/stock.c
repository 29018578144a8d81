/*
 * Services and events in C: a stock of goods, in the store. Modules and clients take from it, deliveries come as events,
 * and an event tells when something runs low.
 *
 *     $ hrmr call stock.put '{"item":"tea","count":5}'
 *     {"item":"tea","left":5}
 *     $ hrmr call stock.take '{"item":"tea","count":4}'
 *     {"item":"tea","left":1}
 */
#include "hrmr.h"

#define LOW 3

#define ORDER                                                                                                          \
  "{\"type\":\"object\",\"required\":[\"item\",\"count\"],"                                                            \
  "\"properties\":{\"item\":{\"type\":\"string\"},\"count\":{\"type\":\"number\"}}}"

/* The count of the request; 0: it was refused. */
static double count_of(hrmr_request *request) {
  const char *count = hrmr_json(request->bytes, "count");
  double number = count == NULL ? 0 : atof(count);
  if (hrmr_json(request->bytes, "item") != NULL && number > 0) return number;
  hrmr_refuse(request, "INVALID_ORDER", "give an item, and a count above 0");
  return 0;
}

static void reply(hrmr_request *request, const char *left) {
  hrmr_reply_text(request, "{\"item\":");
  hrmr_reply_json(request, hrmr_json(request->bytes, "item"));
  hrmr_reply_format(request, ",\"left\":%s}", left);
}

static void put(hrmr_request *request) {
  double count = count_of(request);
  if (count > 0) {
    hrmr_stored done = hrmr_store_increment("stock", hrmr_json(request->bytes, "item"), count);
    if (done.ok)
      reply(request, done.json);
    else
      hrmr_refuse(request, done.code, done.message);
  }
}

static void take(hrmr_request *request) {
  double count = count_of(request);
  const char *item = hrmr_json(request->bytes, "item");
  while (count > 0) {
    hrmr_stored now = hrmr_store_get("stock", item);
    double left = now.json == NULL ? 0 : atof(now.json);
    hrmr_write writes[] = {
        {HRMR_CHECK, "stock", item, .version = now.version},
        {HRMR_INCREMENT, "stock", item, .by = -count},
    };
    if (now.ok && left < count) {
      hrmr_refuse(request, "NOT_ENOUGH", "the stock has not so many");
      return;
    }
    if (now.ok) now = hrmr_store_commit(writes, 2);
    if (now.ok) {
      reply(request, hrmr_json(now.json, "1.value"));
      /* The input has the item: it can be the event's data as it is. */
      if (left - count < LOW) hrmr_emit("stock.low", request->bytes);
      return;
    }
    /* Somebody else was quicker: read again. */
    if (strcmp(now.code, "CONFLICT") == 0) continue;
    hrmr_refuse(request, now.code, now.message);
    return;
  }
}

void hrmr_module(hrmr_setup *setup) {
  hrmr_route *service = hrmr_service(setup, "take", take);
  hrmr_describe(service, "Takes goods out of the stock");
  hrmr_schema(service, ORDER, NULL);
  hrmr_public(service);
  service = hrmr_service(setup, "put", put);
  hrmr_describe(service, "Puts goods into the stock");
  hrmr_schema(service, ORDER, NULL);
  hrmr_public(service);
  hrmr_on_event(setup, "delivery.*", put);
}
