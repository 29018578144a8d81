/**
 * nginx with one worker: `bun nginx.ts ROOT FOLDER`. Serves the files below ROOT and writes into FOLDER. Prints the
 * worker's process.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [root = "", folder = ""] = process.argv.slice(2);
const START_DEADLINE_MS = 5000;

/** nginx does not report its port, so choose one. */
function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  listener.stop(true);
  return listener.port;
}

function settings(port: number): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((what) => `${what}_temp_path ${folder};`)
    .join(" ");
  // The worker of a root nginx is "nobody", who may not read the benchmark's temporary folder.
  return `${process.getuid?.() === 0 ? "user root;" : ""}
daemon off;
worker_processes 1;
pid ${join(folder, "nginx.pid")};
error_log stderr;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 600;
  keepalive_requests 1000000000;
  types { text/plain txt; }
  default_type application/octet-stream;
  ${temporary}
  server { listen 127.0.0.1:${port}; root ${root}; }
}
`;
}

async function untilListening(port: number): Promise<void> {
  const end = performance.now() + START_DEADLINE_MS;
  for (;;) {
    const socket = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } }).catch(() => null);
    if (socket !== null) return void socket.terminate();
    if (child.exitCode !== null || performance.now() > end)
      throw new Error(`nginx does not listen (exit code ${child.exitCode})`);
    await Bun.sleep(20);
  }
}

const port = freePort();
const file = join(folder, "nginx.conf");
writeFileSync(file, settings(port));
// -e: also shows errors before it has read its settings.
const child = Bun.spawn(["nginx", "-e", "stderr", "-c", file], { stdio: ["ignore", "inherit", "inherit"] });
process.on("SIGTERM", () => child.kill("SIGTERM"));
void child.exited.then((code) => process.exit(code));
await untilListening(port);
const worker = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "latin1").trim().split(" ")[0];
console.log(`worker ${worker}; listening on http://127.0.0.1:${port}`);
