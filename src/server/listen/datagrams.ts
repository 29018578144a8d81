/** UDP: each datagram is one message, its reply one datagram. It has no order and no connection. */
import { formatListen, type ListenAddress } from "../../config/listen";
import { Call, type CallOwner } from "../../host/call";
import { runInline } from "../../host/inline";
import { toLatin1 } from "../../host/remote/messages";
import type { RemoteCallOwner } from "../../host/remote/call";
import type { Client, Handle, ModuleContext } from "../../module/contract";
import type { BoundRoute } from "../../module/route";
import { byteLength } from "../../protocol/access";
import { contentEnd, messageLength } from "../../protocol/raw/framing";
import { RawMessage } from "../../protocol/raw/message";
import { checkReply } from "../../protocol/raw/reply";
import { isStream, isThenable, type StreamReply } from "../../module/graph/returned";
import { unavailableReply } from "../../protocol/web/unavailable";
import type { Dispatch } from "../../protocol/wire";
import { NEED_MORE, NO_MATCH } from "../../router/match";
import { isLoopback, plainAddress } from "../../system/address";
import type { ConnectionOwner } from "../connection/connection";
import type { OpenDatagrams } from "../connection/open-datagrams";
import { listenError } from "../../system/listen-error";
import type { Listener } from "./listeners";
import { CLOSE_CONNECTION, failRaw, timeoutError } from "../../protocol/raw/reply-queue";

/** The largest payload of a UDP datagram over IPv4 (RFC 768, RFC 791). */
const MAX_DATAGRAM_BYTES = 65_507;

interface DatagramOwner extends ConnectionOwner {
  readonly datagrams: OpenDatagrams;
}

type Send = (reply: string | Uint8Array) => void;

type DatagramAddress = Extract<ListenAddress, { host: string }>;

/**
 * @param fd a socket that is bound to `address`, closed by `stop`; null: one is opened
 * @throws UserError naming the address, if it is taken or not ours
 */
export async function openDatagramListener(
  address: DatagramAddress,
  owner: DatagramOwner,
  fd: number | null,
): Promise<Listener> {
  // Bun.udpSocket takes a bound descriptor too, though its types don't say so.
  const where: { hostname: string; port: number } =
    fd === null ? { hostname: address.host, port: address.port } : ({ fd } as never);
  try {
    const socket = await Bun.udpSocket({
      ...where,
      socket: {
        data(self, bytes, port, remoteAddress) {
          const address = plainAddress(remoteAddress);
          const client: Client = { address, port, transport: "udp", isLocal: isLoopback(address), connection: 0 };
          answerDatagram(owner, bytes, client, (reply) => void self.send(reply, port, remoteAddress));
        },
        // The client did not wait for its reply, as ICMP reports (RFC 1122 section 4.1.3.3). Nothing has to be done.
        error() {},
      },
    });
    return {
      url: formatListen(fd === null ? { ...address, port: socket.port } : address),
      // A reply must come from the address that was asked. Until the last reply is sent, new datagrams are served as
      // before.
      stop: () => owner.datagrams.whenAnswered(() => socket.close()),
    };
  } catch (error) {
    throw listenError(address, error);
  }
}

/**
 * Routes and answers one datagram. Sends nothing for an empty reply, or for CLOSE. A datagram that matches no route, or
 * is not exactly one message, gets no answer: its sender may be forged, and two servers would answer each other's
 * errors for ever.
 */
function answerDatagram(owner: DatagramOwner, bytes: Uint8Array, client: Client, send: Send): void {
  const { dispatch, datagrams } = owner;
  const { counters } = dispatch;
  const route = dispatch.routing.table.matchBytes(bytes, 0, true);
  // The types of the symbols overlap, but a final match is never NEED_MORE.
  if (route === NO_MATCH || route === NEED_MORE || route.kind === "connect") return void counters.datagramsIgnored++;
  const end = wholeMessage(dispatch, route, bytes, client);
  if (end === null) return void counters.datagramsIgnored++;
  if (datagrams.count >= dispatch.limits.maxDatagramCalls) return void counters.datagramsDropped++;
  counters.messages++;
  if (route.isUnavailable) return send(unavailableReply(route));
  const message = new RawMessage(bytes, 0, contentEnd(route.framing, bytes, 0, end), { client });
  const reply = new DatagramReply(owner, route, message, send);
  try {
    reply.start();
  } catch (error) {
    reply.reject(error);
  }
}

