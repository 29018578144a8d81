/**
 * gRPC: a unary call and a stream from the server. Messages are those of this file, written and read by hand; with many
 * of them, use a library for protocol buffers.
 *
 *   syntax = "proto3";
 *   package greet;
 *   message Name { string name = 1; }
 *   message Greeting { string text = 1; }
 *   service Greeter {
 *     rpc Greet(Name) returns (Greeting);
 *     rpc GreetOften(Name) returns (stream Greeting);
 *   }
 *
 * Without a client of gRPC: 5 bytes in front of the message, whose field 1 is 3 bytes long.
 *
 *   printf '\0\0\0\0\5\n\3Ann' > ann
 *   curl -s --http2-prior-knowledge --data-binary @ann localhost:8080/greet.Greeter/Greet | tail -c 11    # Hello, Ann!
 */
import { defineModule } from "hrmr";

/** https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
const Status = { ok: 0, invalidArgument: 3, unimplemented: 12, internal: 13 } as const;

class GrpcError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** A message on the wire: a flag for compression, 4 bytes of length, the bytes. */
const PREFIX_BYTES = 5;
/** Field 1, of a length and as many bytes: a string. */
const STRING_1 = 0x0a;

async function readName(request: Request): Promise<string> {
  const bytes = await request.bytes();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < PREFIX_BYTES || view.getUint32(1) !== bytes.length - PREFIX_BYTES)
    throw new GrpcError(Status.invalidArgument, "The call does not have one whole message.");
  if (bytes[0] !== 0) throw new GrpcError(Status.unimplemented, "Messages must not be compressed.");
  return readString(bytes.subarray(PREFIX_BYTES));
}

/** The string in field 1; "" if the message has none. */
function readString(message: Uint8Array): string {
  if (message.length === 0) return "";
  if (message[0] !== STRING_1) throw new GrpcError(Status.invalidArgument, "The message has an unknown field.");
  let length = 0;
  let at = 1;
  for (let shift = 0; ; shift += 7) {
    const byte = message[at++];
    if (byte === undefined || shift > 21) throw new GrpcError(Status.invalidArgument, "The message is cut.");
    length |= (byte & 0x7f) << shift;
    if (byte < 0x80) break;
  }
  if (at + length !== message.length) throw new GrpcError(Status.invalidArgument, "The message has a wrong length.");
  return new TextDecoder().decode(message.subarray(at));
}

function writeString(text: string): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  const length: number[] = [];
  let rest = bytes.length;
  for (; rest >= 0x80; rest >>>= 7) length.push((rest & 0x7f) | 0x80);
  const message = [STRING_1, ...length, rest, ...bytes];
  const framed = new Uint8Array(PREFIX_BYTES + message.length);
  new DataView(framed.buffer).setUint32(1, message.length);
  framed.set(message, PREFIX_BYTES);
  return framed;
}

/** A reply's status stands in its trailers: it may be known only behind the last message. */
function reply(messages: AsyncIterable<Uint8Array>, trailers: Headers): Response {
  async function* send(): AsyncGenerator<Uint8Array> {
    try {
      yield* messages;
      trailers.set("grpc-status", String(Status.ok));
    } catch (error) {
      trailers.set("grpc-status", String(error instanceof GrpcError ? error.status : Status.internal));
      // A message is percent-encoded UTF-8.
      trailers.set("grpc-message", encodeURIComponent(error instanceof Error ? error.message : String(error)));
    }
  }
  return new Response(send() as unknown as ReadableStream<Uint8Array>, {
    headers: { "content-type": "application/grpc" },
  });
}

async function* greet(request: Request): AsyncGenerator<Uint8Array> {
  const name = await readName(request);
  if (name === "") throw new GrpcError(Status.invalidArgument, "A name is missing.");
  yield writeString(`Hello, ${name}!`);
}

async function* greetOften(request: Request): AsyncGenerator<Uint8Array> {
  const name = await readName(request);
  for (let count = 1; count <= 3; count++) yield writeString(`Hello, ${name}! (${count})`);
}

export default defineModule({
  routes: {
    "POST /greet.Greeter/Greet": {
      description: "gRPC: one greeting",
      fetch: (request, context) => reply(greet(request), context.responseTrailers),
    },
    "POST /greet.Greeter/GreetOften": {
      description: "gRPC: three greetings",
      fetch: (request, context) => reply(greetOften(request), context.responseTrailers),
    },
    // Not a 404: clients of gRPC want a status of theirs.
    "POST /greet.Greeter/:method": {
      description: "gRPC: a method that does not exist",
      fetch: () =>
        new Response(null, {
          headers: { "content-type": "application/grpc", "grpc-status": String(Status.unimplemented) },
        }),
    },
  },
});
