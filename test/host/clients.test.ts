/** A place is told each client once, and knows it by its number in all later calls. */
import { expect, test } from "bun:test";
import type { Client } from "../../src/module/contract";
import { decodeClient, SentClients, ToldClients } from "../../src/host/remote/messages";
import { forSeeds } from "../support/random";

const clientOf = (connection: number): Client => ({
  connection,
  port: 1000 + (connection % 5000),
  transport: "tcp",
  isLocal: true,
  address: `192.0.2.${connection % 256}`,
  tls: undefined,
});

test("a client is text the first time, and a number from then on", () => {
  const sent = new SentClients();
  const [one, other] = [clientOf(1), clientOf(2)];
  expect([one, other, one, other].map((client) => typeof sent.fieldOf(client))).toEqual([
    "string",
    "string",
    "number",
    "number",
  ]);
});

test("both sides agree about every client, over thousands of connections and restarts of the place", () => {
  forSeeds(6, (random) => {
    const sent = new SentClients();
    let told = new ToldClients();
    const clients = Array.from({ length: 3000 + random.below(4000) }, (_, at) => clientOf(at));
    for (let call = 0; call < 12_000; call++) {
      if (random.below(5000) === 0) {
        sent.clear();
        told = new ToldClients();
      }
      // Some come often, most once in a while.
      const client = clients[random.below(random.pick([10, clients.length]))] as Client;
      expect(decodeClient(told.textOf(sent.fieldOf(client)))).toEqual(client);
    }
  });
});

test("a client with TLS facts and an IPv6 address arrives whole", () => {
  const tls = { version: "TLSv1.3", cipher: "a b\n", serverName: "ü.test" } as unknown as Client["tls"];
  const client: Client = { ...clientOf(7), address: "fe80::1%eth 0", tls };
  expect(decodeClient(new ToldClients().textOf(new SentClients().fieldOf(client)))).toEqual(client);
});
