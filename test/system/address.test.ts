/** Addresses as clients are told and counted by them. */
import { describe, expect, test } from "bun:test";
import { DEFAULT_LIMITS } from "../../src/config/options";
import { isLoopback, networkOf, plainAddress } from "../../src/system/address";
import { Admission } from "../../src/server/connection/admission";
import { Descriptors } from "../../src/system/descriptors";
import { ask } from "../support/client";
import { moduleSource, withHub } from "../support/hub";

describe("an address", () => {
  test.each([
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["192.0.2.1", "192.0.2.1"],
    ["2001:db8::1", "2001:db8::1"],
    ["fe80::1%eth0", "fe80::1%eth0"],
    ["64:ff9b::192.0.2.1", "64:ff9b::192.0.2.1"],
    ["::ffff:0:1", "::ffff:0:1"],
    ["", ""],
  ])("%s is told as %s", (address, plain) => expect(plainAddress(address)).toBe(plain));

  test.each([
    ["192.0.2.1", "192.0.2.1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"],
    ["2001:db8:0:1::9", "2001:db8:0:1::/64"],
    ["2001:db8::9", "2001:db8:0:0::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
    ["::1", "0:0:0:0::/64"],
    ["64:ff9b:1::192.0.2.1", "64:ff9b:1:0::/64"],
  ])("%s counts as %s", (address, network) => expect(networkOf(address)).toBe(network));

  test.each([
    ["127.9.9.9", true],
    ["::1", true],
    ["::ffff:127.0.0.1", true],
    ["128.0.0.1", false],
    ["::2", false],
  ])("%s is of this machine: %p", (address, isLocal) => expect(isLoopback(address)).toBe(isLocal));
});

describe("limits", () => {
  const limits = { ...DEFAULT_LIMITS, maxConnectionsPerAddress: 2, maxNewConnectionsPerSecond: 0 };

  test("addresses of one /64 share maxConnectionsPerAddress, and give it back", () => {
    const admission = new Admission(limits, new Descriptors(1100, () => 0));
    const first = admission.enter("2001:db8::1", "tcp");
    expect(first).not.toBeNull();
    expect(admission.enter("2001:db8::aaaa:2", "tcp")).not.toBeNull();
    expect(admission.enter("2001:db8::3", "tcp")).toBeNull();
    expect(admission.enter("2001:db8:0:1::3", "tcp")).not.toBeNull();
    admission.leave(first as string);
    expect(admission.enter("2001:db8:0:0:ffff::4", "tcp")).not.toBeNull();
    expect(admission.enter("::ffff:192.0.2.1", "tcp")).toBe("192.0.2.1");
    expect(admission.enter("192.0.2.1", "tcp")).toBe("192.0.2.1");
    expect(admission.enter("192.0.2.1", "tcp")).toBeNull();
  });

  test("and maxNewConnectionsPerSecond", () => {
    const admission = new Admission(
      { ...limits, maxConnectionsPerAddress: 0, maxNewConnectionsPerSecond: 3 },
      new Descriptors(1100, () => 0),
    );
    const entered = Array.from({ length: 5 }, (_, at) => admission.enter(`2001:db8::${at}`, "tcp") !== null);
    expect(entered.filter(Boolean)).toHaveLength(3);
    expect(admission.enter("2001:db8:1::1", "tcp")).not.toBeNull();
  });
});

test("an IPv4 client of an IPv6 listener is told by its IPv4 address, to modules and in the log", () =>
  withHub(
    {
      "modules/who.ts": moduleSource(`{ routes: {
        "WHO": { framing: "line", handle: ({ client }) => client.address + " " + client.isLocal + "\\n" },
        "/who": { fetch: (_, { client }) => new Response(client.address) },
      } }`),
    },
    ["--listen", "tcp://[::]:0", "--access-log"],
    async (hub) => {
      const port = Number(/:(\d+)$/.exec(hub.program.listening[0] ?? "")?.[1]);
      expect(await ask({ hostname: "127.0.0.1", port }, "WHO\n")).toBe("127.0.0.1 true\n");
      expect(await ask({ hostname: "::1", port }, "WHO\n")).toBe("::1 true\n");
      expect(await (await fetch(`http://127.0.0.1:${port}/who`)).text()).toBe("127.0.0.1");
      await hub.program.waitFor(/\/who/);
      expect(hub.program.output()).not.toContain("ffff");
    },
  ));
