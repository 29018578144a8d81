import { afterEach, describe, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatListen, parseListen } from "../../../src/config/listen";
import {
  describeDescriptor,
  describeListeners,
  inheritedListeners,
  matchDescriptors,
} from "../../../src/supervise/takeover/activation";
import { isInheritable, noLibc, openDescriptor } from "../../support/systemd-fixture";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

function open(...args: Parameters<typeof openDescriptor>): number {
  const { fd, close } = openDescriptor(...args);
  cleanups.push(close);
  return fd;
}

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), "hrmr-activation-"));
  cleanups.push(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

function describedAs(fd: number): string | null {
  const address = describeDescriptor(fd);
  return address === null ? null : formatListen(address).replace(/:[1-9]\d*$/, ":PORT");
}

describe.skipIf(noLibc !== null)(`a descriptor${noLibc === null ? "" : ` (${noLibc})`}`, () => {
  test.each([
    [{ type: "stream", host: "127.0.0.1" }, "tcp://127.0.0.1:PORT"],
    [{ type: "stream", host: "0.0.0.0" }, "tcp://0.0.0.0:PORT"],
    [{ type: "stream", host: "::1" }, "tcp://[::1]:PORT"],
    [{ type: "stream", host: "::" }, "tcp://[::]:PORT"],
    [{ type: "datagram", host: "127.0.0.1" }, "udp://127.0.0.1:PORT"],
    [{ type: "datagram", host: "::1" }, "udp://[::1]:PORT"],
    [{ type: "stream", path: "@hrmr-test-abstract" }, "unix://@hrmr-test-abstract"],
    [{ type: "stream", host: "127.0.0.1", listens: false }, null],
    [{ type: "datagram", path: "@hrmr-test-datagram" }, null],
  ] as [Parameters<typeof openDescriptor>[0], string | null][])("%j is %p", (kind, wanted) => {
    expect(describedAs(open(kind))).toBe(wanted);
  });

  test("of a unix socket is its path", () => {
    const path = join(folder(), "a.sock");
    expect(describeDescriptor(open({ type: "stream", path }))).toEqual({ transport: "unix", path });
  });

  test("that is a file, or not open, is none", () => {
    const fd = openSync(import.meta.path, "r");
    expect(describeDescriptor(fd)).toBeNull();
    closeSync(fd);
    expect(describeDescriptor(fd)).toBeNull();
  });

  test("that is no listener is refused by its number and name", () => {
    const fd = open({ type: "stream", host: "127.0.0.1", listens: false });
    expect(() => describeListeners([{ fd, name: "web" }])).toThrow(
      expect.objectContaining({ code: "BAD_DESCRIPTOR", message: expect.stringContaining(`Descriptor ${fd} ("web")`) }),
    );
  });

  test("tells whether IPv4 clients reach an IPv6 socket", () => {
    const both = open({ type: "stream", host: "::" });
    const one = open({ type: "stream", host: "::", isV6Only: true });
    expect(describeListeners([both, one].map((fd) => ({ fd, name: "a" }))).map(({ isV6Only }) => isV6Only)).toEqual([
      false,
      true,
    ]);
  });
});

describe("what is inherited", () => {
  const env = (count: string, pid = process.pid, names?: string) => ({
    LISTEN_FDS: count,
    LISTEN_PID: String(pid),
    ...(names === undefined ? {} : { LISTEN_FDNAMES: names }),
  });

  test.each([
    ["no variables", {}],
    ["another process's", env("1", process.pid + 1)],
    ["no process's", { LISTEN_FDS: "1" }],
    ["a count of none", env("0")],
    ["a count that is no number", env("many")],
    ["a count beyond reason", env("9999")],
    ["a negative count", env("-1")],
  ] as [string, Record<string, string>][])("%s: nothing", (_, variables) => {
    expect(inheritedListeners(variables, process.pid)).toEqual([]);
  });

  // Only a process of its own has known descriptors from 3 on.
  test.skipIf(noLibc !== null)("begins at 3, has names, and is not handed on", async () => {
    const sockets = [open({ type: "stream", host: "127.0.0.1" }), open({ type: "datagram", host: "127.0.0.1" })];
    const script = `
      import { inheritedListeners, describeListeners } from "${join(import.meta.dir, "../../../src/supervise/takeover/activation")}";
      import { isInheritable } from "${join(import.meta.dir, "../../support/systemd-fixture")}";
      const env = { LISTEN_PID: String(process.pid), LISTEN_FDS: "2", LISTEN_FDNAMES: "web" };
      const before = isInheritable(3);
      const found = describeListeners(inheritedListeners(env, process.pid));
      console.log(JSON.stringify({ found, before, after: [3, 4].map(isInheritable) }));
      try { inheritedListeners({ ...env, LISTEN_FDS: "300" }, process.pid); } catch (error) { console.log(error.code); }
    `;
    const child = Bun.spawn([process.execPath, "-e", script], { stdio: ["ignore", "pipe", "inherit", ...sockets] });
    const [first = "", second] = (await child.stdout.text()).trim().split("\n");
    expect(JSON.parse(first)).toEqual({
      found: [
        {
          fd: 3,
          name: "web",
          address: { transport: "tcp", host: "127.0.0.1", port: expect.any(Number) },
          isV6Only: false,
        },
        {
          fd: 4,
          name: "unknown",
          address: { transport: "udp", host: "127.0.0.1", port: expect.any(Number) },
          isV6Only: false,
        },
      ],
      before: true,
      after: [false, false],
    });
    expect(second).toBe("BAD_DESCRIPTOR");
  });

  test.skipIf(noLibc !== null)("this process's own descriptors are not handed on to begin with", () => {
    expect(isInheritable(open({ type: "stream", host: "127.0.0.1" }))).toBe(false);
  });
});

describe("configured listeners and descriptors", () => {
  type Found = Parameters<typeof matchDescriptors>[1];

  const described = (fd: number, url: string, name = "hrmr.socket", isV6Only = false): Found[number] => {
    const address = parseListen(url.replace("@", "/@"));
    if (address === null) throw new Error(`bad url ${url}`);
    return {
      fd,
      name,
      isV6Only,
      address: address.transport === "unix" ? { transport: "unix", path: url.slice("unix://".length) } : address,
    };
  };
  const plan = (listen: string[], found: Found) => matchDescriptors(listen, found).map(({ url, fd }) => `${url} ${fd}`);

  test("the same address is the descriptor's, any other is opened", () => {
    expect(plan(["tcp://127.0.0.1:80", "tcp://127.0.0.1:81"], [described(3, "tcp://127.0.0.1:80")])).toEqual([
      "tcp://127.0.0.1:80 3",
      "tcp://127.0.0.1:81 null",
    ]);
  });

  test("a descriptor that stands for nothing configured is served too", () => {
    expect(
      plan(["tcp://127.0.0.1:80"], [described(3, "unix:///run/x.sock"), described(4, "udp://127.0.0.1:80")]),
    ).toEqual(["unix:///run/x.sock 3", "udp://127.0.0.1:80 4", "tcp://127.0.0.1:80 null"]);
  });

  test("tls:// stays tls://, and the name makes it so", () => {
    expect(plan(["tls://0.0.0.0:443"], [described(3, "tcp://0.0.0.0:443")])).toEqual(["tls://0.0.0.0:443 3"]);
    expect(plan([], [described(3, "tcp://[::]:443", "tls"), described(4, "tcp://[::]:80", "web")])).toEqual([
      "tls://[::]:443 3",
      "tcp://[::]:80 4",
    ]);
  });

  test("the name tls makes nothing else of a unix or a UDP socket", () => {
    expect(plan([], [described(3, "unix:///run/x.sock", "tls"), described(4, "udp://127.0.0.1:53", "tls")])).toEqual([
      "unix:///run/x.sock 3",
      "udp://127.0.0.1:53 4",
    ]);
  });

  test.each([
    ["tcp://0.0.0.0:80", "tcp://[::]:80", false, true],
    ["tcp://127.0.0.1:80", "tcp://[::]:80", false, true],
    ["tcp://127.0.0.1:80", "tcp://[::]:80", true, false],
    ["tcp://[::1]:80", "tcp://[::]:80", true, true],
    ["tcp://[0:0::1]:80", "tcp://[::1]:80", false, true],
    ["tcp://10.0.0.1:80", "tcp://0.0.0.0:80", false, true],
    ["tcp://[::1]:80", "tcp://0.0.0.0:80", false, false],
    ["tcp://0.0.0.0:80", "tcp://127.0.0.1:80", false, false],
    ["tcp://localhost:80", "tcp://127.0.0.1:80", false, true],
    ["tcp://example.org:80", "tcp://0.0.0.0:80", false, true],
    ["tcp://example.org:80", "tcp://127.0.0.1:80", false, false],
    ["udp://127.0.0.1:80", "tcp://127.0.0.1:80", false, false],
    ["tcp://127.0.0.1:80", "tcp://127.0.0.1:81", false, false],
    ["unix:///run/a.sock", "unix:///run/a.sock", false, true],
    ["unix:///run/a.sock", "unix://@/run/a.sock", false, false],
    ["tcp://127.0.0.1:80", "unix:///run/a.sock", false, false],
  ] as const)("%s beside the descriptor %s (IPv6 only: %p): taken %p", (wanted, own, isV6Only, isTaken) => {
    expect(plan([wanted], [described(3, own, "a", isV6Only)])).toEqual([
      `${own} 3`,
      ...(isTaken ? [] : [`${wanted} null`]),
    ]);
  });

  test("one wildcard takes several configured listeners", () => {
    expect(plan(["tcp://127.0.0.1:80", "tcp://[::1]:80"], [described(3, "tcp://[::]:80")])).toEqual([
      "tcp://[::]:80 3",
    ]);
  });

  test("without descriptors everything is opened", () => {
    expect(plan(["tcp://127.0.0.1:80", "udp://127.0.0.1:80"], [])).toEqual([
      "tcp://127.0.0.1:80 null",
      "udp://127.0.0.1:80 null",
    ]);
  });
});
