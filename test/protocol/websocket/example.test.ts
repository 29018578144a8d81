/** examples/websocket.ts does what its header says. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { withHub } from "../../support/hub";
import { binary, close, RawWebSocket, text } from "../../support/websocket";

const EXAMPLE = readFileSync(resolve(import.meta.dir, "../../../examples/websocket.ts"), "utf8");

test("the WebSocket example is a room that talks on through a reload", async () => {
  await withHub({ "modules/room.ts": EXAMPLE }, [], async (hub) => {
    const ada = await RawWebSocket.open(hub.port, "/room?name=ada");
    const bob = await RawWebSocket.open(hub.port, "/room?name=bob");
    try {
      expect(await ada.waitForFrames(2)).toEqual(["text:* hello ada", "text:* bob came in"]);
      await ada.send(text("hi"));
      expect(await bob.waitForFrames(2)).toEqual(["text:* hello bob", "text:ada: hi"]);
      hub.write("modules/room.ts", EXAMPLE.replace("${socket.data.name}: ", "<${socket.data.name}> "));
      expect(await hub.ask("RELOAD\n")).toContain("OK room v2");
      await ada.send(text("still there?"));
      expect((await bob.waitForFrames(3))[2]).toBe("text:<ada> still there?");
      expect(await hub.ask("TELL dinner is ready\n")).toBe("told\n");
      expect((await bob.waitForFrames(4))[3]).toBe("text:* dinner is ready");
      await ada.send(close(1000));
      expect((await bob.waitForFrames(5))[4]).toBe("text:* ada left");
      await bob.send(binary("x"));
      await bob.client.waitFor("this room takes text");
      await expect(RawWebSocket.open(hub.port, "/room")).rejects.toThrow("name yourself");
    } finally {
      ada.close();
      bob.close();
    }
  });
});
