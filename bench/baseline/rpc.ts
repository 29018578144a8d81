/** The echo procedure of rows/rpc.ts by hand: lines in, JSON read, checked by the same schema, one write for a read. */
import { z } from "zod";

const Message = z.object({ text: z.string(), count: z.number() });

function answer(line: string): string {
  const { id, params } = JSON.parse(line) as { id: number; params: unknown };
  const checked = Message.safeParse(params);
  return checked.success
    ? `{"jsonrpc":"2.0","result":${JSON.stringify(checked.data)},"id":${id}}\n`
    : `{"jsonrpc":"2.0","error":{"code":-32602,"message":"the input does not fit"},"id":${id}}\n`;
}

const listener = Bun.listen({
  hostname: "127.0.0.1",
  port: 0,
  socket: {
    data(socket, bytes) {
      let answers = "";
      for (const line of bytes.toString("utf8").split("\n")) if (line !== "") answers += answer(line);
      socket.write(answers);
    },
  },
});
console.log(`listening on tcp://127.0.0.1:${listener.port}`);
