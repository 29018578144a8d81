/** A UDP client that keeps received datagrams. */
import { until } from "./until";

export class UdpClient {
  /** Each datagram, oldest first. */
  readonly received: string[] = [];
  readonly #socket: Bun.udp.ConnectedSocket<"buffer">;

  private constructor(socket: Bun.udp.ConnectedSocket<"buffer">, received: string[]) {
    this.#socket = socket;
    this.received = received;
  }

  /** @param port of 127.0.0.1 */
  static async connect(port: number): Promise<UdpClient> {
    const received: string[] = [];
    const socket = await Bun.udpSocket({
      connect: { hostname: "127.0.0.1", port },
      socket: { data: (_, bytes) => void received.push(bytes.toString()) },
    });
    return new UdpClient(socket, received);
  }

  send(text: string): void {
    this.#socket.send(text);
  }

  /** @returns the next datagram that comes */
  readonly ask = async (text: string): Promise<string> => {
    const count = this.received.length;
    this.send(text);
    await until(`a datagram in answer to ${JSON.stringify(text)}`, () => this.received.length > count);
    return this.received[count] as string;
  };

  close(): void {
    this.#socket.close();
  }
}
