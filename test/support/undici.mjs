// The `undici` package under node against the server at argv[3]; argv[2] names what to do. Prints one line of JSON with what it saw.
// Where the test has something to do in between, it is told by a line on stdout and answers with one on stdin.
import { Agent, Client, Pool, WebSocket, fetch, request } from "undici";
import { subscribe } from "node:diagnostics_channel";
import { Readable } from "node:stream";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

/** undici closes a connection after 4 s without a request. A reload may take longer on a loaded machine. */
const PATIENT = { keepAliveTimeout: 60_000 };
const [what, url, caFile] = process.argv.slice(2);
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function askTest(question) {
  console.log(question);
  await answers.next();
}

async function* pieces(count, bytes) {
  for (let i = 0; i < count; i++) {
    await new Promise((resolve) => setImmediate(resolve));
    yield Buffer.alloc(bytes, 97 + i);
  }
}

/** Every connection that was opened, and why any was closed. */
function watch(dispatcher) {
  const seen = { connects: 0, disconnects: [] };
  dispatcher.on("connect", () => seen.connects++);
  dispatcher.on("disconnect", (origin, targets, error) => seen.disconnects.push(error.message));
  return seen;
}

const read = async ({ statusCode, body }) => `${statusCode} ${await body.text()}`;

const SCENES = {
  async requests() {
    const replies = [
      await read(await request(`${url}/n/1?q=2`)),
      await read(await request(`${url}/length`, { method: "POST", body: "hello" })),
      await read(await request(`${url}/length`, { method: "POST", body: Readable.from(pieces(20, 50_000)) })),
      await read(await request(`${url}/nothing`)),
    ];
    const upload = await fetch(`${url}/length`, {
      method: "POST",
      body: Readable.toWeb(Readable.from(pieces(10, 50_000))),
      duplex: "half",
    });
    replies.push(`${upload.status} ${await upload.text()}`);
    const form = new URLSearchParams({ a: "1", b: "2" });
    replies.push(await (await fetch(`${url}/length`, { method: "POST", body: form })).text());
    // A reply is seen while the upload is still going on.
    const { body } = await request(`${url}/shout`, { method: "POST", body: Readable.from(pieces(5, 3)) });
    replies.push(await body.text());
    const { headers, body: none } = await request(`${url}/n/1`, { method: "HEAD" });
    replies.push(`${headers["content-length"]} ${await none.text()}`);
    return replies;
  },

  async pipelining() {
    const client = new Client(url, { pipelining: 10 });
    const seen = watch(client);
    const order = [];
    // undici pipelines once the connection is there. The even ones are slow: their replies must not be overtaken.
    await read(await client.request({ path: "/n/first", method: "GET" }));
    let waiting = 0;
    let most = 0;
    subscribe("undici:client:sendHeaders", () => (most = Math.max(most, ++waiting)));
    subscribe("undici:request:headers", () => waiting--);
    const all = Array.from({ length: 50 }, async (_, n) => {
      // blocking is the default but for HEAD: nothing is sent until the reply has begun.
      const reply = await client.request({
        path: n % 2 === 0 ? `/slow/${n}` : `/n/${n}`,
        method: "GET",
        blocking: false,
      });
      const text = await read(reply);
      order.push(n);
      return text;
    });
    const replies = await Promise.all(all);
    await client.close();
    return { replies, order, most, connects: seen.connects };
  },

  async reload() {
    const pool = new Pool(url, { connections: 2, pipelining: 1, ...PATIENT });
    const seen = watch(pool);
    const two = () =>
      Promise.all([1, 2].map(async (n) => read(await pool.request({ path: `/slow/${n}`, method: "GET" }))));
    const before = await two();
    await askTest("reload");
    const after = await two();
    // One is under way on the old version while the next one comes in.
    const held = pool.request({ path: "/held", method: "GET" });
    await askTest("reload and let go");
    const last = [await read(await held), await read(await pool.request({ path: "/n/3", method: "GET" }))];
    // A copy: closing is a disconnect too.
    const { connects, disconnects } = structuredClone(seen);
    await pool.close();
    return { before, after, last, connects, disconnects };
  },

  async websocket() {
    const socket = new WebSocket(`${url.replace("http", "ws")}/echo`, ["mine"]);
    socket.binaryType = "arraybuffer";
    const messages = [];
    let wake = () => {};
    const next = async () => {
      while (messages.length === 0) await new Promise((resolve) => (wake = resolve));
      return messages.shift();
    };
    const closed = new Promise(
      (resolve) => (socket.onclose = ({ code, reason, wasClean }) => resolve([code, reason, wasClean])),
    );
    socket.onmessage = ({ data }) => {
      messages.push(typeof data === "string" ? (data.length > 100 ? data.length : data) : `${data.byteLength} bytes`);
      wake();
    };
    await new Promise(
      (resolve, reject) => ((socket.onopen = resolve), (socket.onerror = ({ error }) => reject(error))),
    );
    const seen = [socket.protocol, socket.extensions];
    for (const data of ["hello", "ä".repeat(40_000), Buffer.alloc(300_000, 7), ""]) {
      socket.send(data);
      seen.push(await next());
    }
    await askTest("reload");
    socket.send("again");
    seen.push(await next());
    socket.close(4002, "done");
    return [...seen, await closed];
  },

  async http2() {
    const agent = new Agent({
      allowH2: true,
      connections: 1,
      pipelining: 20,
      ...PATIENT,
      connect: { ca: readFileSync(caFile) },
    });
    const seen = watch(agent);
    const ask = async (path, options) => read(await request(`${url}${path}`, { dispatcher: agent, ...options }));
    const replies = [
      await ask("/protocol"),
      await ask("/length", { method: "POST", body: "hello" }),
      await ask("/length", { method: "POST", body: Readable.from(pieces(20, 50_000)) }),
      ...(await Promise.all(Array.from({ length: 20 }, (_, n) => ask(n % 2 === 0 ? `/slow/${n}` : `/n/${n}`)))),
    ];
    await askTest("reload");
    replies.push(await ask("/n/after"));
    const fetched = await fetch(`${url}/protocol`, { dispatcher: agent });
    replies.push(`${fetched.status} ${await fetched.text()}`);
    // A copy: closing is a disconnect too.
    const { connects, disconnects } = structuredClone(seen);
    await agent.close();
    const plain = new Agent({ connect: { ca: readFileSync(caFile) } });
    replies.push(await read(await request(`${url}/protocol`, { dispatcher: plain })));
    await plain.close();
    return { replies, connects, disconnects };
  },
};

console.log(JSON.stringify(await SCENES[what]()));
process.exit(0);
