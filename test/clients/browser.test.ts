/** A browser on the pages that ship with hrmr and on a project's own. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { Browser, NO_BROWSER } from "../support/browser";
import { moduleSource, withHub } from "../support/hub";
import { until } from "../support/until";

const ROOT = resolve(import.meta.dir, "../..");
const page = (name: string) => readFileSync(resolve(ROOT, "static_html", name), "utf8");
const SITE = Object.fromEntries(
  ["index.html", "404.html", "style.css", "favicon.svg"].map((name) => [`static_html/${name}`, page(name)]),
);

describe.skipIf(NO_BROWSER !== null)(`chromium${NO_BROWSER === null ? "" : `, skipped: ${NO_BROWSER}`}`, () => {
  let browser: Browser;
  beforeAll(async () => void (browser = await Browser.start()));
  afterAll(() => browser.close());

  test("the repository's site loads with its style and icon, and the console stays empty", () =>
    withHub(SITE, [], async (hub) => {
      // The page asks for /health and /stats itself, and shows the answers.
      const page = await browser.open(
        `${hub.url}/`,
        ({ requests }) => requests.has("/favicon.svg") && requests.has("/stats"),
      );
      expect([page.status, page.errors]).toEqual([200, []]);
      expect(Object.fromEntries(page.requests)).toEqual({
        "/": 200,
        "/style.css": 200,
        "/favicon.svg": 200,
        "/health": 200,
        "/stats": 200,
      });
      expect(await page.evaluate("document.title")).toBe("hrmr is running");
      const served = () => page.evaluate("document.querySelector('#served').innerText");
      await until("the list of the modules", async () => /http v1 serving/.test(String(await served())));
      expect(await page.evaluate("document.querySelector('[data-port]').textContent")).toBe(String(hub.port));
      expect(await page.evaluate("document.querySelector('[data-next-port]').textContent")).toBe(String(hub.port + 1));
      expect(await page.evaluate("document.styleSheets[0].cssRules.length")).toBeGreaterThan(5);
      // The page without its style sheet looks different: so the sheet was used.
      const font = () => page.evaluate("getComputedStyle(document.body).fontFamily");
      const styled = await font();
      await page.evaluate("document.styleSheets[0].disabled = true");
      expect(await font()).not.toBe(styled);
    }));

  test("without a project it shows the embedded page, and a missing page says so", () =>
    withHub({}, [], async (hub) => {
      const first = await browser.open(`${hub.url}/`, ({ requests }) => requests.has("/favicon.svg"));
      expect([first.status, first.errors]).toEqual([200, []]);
      expect(await first.evaluate("document.body.innerText")).toContain("hrmr init");
      const missing = await browser.open(`${hub.url}/no/such/page`, ({ requests }) => requests.has("/style.css"));
      expect(missing.status).toBe(404);
      expect(missing.requests.get("/style.css")).toBe(200);
    }));

  test("the page of the procedures calls one, and shows its result and its parts", () =>
    withHub(
      {
        "modules/math.ts": moduleSource(`{ services: {
          add: { public: true, description: "Adds <b>two</b>", call: ({ a, b }) => a + b },
          count: { public: true, call: async function* ({ to }) { for (let i = 1; i <= to; i++) yield i; } },
        } }`),
      },
      [],
      async (hub) => {
        const page = await browser.open(`${hub.url}/rpc`, ({ requests }) => requests.has("/openapi.json"));
        expect([page.status, page.errors]).toEqual([200, []]);
        const text = async () => String(await page.evaluate("document.body.innerText"));
        await until("the list of the procedures", async () => (await text()).includes("math.count"));
        // A description is text, and no markup.
        expect(await text()).toContain("Adds <b>two</b>");
        const call = (at: number, input: string) =>
          page.evaluate(
            `{ const each = document.querySelectorAll("section")[${at}]; each.querySelector("textarea").value = '${input}'; each.querySelector("button").click(); }`,
          );
        await call(0, '{"a":40,"b":2}');
        await until("the result", async () => /200 .* ms\n42\n/.test(await text()));
        await call(1, '{"to":2}');
        await until("the parts", async () => /data: 1\n\ndata: 2\n\nevent: end/.test(await text()));
        expect(page.errors).toEqual([]);
      },
    ));

  test("fetch with a streamed reply, a POST with a body and an EventSource work from a page", () =>
    withHub(
      {
        "static_html/index.html": "<!doctype html><title>api</title><link rel=icon href=data:,>",
        "modules/api.ts": moduleSource(`{
          routes: {
            "POST /echo": { fetch: async (request) => new Response((await request.text()).toUpperCase()) },
            "GET /stream": { fetch: () => new Response((async function* () { for (let i = 0; i < 5; i++) { yield "part" + i + ";"; await Bun.sleep(1); } })()) },
            "GET /events": { fetch: () => new Response((async function* () { for (let i = 1; ; i++) { yield "data: " + i + "\\n\\n"; await Bun.sleep(5); } })(), { headers: { "content-type": "text/event-stream" } }) },
          },
        }`),
      },
      [],
      async (hub) => {
        const page = await browser.open(`${hub.url}/`);
        expect(
          await page.evaluate(`fetch("/echo", { method: "POST", body: "x".repeat(300000) }).then((r) => r.text())`),
        ).toBe("X".repeat(300_000));
        expect(await page.evaluate(`fetch("/stream").then((r) => r.text())`)).toBe("part0;part1;part2;part3;part4;");
        const events = `new Promise((resolve) => { const seen = []; const source = new EventSource("/events");
          source.onmessage = (event) => { seen.push(event.data); if (seen.length === 3) { source.close(); resolve(seen.join()); } }; })`;
        expect(await page.evaluate(events)).toBe("1,2,3");
        expect(page.errors).toEqual([]);
      },
    ));
});
