/** Replies of Redis' protocol (RESP2 and RESP3) as values. */

/** An error: `{ error: "ERR …" }`. A map of RESP3: `{ map: […] }` with keys and values in turn. A set: `{ set: […] }`. */
export type Reply =
  | string
  | number
  | boolean
  | null
  | readonly Reply[]
  | { readonly error: string }
  | { readonly status: string }
  | { readonly map: readonly Reply[] }
  | { readonly set: readonly Reply[] }
  | { readonly push: readonly Reply[] }
  | { readonly double: string }
  | { readonly verbatim: string }
  | { readonly big: string };

/** Reads replies as they come. Bytes are Latin-1 letters. */
export class ReplyReader {
  #text = "";
  #at = 0;

  /** @returns the whole replies so far, from the last call on */
  read(bytes: Uint8Array): Reply[] {
    this.#text = this.#text.slice(this.#at) + Buffer.from(bytes).toString("latin1");
    this.#at = 0;
    const replies: Reply[] = [];
    for (;;) {
      const from = this.#at;
      try {
        replies.push(this.#reply());
      } catch (error) {
        if (error !== INCOMPLETE) throw error;
        this.#at = from;
        return replies;
      }
    }
  }

  #line(): string {
    const end = this.#text.indexOf("\r\n", this.#at);
    if (end === -1) throw INCOMPLETE;
    const line = this.#text.slice(this.#at, end);
    this.#at = end + 2;
    return line;
  }

  #bytes(count: number): string {
    if (this.#text.length < this.#at + count + 2) throw INCOMPLETE;
    const bytes = this.#text.slice(this.#at, this.#at + count);
    this.#at += count + 2;
    return bytes;
  }

  #many(count: number): Reply[] {
    return Array.from({ length: count }, () => this.#reply());
  }

  #reply(): Reply {
    const line = this.#line();
    const rest = line.slice(1);
    const count = Number(rest);
    switch (line[0]) {
      case "+":
        return { status: rest };
      case "-":
        return { error: rest };
      case ":":
        return count;
      case "$":
        return count === -1 ? null : this.#bytes(count);
      case "*":
        return count === -1 ? null : this.#many(count);
      case "_":
        return null;
      case "#":
        return rest === "t";
      case ",":
        return { double: rest };
      case "(":
        return { big: rest };
      case "=":
        return { verbatim: this.#bytes(count) };
      case "%":
        return { map: this.#many(count * 2) };
      case "~":
        return { set: this.#many(count) };
      case ">":
        return { push: this.#many(count) };
      default:
        throw new Error(`This is no reply: ${JSON.stringify(line)}`);
    }
  }
}

const INCOMPLETE = new Error("The reply is not whole yet.");

/** The bytes of a command. Letters are bytes (Latin-1), but for those that are no Latin-1: then it is UTF-8. */
export function commandBytes(args: readonly string[]): Buffer {
  const parts = args.map((each) => {
    const bytes =
      Buffer.from(each, "latin1").toString("latin1") === each ? Buffer.from(each, "latin1") : Buffer.from(each);
    return Buffer.concat([Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from("\r\n")]);
  });
  return Buffer.concat([Buffer.from(`*${args.length}\r\n`), ...parts]);
}
