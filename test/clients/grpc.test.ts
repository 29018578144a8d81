/** examples/grpc.ts with clients of gRPC: by frames, and with the two that people use. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "bun:test";
import { Http2Client } from "../support/http2";
import { type Hub, reuseHubs } from "../support/hub";
import { UNTIL_MS } from "../support/until";

const reused = reuseHubs();

const SOURCE = readFileSync(join(import.meta.dir, "../../examples/grpc.ts"), "utf8");
const hosted = (run: string): string =>
  SOURCE.replaceAll('description: "gRPC', `run: "${run}",\n      description: "gRPC`);

/** A message: field 1 is a string of less than 128 bytes. */
function messageOf(text: string): Buffer {
  const bytes = Buffer.from(text);
  const message = text === "" ? Buffer.alloc(0) : Buffer.concat([Buffer.from([0x0a, bytes.length]), bytes]);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

function textsIn(body: Buffer): string[] {
  const texts: string[] = [];
  for (let at = 0; at < body.length; at += 5 + body.readUInt32BE(at + 1))
    texts.push(body.toString("utf8", at + 7, at + 5 + body.readUInt32BE(at + 1)));
  return texts;
}

interface Answer {
  texts: string[];
  status: string | undefined;
  message: string | undefined;
}

async function call(hub: Hub, method: string, body: Buffer): Promise<Answer> {
  const client = new Http2Client(hub.url);
  try {
    const headers = { "content-type": "application/grpc", te: "trailers" };
    const stream = client.begin(`/greet.Greeter/${method}`, { method: "POST", headers });
    const parts: Buffer[] = [];
    let told: Record<string, unknown> = {};
    stream.on("response", (head) => (told = { ...told, ...head }));
    stream.on("trailers", (trailers) => (told = { ...told, ...trailers }));
    stream.on("data", (part: Buffer) => parts.push(part));
    stream.end(body);
    await new Promise((resolve, reject) => stream.once("end", resolve).once("error", reject));
    const [status, message] = [told["grpc-status"], told["grpc-message"]] as (string | undefined)[];
    return { texts: textsIn(Buffer.concat(parts)), status, message };
  } finally {
    client.destroy();
  }
}

for (const run of ["inline", "pool", "process"]) {
  test(`unary and streamed calls are answered with their status behind the messages, ${run}`, () =>
    reused({ "modules/grpc.ts": hosted(run) }, [], async (hub) => {
      const ok = { status: "0", message: undefined };
      expect(await call(hub, "Greet", messageOf("Ann"))).toEqual({ texts: ["Hello, Ann!"], ...ok });
      const often = [1, 2, 3].map((count) => `Hello, Bert! (${count})`);
      expect(await call(hub, "GreetOften", messageOf("Bert"))).toEqual({ texts: often, ...ok });
      expect(await call(hub, "Greet", messageOf(""))).toEqual({
        texts: [],
        status: "3",
        message: "A%20name%20is%20missing.",
      });
      expect(await call(hub, "Greet", messageOf("Ann").subarray(0, 6))).toMatchObject({ texts: [], status: "3" });
      expect(await call(hub, "Part", messageOf("Ann"))).toMatchObject({ texts: [], status: "12" });
    }));
}

async function run(hub: Hub, ...command: string[]): Promise<string> {
  const child = Bun.spawn(command, { cwd: hub.dir, stdout: "pipe", stderr: "pipe", timeout: UNTIL_MS });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  await child.exited;
  return out + err;
}

const SAID = "Hello, Ann! | Hello, Bert! (1) | Hello, Bert! (2) | Hello, Bert! (3) | 3 A name is missing.\n";

/** Debian's: its packages are not there for another one on PATH. */
const PYTHON = "/usr/bin/python3";
const hasPythonClient = existsSync(PYTHON) && Bun.spawnSync([PYTHON, "-c", "import grpc"]).exitCode === 0;

test.skipIf(!hasPythonClient)("python3-grpcio calls and streams (skipped where it is not installed)", () =>
  reused({ "modules/grpc.ts": SOURCE }, [], async (hub) => {
    writeFileSync(
      join(hub.dir, "client.py"),
      `import grpc, sys
channel = grpc.insecure_channel(sys.argv[1])
write = lambda text: (bytes([10, len(text)]) + text.encode()) if text else b""
read = lambda data: data[2:].decode()
path = "/greet.Greeter/"
greet = channel.unary_unary(path + "Greet", request_serializer=write, response_deserializer=read)
often = channel.unary_stream(path + "GreetOften", request_serializer=write, response_deserializer=read)
said = [greet("Ann", timeout=20), *often("Bert", timeout=20)]
try:
    greet("", timeout=20)
except grpc.RpcError as error:
    said.append("%d %s" % (error.code().value[0], error.details()))
print(" | ".join(said))
`,
    );
    expect(await run(hub, PYTHON, "client.py", `127.0.0.1:${hub.port}`)).toBe(SAID);
  }),
);

test("@grpc/grpc-js calls and streams", () =>
  reused({ "modules/grpc.ts": SOURCE }, [], async (hub) => {
    writeFileSync(
      join(hub.dir, "client.cjs"),
      `const grpc = require(${JSON.stringify(dirname(Bun.resolveSync("@grpc/grpc-js/package.json", import.meta.dir)))});
const client = new grpc.Client(process.argv[2], grpc.credentials.createInsecure());
const write = (text) => text === "" ? Buffer.alloc(0) : Buffer.concat([Buffer.from([10, text.length]), Buffer.from(text)]);
const read = (bytes) => bytes.subarray(2).toString();
const path = (method) => "/greet.Greeter/" + method;
const unary = (text) => new Promise((resolve, reject) =>
  client.makeUnaryRequest(path("Greet"), write, read, text, (error, reply) => (error ? reject(error) : resolve(reply))));
(async () => {
  const said = [await unary("Ann")];
  for await (const reply of client.makeServerStreamRequest(path("GreetOften"), write, read, "Bert")) said.push(reply);
  await unary("").catch((error) => said.push(error.code + " " + error.details));
  console.log(said.join(" | "));
  client.close();
})();
`,
    );
    expect(await run(hub, process.execPath, "client.cjs", `127.0.0.1:${hub.port}`)).toBe(SAID);
  }));
