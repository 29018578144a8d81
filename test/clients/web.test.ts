/**
 * A page that holds a WebSocket and an event stream open in a browser, while the module behind both is edited and
 * reloaded.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Browser, NO_BROWSER, type LoadedPage } from "../support/browser";
import { type Hub, moduleSource, shareHub } from "../support/hub";

/** An event stream goes on from the version that made it: replies finish where they began. */
const WEB = moduleSource(`{
  routes: {
    "/live": { websocket: { open: (socket) => { socket.data = { count: 0 }; },
      message: (socket, data) => { socket.send("VERSION " + data + " " + ++socket.data.count); } } },
    "GET /events": { fetch: (request, { log }) => {
      log.info("an event stream was opened");
      let id = 0;
      return new Response(new ReadableStream({ async pull(controller) {
        await Bun.sleep(5);
        controller.enqueue("id: " + ++id + "\\ndata: VERSION " + id + "\\n\\n");
      } }), { headers: { "content-type": "text/event-stream" } });
    } },
    "GET /version": { fetch: () => new Response("VERSION") },
  },
}`);
const version = (name: string) => WEB.replaceAll("VERSION", name);

const PAGE = `<!doctype html><title>live</title><link rel=icon href=data:,>
<script>
  const log = [];
  const waiting = [];
  const tell = () => { for (const wake of waiting.splice(0)) wake(); };
  const note = (text) => { log.push(text); tell(); };
  const socket = new WebSocket("ws://" + location.host + "/live");
  socket.onopen = () => note("socket open");
  socket.onmessage = ({ data }) => note("socket: " + data);
  socket.onclose = ({ code }) => note("socket close " + code);
  socket.onerror = () => note("socket error");
  const source = new EventSource("/events");
  const ids = [];
  source.onopen = () => note("source open");
  source.onmessage = ({ data, lastEventId }) => { ids.push(Number(lastEventId)); tell(); };
  source.onerror = () => note("source error " + source.readyState);
  const until = async (isThere) => { while (!isThere()) await new Promise((resolve) => waiting.push(resolve)); };
  const waitFor = async (text) => { await until(() => log.includes(text)); return log; };
  const say = (text, reply) => { socket.send(text); return waitFor("socket: " + reply); };
  const moreEvents = async () => { const from = ids.length; await until(() => ids.length >= from + 3); return ids.length; };
</script>`;

/**
 * Runs `use` with the page once both have exchanged messages. They are closed at the end: a shutdown waits for event
 * streams.
 */
async function withLive(browser: Browser, hub: Hub, use: (page: LoadedPage) => Promise<void>): Promise<void> {
  // An earlier test may have left another version.
  hub.write("modules/web.ts", version("one"));
  expect(await hub.ask("RELOAD")).toStartWith("OK ");
  const page = await browser.open(`${hub.url}/`);
  try {
    await page.evaluate(`Promise.all([waitFor("socket open"), waitFor("source open")]).then(() => 0)`);
    await page.evaluate(`say("a", "one a 1")`);
    expect(await page.evaluate("moreEvents()")).toBeGreaterThanOrEqual(3);
    await use(page);
  } finally {
    await page.evaluate("socket.close(); source.close();");
  }
}

const streamsOpened = (hub: Hub) => hub.program.output().split("an event stream was opened").length - 1;

describe.skipIf(NO_BROWSER !== null)(`chromium${NO_BROWSER === null ? "" : `, skipped: ${NO_BROWSER}`}`, () => {
  const FILES = { "static_html/index.html": PAGE, "modules/web.ts": version("one") };
  const withPage = shareHub(FILES);
  let browser: Browser;
  beforeAll(async () => void (browser = await Browser.start()));
  afterAll(() => browser.close());

  test("a page's WebSocket and EventSource live through reloads; the next message goes to the new version", () =>
    withPage((hub) =>
      withLive(browser, hub, async (page) => {
        for (const [at, name] of ["two", "three"].entries()) {
          hub.write("modules/web.ts", version(name));
          expect(await hub.ask("RELOAD")).toMatch(
            new RegExp(`^OK web v${at + 2} \\(was v${at + 1}\\).* 0 connections dropped`),
          );
          // The count lives in socket.data: it goes on, so the socket is the one that it was.
          await page.evaluate(`say("b", "${name} b ${at + 2}")`);
          expect(await page.evaluate("moreEvents()")).toBeGreaterThan(5);
          expect(await page.evaluate(`fetch("/version").then((response) => response.text())`)).toBe(name);
        }
        // All that ever happened: nothing closed, nothing failed, nothing was opened again.
        const log = (await page.evaluate("log")) as string[];
        expect(log.toSorted()).toEqual([
          "socket open",
          "socket: one a 1",
          "socket: three b 3",
          "socket: two b 2",
          "source open",
        ]);
        expect(await page.evaluate("[socket.readyState, source.readyState]")).toEqual([1, 1]);
        const ids = (await page.evaluate("ids")) as number[];
        expect(ids).toEqual(ids.map((_, index) => index + 1));
        expect(streamsOpened(hub)).toBe(1);
        expect(page.errors).toEqual([]);
      }),
    ));

  test("a version that does not build leaves both of them as they are", () =>
    withPage((hub) =>
      withLive(browser, hub, async (page) => {
        hub.write("modules/web.ts", `${version("two")}\nconst broken = ;`);
        expect(await hub.ask("RELOAD")).toMatch(/^ERR .*\n  web was not loaded: modules\/web\.ts:\d+:/);
        await page.evaluate(`say("b", "one b 2")`);
        await page.evaluate("moreEvents()");
        expect(((await page.evaluate("log")) as string[]).filter((line) => /close|error/.test(line))).toEqual([]);
        expect(streamsOpened(hub)).toBe(1);
      }),
    ));

  test("a module that is removed tells the page so: the WebSocket closes with 1001", () =>
    withPage((hub) =>
      withLive(browser, hub, async (page) => {
        hub.remove("modules/web.ts");
        expect(await hub.ask("RELOAD")).toMatch(/^OK/);
        await page.evaluate(`waitFor("socket close 1001")`);
      }),
    ));
});
