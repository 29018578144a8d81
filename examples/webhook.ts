/**
 * A webhook as https://www.standardwebhooks.com has it: a POST is taken if it is signed with the secret, is fresh, and
 * did not come before. The secret is a setting, from the environment: HRMR_MODULES_WEBHOOK_SECRET, or in hrmr.json
 *
 *   "modules": { "webhook": { "secret": "whsec_bm90LWEtc2VjcmV0LW9mLTMyLWJ5dGVzLW9yLW1vcmU=" } }
 *
 *   curl -s -d '{}' localhost:8080/webhook      # -> the signature is wrong
 *   printf "m1.$(date +%s).{}" > signed
 *   openssl dgst -sha256 -hmac not-a-secret-of-32-bytes-or-more -binary signed > mac
 *   printf "webhook-id: m1\nwebhook-timestamp: $(cut -d. -f2 signed)\nwebhook-signature: v1,$(base64 mac)\n" > head
 *   curl -s -H @head -d '{}' localhost:8080/webhook     # taken
 *   curl -s -H @head -d '{}' localhost:8080/webhook     # -> taken before
 */
import { Database } from "bun:sqlite";
import { defineModule } from "hrmr";

/** A message may be so much older or newer than this server's clock, and its id is kept for twice as long. */
const WINDOW_S = 5 * 60;

function importKey(secret: unknown): Promise<CryptoKey> {
  if (typeof secret !== "string" || !/^whsec_[\w+/]{32,}=*$/.test(secret))
    throw new Error("set modules.webhook.secret to the secret of the sender: whsec_ and at least 24 bytes of base64");
  const bytes = Uint8Array.fromBase64(secret.slice("whsec_".length));
  return crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
}

function openSeen(file: string): Database {
  const db = new Database(file);
  db.run("PRAGMA busy_timeout = 1000");
  db.run("PRAGMA journal_mode = WAL");
  db.run("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, at INTEGER NOT NULL)");
  return db;
}

/** @returns false: a message of this id came before, to whichever process */
function isNew(db: Database, id: string, now: number): boolean {
  db.run("DELETE FROM seen WHERE at < ?", [now - 2 * WINDOW_S]);
  return db.run("INSERT OR IGNORE INTO seen VALUES (?, ?)", [id, now]).changes === 1;
}

/** The header may have several signatures, with a space between: "v1,BASE64 v1,BASE64". */
async function isSigned(key: CryptoKey, header: string, content: Uint8Array<ArrayBuffer>): Promise<boolean> {
  const signatures = [...header.matchAll(/(?:^| )v1,([\w+/]{43}=)(?= |$)/g)].map(([, text = ""]) => text);
  for (const text of signatures.slice(0, 5)) {
    // `verify` takes the same time wherever the first wrong byte is. `===` on the texts would not.
    if (await crypto.subtle.verify("HMAC", key, Uint8Array.fromBase64(text), content)) return true;
  }
  return false;
}

export default defineModule({
  setup: async ({ config, shared, dataDir }) => ({
    key: await importKey(config.secret),
    db: await shared.open("db", () => openSeen(`${dataDir}/seen.sqlite`)),
  }),
  routes: {
    "POST /webhook": {
      description: "a signed message of another service",
      async fetch(request, { state, events }) {
        const id = request.headers.get("webhook-id") ?? "";
        const timestamp = request.headers.get("webhook-timestamp") ?? "";
        // The bytes as they came: JSON that is parsed and written again may have others.
        const body = await request.bytes();
        const content = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), body]);
        if (!(await isSigned(state.key, request.headers.get("webhook-signature") ?? "", content)))
          return new Response("the signature is wrong\n", { status: 401 });
        const now = Math.floor(Date.now() / 1000);
        if (!/^\d{1,12}$/.test(timestamp) || Math.abs(now - Number(timestamp)) > WINDOW_S)
          return new Response("the message is too old, or of the future\n", { status: 401 });
        // A sender that missed the answer sends again: tell it that all is well, and do nothing.
        if (!isNew(state.db, id, now)) return new Response("taken before\n");
        events.emit("webhook.taken", { id, body: new TextDecoder().decode(body) });
        return new Response("taken\n");
      },
    },
  },
});
