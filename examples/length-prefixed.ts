/**
 * Binary messages with a length in front, as in many protocols of devices and databases: here the key "SUM!", a count
 * of bytes as a 32-bit big-endian number, then that many bytes of 16-bit numbers. The reply has the same form.
 *
 *   printf 'SUM!\0\0\0\4\0\1\0\2' | nc -N localhost 8080 | od -An -tx1    # -> 53 55 4d 21 00 00 00 04 00 00 00 03
 */
import { defineModule } from "hrmr";

const KEY = "SUM!";
const HEADER_BYTES = KEY.length + 4;

export default defineModule({
  routes: {
    [KEY]: {
      // The length follows the key unless `offset` says otherwise. The handler runs once the whole message has arrived.
      framing: { length: { prefixBytes: 4, endian: "big" } },
      description: "SUM! length numbers: their sum",
      handle: ({ bytes }) => {
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        let sum = 0;
        for (let at = HEADER_BYTES; at + 2 <= bytes.length; at += 2) sum += view.getUint16(at);
        const reply = new Uint8Array(HEADER_BYTES + 4);
        new TextEncoder().encodeInto(KEY, reply);
        new DataView(reply.buffer).setUint32(KEY.length, 4);
        new DataView(reply.buffer).setUint32(HEADER_BYTES, sum);
        return reply;
      },
    },
  },
});
