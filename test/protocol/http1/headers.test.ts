/** The light headers of a request: the same answers as a native Headers, also for code that copies them. */
import { expect, test } from "bun:test";
import { LightHeaders } from "../../../src/protocol/web/request";

const TEXT = "Host: a\r\nX-Twice: 1\r\nx-twice: 2\r\nCookie: q=1\r\nEmpty:\r\n";
const light = () => new LightHeaders(TEXT) as unknown as Headers;

function native(): Headers {
  return new Headers([
    ["Host", "a"],
    ["X-Twice", "1"],
    ["x-twice", "2"],
    ["Cookie", "q=1"],
    ["Empty", ""],
  ]);
}

test("they are Headers, and answer as the native ones do", () => {
  expect(light()).toBeInstanceOf(Headers);
  for (const name of ["host", "HOST", "x-twice", "cookie", "empty", "nope", "ost", "X-Twice2"]) {
    expect(light().get(name), name).toBe(native().get(name));
    expect(light().has(name), name).toBe(native().has(name));
  }
  expect([...light()]).toEqual([...native()]);
  expect(light().toJSON()).toEqual(native().toJSON());
  expect(() => light().get("not a name")).toThrow(TypeError);
});

test("a field that is set, appended or deleted is seen by every later question", () => {
  const headers = light();
  expect(headers.get("x-new")).toBe(null);
  headers.set("X-New", "1");
  headers.append("x-new", "2");
  headers.delete("cookie");
  expect(headers.get("x-new")).toBe("1, 2");
  expect(headers.has("cookie")).toBe(false);
});

test("Headers, Request, Response and fetch copy them whole", async () => {
  expect([...new Headers(light())]).toEqual([...native()]);
  expect(new Request("http://x/", { headers: light() }).headers.get("x-twice")).toBe("1, 2");
  expect(new Response("", { headers: light() }).headers.get("x-twice")).toBe("1, 2");
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request) => new Response(request.headers.get("x-twice")),
  });
  try {
    const sent = new LightHeaders("X-Twice: 7\r\n") as unknown as Headers;
    expect(await (await fetch(server.url, { headers: sent })).text()).toBe("7");
  } finally {
    await server.stop(true);
  }
});
