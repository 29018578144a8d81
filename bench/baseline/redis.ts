/** redis-server with an append-only file: `bun redis.ts FOLDER always|everysec`. Prints its process. */
const [folder = "", fsync = "always"] = process.argv.slice(2);
const START_DEADLINE_MS = 5000;

/** redis-server takes no port 0 for "any", so choose one. */
function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  listener.stop(true);
  return listener.port;
}

async function untilListening(port: number): Promise<void> {
  const end = performance.now() + START_DEADLINE_MS;
  for (;;) {
    const socket = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } }).catch(() => null);
    if (socket !== null) return void socket.terminate();
    if (child.exitCode !== null || performance.now() > end)
      throw new Error(`redis-server does not listen (exit code ${child.exitCode})`);
    await Bun.sleep(20);
  }
}

const port = freePort();
const settings = ["--port", String(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""];
const log = ["--appendonly", "yes", "--appendfsync", fsync];
const child = Bun.spawn(["redis-server", ...settings, ...log], { stdio: ["ignore", "ignore", "inherit"] });
process.on("SIGTERM", () => child.kill("SIGTERM"));
void child.exited.then((code) => process.exit(code));
await untilListening(port);
console.log(`listening on redis://127.0.0.1:${port}`);

export {};
