/** The shipped module store in several processes of a server. */
import { expect, test } from "bun:test";
import { withHub } from "../../support/hub";
import { storeModule, untilProcessesAnswer } from "../../support/store-module";
import { until } from "../../support/until";

const config = JSON.stringify({ modules: { store: {} } });

test("watches hear of the writes of clients in all processes, and go on in any of them", () =>
  withHub({ "modules/any.ts": storeModule(""), "hrmr.json": config }, ["--processes", "2"], async (hub) => {
    await untilProcessesAnswer(hub, 2);
    const put = async (value: number): Promise<void> => {
      // Each on a connection of its own: any process may get it.
      const headers = { "Content-Type": "application/json", Connection: "close" };
      const response = await fetch(`${hub.url}/store/many/a`, { method: "PUT", headers, body: String(value) });
      expect(response.status).toBeLessThan(300);
    };
    const sockets = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const received: { kind: string; value?: number; version: number }[] = [];
        const socket = new WebSocket(`ws://127.0.0.1:${hub.port}/store/many`);
        socket.onmessage = ({ data }) => received.push(JSON.parse(String(data)) as (typeof received)[number]);
        await until("it has begun", () => received.some(({ kind }) => kind === "ready"));
        return { socket, received };
      }),
    );
    for (let n = 1; n <= 20; n++) await put(n);
    for (const { received } of sockets) await until("the last", () => received.some(({ value }) => value === 20));
    const changes = sockets.map(({ received }) => received.filter(({ kind }) => kind === "set"));
    for (const each of changes)
      expect(each.map(({ value }) => value)).toEqual(Array.from({ length: 20 }, (_, at) => at + 1));
    const fifth = changes[0]?.[4]?.version;
    for (let tries = 0; tries < 4; tries++) {
      const leave = new AbortController();
      const headers = { "Last-Event-ID": String(fifth), Connection: "close" };
      const stream = await fetch(`${hub.url}/store/many?watch`, { headers, signal: leave.signal });
      let text = "";
      const read = (async () => {
        for await (const part of stream.body ?? []) text += Buffer.from(part).toString();
      })().catch(() => undefined);
      await until("the last", () => text.includes('"value":20,'));
      expect([...text.matchAll(/"value":(\d+)/g)].map(([, value]) => Number(value))).toEqual(
        Array.from({ length: 15 }, (_, at) => at + 6),
      );
      leave.abort();
      await read;
    }
    for (const { socket } of sockets) socket.close();
  }));
