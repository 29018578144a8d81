/** `hrmr test` runs this against a server of its own. */
import { expect, test } from "bun:test";
import { startTestServer, type TestServer } from "hrmr/test";

async function call(server: TestServer, name: string, input: unknown = null): Promise<unknown> {
  const headers = { "content-type": "application/json" };
  const response = await server.fetch(`/rpc/${name}`, { method: "POST", headers, body: JSON.stringify(input) });
  return await response.json();
}

test("points of many bots at the same time are all counted", async () => {
  await using server = await startTestServer();
  await Promise.all(Array.from({ length: 50 }, () => call(server, "scores.add", { player: "ada", points: 2 })));
  await call(server, "scores.add", { player: "bob", points: 300 });
  expect(await call(server, "scores.top", { limit: 2 })).toEqual([
    { player: "bob", points: 300, games: 1 },
    { player: "ada", points: 100, games: 50 },
  ]);
});

test("a player without a name is refused", async () => {
  await using server = await startTestServer();
  expect(await call(server, "scores.add", { player: "", points: 2 })).toMatchObject({
    error: { data: { code: "BAD_PLAYER" } },
  });
});