/** @returns the message's length; null: the datagram does not hold exactly one message */
function wholeMessage(dispatch: Dispatch, route: BoundRoute, bytes: Uint8Array, client: Client): number | null {
  try {
    const end = route.framing === "line" ? lineEnd(bytes) : messageLength(route.framing, route.keyBytes, bytes, 0);
    return end === bytes.length ? end : null;
  } catch (error) {
    dispatch.handlerFailed(route, client, error);
    return null;
  }
}

/** A datagram's end ends a line too. More than one line is more than one message. */
function lineEnd(bytes: Uint8Array): number {
  const at = bytes.indexOf(10);
  return at === -1 ? bytes.length : at + 1;
}

/** One datagram's pending reply. */
class DatagramReply implements RemoteCallOwner, CallOwner {
  readonly #owner: DatagramOwner;
  readonly #call: Call;
  readonly #message: RawMessage;
  readonly #send: Send;
  #isDone = false;

  constructor(owner: DatagramOwner, route: BoundRoute, message: RawMessage, send: Send) {
    this.#owner = owner;
    this.#call = new Call(owner.dispatch, route, message, performance.now(), this);
    this.#message = message;
    this.#send = send;
  }

  start(): void {
    const { route, timeoutMs } = this.#call;
    const { client, bytes } = this.#message;
    this.#owner.datagrams.begin();
    this.#call.enter();
    if (route.run !== "inline") {
      this.#owner.hosts.call({ route, client, latin1: toLatin1(bytes), body: null, timeoutMs, owner: this });
      return;
    }
    const result: unknown = runInline(
      route,
      route.handler as unknown as Handle,
      this.#message,
      route.generation.context as ModuleContext,
    );
    if (!isThenable(result)) return this.resolve(result);
    this.#call.awaitHandler();
    Promise.resolve(result).then(
      (value) => this.resolve(value),
      (error: unknown) => this.reject(error),
    );
  }

  resolve(value: unknown): void {
    if (this.#isDone) return;
    try {
      const reply = value === CLOSE_CONNECTION ? null : checkReply(value);
      if (isStream(reply)) void this.#collect(reply);
      else this.#finish(reply ?? "");
    } catch (error) {
      this.reject(error);
    }
  }

  reject(error: unknown): void {
    if (this.#isDone) return;
    this.#message.abort(error instanceof Error ? error : new Error("the handler failed", { cause: error }));
    this.#finish(failRaw(this.#owner.dispatch, this.#call.route, this.#message, error));
  }

  late(): void {
    this.reject(timeoutError(this.#call));
  }

  cut(reason: string): void {
    this.reject(new Error(reason));
  }

  async #collect(stream: StreamReply): Promise<void> {
    try {
      const pieces: Uint8Array[] = [];
      let bytes = 0;
      for await (const piece of stream as AsyncIterable<string | Uint8Array>) {
        pieces.push(typeof piece === "string" ? Buffer.from(piece) : piece);
        bytes += pieces.at(-1)?.length ?? 0;
        if (bytes > MAX_DATAGRAM_BYTES)
          throw new RangeError(`A reply of over ${MAX_DATAGRAM_BYTES} bytes does not fit into a datagram.`);
      }
      this.#finish(Buffer.concat(pieces));
    } catch (error) {
      this.reject(error);
    }
  }

  #finish(reply: string | Uint8Array): void {
    if (this.#isDone) return;
    this.#isDone = true;
    if (reply.length > 0) this.#send(reply);
    this.#owner.datagrams.end();
    this.#call.answered();
    this.#call.over();
    this.#call.tell({ protocol: "raw", bytes: byteLength(reply) });
  }
}
