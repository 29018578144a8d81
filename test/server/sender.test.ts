/** Messages that are made in the memory that is sent, and messages whose body is sent from a file: on real sockets. */
import { expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Socket } from "bun";
import type { Dispatch, Encode } from "../../src/protocol/wire";
import { Sender } from "../../src/server/connection/sender";
import { until } from "../support/until";

const MAX_QUEUED = 1_000_000;

/** A sender on one end of a connection, and what has arrived at the other. */
class Line implements Disposable {
  private constructor(
    readonly sender: Sender,
    private readonly client: Socket<undefined>,
    private readonly parts: readonly Buffer[],
    private readonly stop: () => void,
  ) {}

  /** The peer does not read until `read`. */
  static async open(): Promise<Line> {
    const accepted = Promise.withResolvers<Socket<undefined>>();
    let sender: Sender | null = null;
    const listener = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: { open: (socket) => accepted.resolve(socket), data() {}, drain: () => void sender?.flush() },
    });
    const parts: Buffer[] = [];
    const client = await Bun.connect({
      hostname: "127.0.0.1",
      port: listener.port,
      socket: { data: (_, bytes) => void parts.push(Buffer.from(bytes)) },
    });
    client.pause();
    const socket = await accepted.promise;
    const dispatch = {
      limits: { maxWriteBufferBytes: MAX_QUEUED },
      timeouts: { writeMs: 0 },
      wheel: { arm() {}, disarm() {} },
    } as unknown as Dispatch;
    sender = new Sender(dispatch, { abort: () => socket.terminate() }, socket);
    return new Line(sender, client, parts, () => listener.stop(true));
  }

  /** What arrives, once it is so many bytes. */
  async read(bytes: number): Promise<Buffer> {
    this.client.resume();
    await until(`${bytes} bytes`, () => this.parts.reduce((sum, { length }) => sum + length, 0) >= bytes);
    return Buffer.concat(this.parts);
  }

  [Symbol.dispose](): void {
    this.client.terminate();
    this.stop();
  }
}

const encode: Encode<string> = (memory, at, text) => at + memory.latin1Write(text, at);

test("messages that are made in place leave in order with all others, corked or not", async () => {
  using line = await Line.open();
  const { sender } = line;
  const sent: string[] = [];
  const inPlace = (text: string) => {
    sent.push(text);
    if (sender.writeInPlace(text.length, encode, text) === 0) sender.write(text);
  };
  const plain = (text: string) => {
    sent.push(text);
    sender.write(text);
  };
  inPlace("not corked;");
  for (const long of [1, 100_000]) {
    expect(sender.cork()).toBe(true);
    inPlace(`first ${"a".repeat(long)};`);
    inPlace("second;");
    plain("third;");
    inPlace("fourth;");
    plain("fifth;");
    sender.uncork();
    inPlace("alone;");
  }
  const expected = sent.join("");
  expect((await line.read(expected.length)).toString("latin1")).toBe(expected);
});

test("more than the memory holds leaves in order within one read", async () => {
  using line = await Line.open();
  const { sender } = line;
  sender.cork();
  const sent = Array.from({ length: 40 }, (_, at) => `${at} `.padEnd(20_000, "x"));
  for (const text of sent) expect(sender.writeInPlace(text.length, encode, text)).toBe(text.length);
  sender.uncork();
  const expected = sent.join("");
  expect((await line.read(expected.length)).toString("latin1")).toBe(expected);
});

test("another connection's messages are made beside the collected ones", async () => {
  using one = await Line.open();
  using other = await Line.open();
  one.sender.cork();
  expect(one.sender.writeInPlace(3, encode, "one")).toBe(3);
  expect(other.sender.cork()).toBe(false);
  expect(other.sender.writeInPlace(5, encode, "other")).toBe(5);
  expect(one.sender.writeInPlace(4, encode, " two")).toBe(4);
  one.sender.uncork();
  expect([(await one.read(7)).toString(), (await other.read(5)).toString()]).toEqual(["one two", "other"]);
});

test("a peer that does not read gets every byte later, and nothing is made in place meanwhile", async () => {
  using line = await Line.open();
  const { sender } = line;
  const piece = "0123456789".repeat(6000);
  let count = 0;
  while (sender.queuedBytes === 0) {
    expect(sender.writeInPlace(piece.length, encode, piece)).toBe(piece.length);
    count++;
  }
  expect(sender.writeInPlace(piece.length, encode, piece)).toBe(0);
  const received = await line.read(count * piece.length);
  expect(received.equals(Buffer.from(piece.repeat(count)))).toBe(true);
});

/** A file of 200 KB and a message with it: a head, then the file's bytes. */
class FileMessage implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "hrmr-sender-"));
  readonly path = join(this.folder, "file");
  readonly bytes = Buffer.from(Array.from({ length: 200_000 }, (_, at) => (at * 31) ^ (at >> 8)));
  readonly head = Buffer.from("a head\r\n\r\n");
  readonly message = Buffer.concat([this.head, this.bytes]);
  readonly fd: number;

  constructor() {
    writeFileSync(this.path, this.bytes);
    this.fd = openSync(this.path, "r");
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
    rmSync(this.folder, { recursive: true });
  }
}

test("a message is sent from a file behind what is collected, and before what follows", async () => {
  using line = await Line.open();
  using file = new FileMessage();
  const { sender } = line;
  sender.cork();
  sender.write("before;");
  sender.writeFile(file.message, file.head.length, file.fd);
  sender.write("after;");
  sender.uncork();
  const expected = Buffer.concat([Buffer.from("before;"), file.message, Buffer.from("after;")]);
  expect((await line.read(expected.length)).equals(expected)).toBe(true);
});

test.if(process.platform === "linux")("the kernel takes the bytes from the file itself", async () => {
  using line = await Line.open();
  using file = new FileMessage();
  writeFileSync(file.path, Buffer.alloc(file.bytes.length, "x"));
  line.sender.writeFile(file.message, file.head.length, file.fd);
  const received = await line.read(file.message.length);
  expect(received.toString("latin1", 0, file.head.length + 3)).toBe(`${file.head.toString()}xxx`);
});

test("what the kernel does not take of a file comes from memory, in order", async () => {
  using line = await Line.open();
  using file = new FileMessage();
  const { sender } = line;
  let count = 0;
  for (; sender.queuedBytes === 0; count++) sender.writeFile(file.message, file.head.length, file.fd);
  sender.writeFile(file.message, file.head.length, file.fd);
  count++;
  const received = await line.read(count * file.message.length);
  expect(received.equals(Buffer.concat(Array.from({ length: count }, () => file.message)))).toBe(true);
});

test("a file that has become shorter is completed from memory", async () => {
  using line = await Line.open();
  using file = new FileMessage();
  truncateSync(file.path, 1000);
  line.sender.writeFile(file.message, file.head.length, file.fd);
  expect((await line.read(file.message.length)).equals(file.message)).toBe(true);
});
