/** Which calls of services find a place: decisions without a server. */
import { expect, test } from "bun:test";
import { Places } from "../../src/hub/places";
import type { Client } from "../../src/module/contract";
import type { ServiceOrder } from "../../src/module/service/calls";
import { Carried } from "../../src/module/service/values";

interface Caller {
  readonly module?: string;
  readonly identity?: string;
  readonly address?: string;
  readonly connection?: number;
}

function order({ module = "rpc", identity, address = "127.0.0.1", connection = 1 }: Caller): ServiceOrder {
  const isLocal = address === "127.0.0.1";
  const client: Client = { address, port: 1, transport: "tcp", isLocal, connection };
  return {
    caller: { module, generation: 1 },
    module: "bank",
    service: "get",
    input: Carried.of(1),
    frame: { chain: [], deadlineAt: Infinity, client, identity: identity ?? null, cancellation: () => null },
    timeoutMs: undefined,
    signal: undefined,
  };
}

/** @returns how many calls of the caller begin, until one is refused */
function fill(places: Places, caller: Caller): number {
  for (let count = 0; ; count++) {
    const call = order(caller);
    places.enter(call);
    if (places.refusal(call) !== null) {
      places.leave(call);
      return count;
    }
    places.wait(call);
  }
}

test("a client alone gets half of the places, and each further one gets half of the rest", () => {
  const places = new Places({ maxQueued: 1024 });
  expect(fill(places, { connection: 1 })).toBe(512);
  expect(fill(places, { connection: 2 })).toBe(256);
  expect(fill(places, { connection: 3 })).toBe(128);
});

test("clients that want the same at once get the same", () => {
  const places = new Places({ maxQueued: 1024 });
  const counts = [0, 0, 0, 0];
  for (let round = 0; round < 1024; round++)
    for (const client of counts.keys()) {
      const call = order({ connection: client });
      places.enter(call);
      if (places.refusal(call) === null) {
        places.wait(call);
        counts[client] = (counts[client] ?? 0) + 1;
      } else places.leave(call);
    }
  expect(Math.min(...counts)).toBeGreaterThan(200);
  expect(Math.max(...counts) - Math.min(...counts)).toBeLessThan(3);
});

test("64 clients of 16 calls each use all places", () => {
  const places = new Places({ maxQueued: 1024 });
  for (let at = 0; at < 1024; at++) {
    const call = order({ connection: at % 64 });
    places.enter(call);
    expect(places.refusal(call)).toBeNull();
    places.wait(call);
  }
  expect(fill(places, { connection: 100 })).toBe(0);
});

test("one token, or one address elsewhere, is one client over all its connections", () => {
  for (const same of [{ identity: "bot" }, { address: "10.0.0.1" }]) {
    const places = new Places({ maxQueued: 64 });
    expect(fill(places, { ...same, connection: 1 })).toBe(32);
    expect(fill(places, { ...same, connection: 2 })).toBe(0);
    expect(fill(places, { address: "10.0.0.2" })).toBe(16);
  }
});

test("modules and clients take no places of each other, and a place is free again after its call", () => {
  const places = new Places({ maxQueued: 8 });
  expect(fill(places, { module: "chat" })).toBe(8);
  expect(fill(places, {})).toBe(4);
  const call = order({});
  for (let ended = 0; ended < 4; ended++) {
    places.settle(call);
    places.leave(call);
  }
  expect(fill(places, {})).toBe(4);
});
