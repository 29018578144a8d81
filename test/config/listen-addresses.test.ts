/** Which clients can connect to which listener: both families, both wildcards, and the modes of unix sockets. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatListen, parseListen } from "../../src/config/listen";
import { ask } from "../support/client";
import { type Hub, makeProject, moduleSource, withHub } from "../support/hub";
import { runProgram } from "../support/program";
import { lives, processesIn, withProcesses } from "../support/supervised";
import { freePort } from "../support/free-port";
import { UdpClient } from "../support/udp";
import { until } from "../support/until";

const WHO = { "modules/who.ts": moduleSource(`{ routes: { "WHO": ({ client }) => client.address + "\\n" } }`) };
const needsLinux = test.skipIf(process.platform !== "linux");

const fromBoth = async (port: number): Promise<string[]> => [
  await ask({ hostname: "127.0.0.1", port }, "WHO"),
  await ask({ hostname: "::1", port }, "WHO"),
];

describe("wildcards", () => {
  const orders = [
    ["0.0.0.0", "[::]"],
    ["[::]", "0.0.0.0"],
    ["[::]", "127.0.0.1"],
  ];
  needsLinux.each(orders)("%s and %s share a port, and each client is served", async (first, second) => {
    const port = freePort();
    await withHub(WHO, ["--listen", `tcp://${first}:${port}`, "--listen", `tcp://${second}:${port}`], async () => {
      expect(await fromBoth(port)).toEqual(["127.0.0.1\n", "::1\n"]);
    });
  });

  needsLinux(
    "[::] alone takes both families, and so does one beside an IPv4 listener of another port or kind",
    async () => {
      const port = freePort();
      const args = [`tcp://[::]:${port}`, "tcp://0.0.0.0:0", `udp://0.0.0.0:${port}`].flatMap((url) => [
        "--listen",
        url,
      ]);
      await withHub(WHO, args, async () => {
        expect(await fromBoth(port)).toEqual(["127.0.0.1\n", "::1\n"]);
        const client = await UdpClient.connect(port);
        expect(await client.ask("WHO")).toBe("127.0.0.1\n");
        client.close();
      });
    },
  );

  needsLinux("both share a port of UDP too, and go on doing so over an upgrade", async () => {
    const port = freePort();
    const args = ["udp", "tcp"].flatMap((kind) =>
      ["0.0.0.0", "[::]"].flatMap((host) => ["--listen", `${kind}://${host}:${port}`]),
    );
    await withProcesses(
      1,
      async (hub) => {
        expect((await runProgram(["upgrade"], { cwd: hub.dir })).exitCode).toBe(0);
        await until("the old process to end", () => !lives(hub.program.pid));
        expect(await fromBoth(port)).toEqual(["127.0.0.1\n", "::1\n"]);
        const client = await UdpClient.connect(port);
        expect(await client.ask("WHO")).toBe("127.0.0.1\n");
        client.close();
        await runProgram(["stop"], { cwd: hub.dir });
        await until("the end of the new process", () => processesIn(hub.dir).length === 0);
      },
      WHO,
      args,
    );
  });

  needsLinux("validate binds them as a start does", async () => {
    const port = freePort();
    const dir = makeProject(WHO);
    try {
      const result = await runProgram(
        ["validate", "--listen", `tcp://[::]:${port}`, "--listen", `tcp://0.0.0.0:${port}`],
        { cwd: dir },
      );
      expect([result.exitCode, result.stderr]).toEqual([0, ""]);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});

describe("the URL of a unix socket", () => {
  test.each([
    ["unix:///run/x.sock", { transport: "unix", path: "/run/x.sock" }],
    ["unix:///run/x.sock?mode=0660", { transport: "unix", path: "/run/x.sock", mode: 0o660 }],
    ["unix:///run/x.sock?mode=0666", { transport: "unix", path: "/run/x.sock", mode: 0o666 }],
    ["unix:///x?mode=0600", { transport: "unix", path: "/x", mode: 0o600 }],
  ] as const)("%s is read and written back", (url, address) => {
    expect(parseListen(url)).toEqual(address);
    expect(formatListen(address)).toBe(url);
  });
  test("takes a mode of three digits", () =>
    expect(parseListen("unix:///x?mode=660")).toEqual({ transport: "unix", path: "/x", mode: 0o660 }));
  test.each([
    "unix:///x?mode=",
    "unix:///x?mode=0888",
    "unix:///x?mode=01777",
    "unix:///x?mod=0660",
    "unix:///x?mode=0660&a=b",
    "unix:///x?",
    "unix:///x/",
    "unix://x",
  ])("%s is none", (url) => expect(parseListen(url)).toBeNull());
});

describe("a unix socket", () => {
  const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);
  const inFolder = async (run: (dir: string) => Promise<void>): Promise<void> => {
    const dir = mkdtempSync(join(tmpdir(), "hrmr-sock-"));
    try {
      await run(dir);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  };

  test("is open to its owner alone, whatever the umask, or has the mode in its URL", () =>
    inFolder(async (dir) => {
      const before = process.umask(0);
      try {
        const [own, open] = [join(dir, "own"), join(dir, "open")];
        await withHub(
          WHO,
          ["--listen", "tcp://127.0.0.1:0", "--listen", `unix://${own}`, "--listen", `unix://${open}?mode=0660`],
          async (hub) => {
            expect([modeOf(own), modeOf(open)]).toEqual(["600", "660"]);
            for (const path of [own, open]) expect(await ask(path, "WHO")).toBe("unix\n");
            expect(hub.program.listening.join(" ")).toContain(`unix://${open}?mode=0660`);
          },
        );
        expect([existsSync(own), existsSync(open)]).toEqual([false, false]);
      } finally {
        process.umask(before);
      }
    }));

  needsLinux("changes its mode at an upgrade, and no client is refused", () =>
    inFolder(async (dir) => {
      const path = join(dir, "s");
      const config = (mode: string) => JSON.stringify({ listen: ["tcp://127.0.0.1:0", `unix://${path}${mode}`] });
      await withProcesses(
        1,
        async (hub: Hub) => {
          expect(modeOf(path)).toBe("600");
          const { ino } = statSync(path);
          hub.write("hrmr.json", config("?mode=0666"));
          expect((await runProgram(["upgrade"], { cwd: hub.dir })).exitCode).toBe(0);
          expect([modeOf(path), statSync(path).ino]).toEqual(["666", ino]);
          expect(await ask(path, "WHO")).toBe("unix\n");
          await until("the old process to end", () => !lives(hub.program.pid));
          await runProgram(["stop"], { cwd: hub.dir });
          await until("the end of the new process", () => processesIn(hub.dir).length === 0);
        },
        { ...WHO, "hrmr.json": config("") },
        [],
      );
    }),
  );

  test("replaces only a socket, and else names the kind of file at its path", () =>
    inFolder(async (dir) => {
      const [file, folder, link] = [join(dir, "file"), join(dir, "folder"), join(dir, "link")];
      writeFileSync(file, "precious");
      mkdirSync(folder);
      symlinkSync(join(dir, "nowhere"), link);
      const project = makeProject(WHO);
      try {
        for (const [path, what] of [
          [file, "a file that is no socket"],
          [folder, "a folder"],
          [link, "a symbolic link"],
        ] as const) {
          for (const command of ["start", "validate"]) {
            const { exitCode, stdout, stderr } = await runProgram([command, "--listen", `unix://${path}`], {
              cwd: project,
            });
            expect([command, exitCode]).toEqual([command, 1]);
            expect(stdout + stderr).toContain(`there is ${what} of that name`);
          }
        }
        expect(await Bun.file(file).text()).toBe("precious");
      } finally {
        rmSync(project, { recursive: true, force: true });
      }
    }));
});
