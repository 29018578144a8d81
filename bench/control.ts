/** A connection for single commands, such as RELOAD, with the time that each took. */

const DEADLINE_MS = 20_000;

export class Control {
  readonly #socket: Bun.Socket;
  #text = "";
  #changed = Promise.withResolvers<void>();

  private constructor(socket: Bun.Socket) {
    this.#socket = socket;
    // Nobody waits yet: a close before the first question is no failure.
    this.#changed.promise.catch(() => {});
  }

  static async connect(port: number): Promise<Control> {
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_, bytes) => control.#note(new TextDecoder().decode(bytes)),
        close: () => control.#fail(),
        error: () => control.#fail(),
      },
    });
    const control = new Control(socket);
    return control;
  }

  /**
   * Sends a line and waits for one.
   *
   * @returns the reply and its time in milliseconds
   */
  async ask(line: string): Promise<{ reply: string; ms: number }> {
    this.#text = "";
    this.#changed = Promise.withResolvers<void>();
    const timer = setTimeout(
      () => this.#changed.reject(new Error(`no reply to ${line} within ${DEADLINE_MS} ms: ${this.#text}`)),
      DEADLINE_MS,
    );
    const startedAt = performance.now();
    this.#socket.write(`${line}\n`);
    try {
      await this.#changed.promise;
    } finally {
      clearTimeout(timer);
    }
    return { reply: this.#text, ms: performance.now() - startedAt };
  }

  close(): void {
    this.#socket.terminate();
  }

  #note(text: string): void {
    this.#text += text;
    if (this.#text.endsWith("\n")) this.#changed.resolve();
  }

  #fail(): void {
    this.#changed.reject(new Error("the server closed the control connection"));
  }
}
