/*
 * Accounts in the store: money moves by a transaction that reads, then writes if nothing has changed meanwhile. Other
 * modules see the same documents, as context.store.collection("wallets") in TypeScript.
 *
 *     $ hrmr send 'PAY bank ann 30'
 *     bank -30, ann 30
 *     $ hrmr send 'PAY ann bob 100'
 *     ERR ann has 30
 */
#include "hrmr.h"

#define MAX_TRIES 20

static double amount(hrmr_stored wallet) { return wallet.json == NULL ? 0 : atof(wallet.json); }

static void pay(hrmr_request *request) {
  char *rest = NULL;
  char *words = strdup(request->bytes + strlen("PAY "));
  const char *from = strtok_r(words, " ", &rest), *to = strtok_r(NULL, " ", &rest), *sum = strtok_r(NULL, " ", &rest);
  double money = sum == NULL ? 0 : atof(sum);
  int try;
  if (!(money > 0)) hrmr_reply_text(request, "ERR PAY FROM TO AMOUNT\n");
  for (try = 1; money > 0; try++) {
    hrmr_stored payer = hrmr_store_get("wallets", from);
    hrmr_stored done;
    hrmr_write writes[] = {
        {HRMR_CHECK, "wallets", from, .version = payer.version},
        {HRMR_INCREMENT, "wallets", from, .by = -money},
        {HRMR_INCREMENT, "wallets", to, .by = money},
    };
    if (strcmp(from, "bank") != 0 && amount(payer) < money) {
      hrmr_reply_format(request, "ERR %s has %g\n", from, amount(payer));
      break;
    }
    done = hrmr_store_commit(writes, 3);
    if (done.ok) {
      hrmr_reply_format(request, "%s %s, ", from, hrmr_json(done.json, "1.value"));
      hrmr_reply_format(request, "%s %s\n", to, hrmr_json(done.json, "2.value"));
      break;
    }
    /* Another client was quicker: read again. */
    if (strcmp(done.code, "CONFLICT") == 0 && try < MAX_TRIES) continue;
    hrmr_reply_format(request, "ERR %s: %s\n", done.code, done.message);
    break;
  }
  free(words);
}

void hrmr_module(hrmr_setup *setup) {
  hrmr_describe(hrmr_command(setup, "PAY ", HRMR_LINE, pay), "Moves money: PAY ann bob 10");
}
