/** GET /rpc in a browser: a page that lists the procedures and calls them. It loads nothing from elsewhere. */
import { GraphResponse } from "../../protocol/web/response";

const STYLE = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 50rem; padding: 1rem; }
h2 { font-size: 1.1rem; margin: 0; overflow-wrap: anywhere; }
section { border-top: 1px solid #8886; padding: 1rem 0; }
textarea, input { box-sizing: border-box; font: 0.9rem/1.4 ui-monospace, monospace; width: 100%; }
button { font: inherit; margin: 0.5rem 0.5rem 0 0; }
pre { background: #8882; margin: 0.5rem 0 0; max-height: 20rem; overflow: auto; padding: 0.5rem; white-space: pre-wrap; }
pre:empty { display: none; }
`;

const SCRIPT = `
const list = document.querySelector("main");
const token = document.querySelector("#token");
const make = (tag, text) => Object.assign(document.createElement(tag), { textContent: text ?? "" });
const headers = () => (token.value === "" ? {} : { Authorization: "Bearer " + token.value });

function exampleOf(schema, depth = 0) {
  if (schema === undefined || depth > 5) return null;
  if ("default" in schema) return schema.default;
  if ("const" in schema) return schema.const;
  if (schema.enum) return schema.enum[0];
  if (schema.type === "object")
    return Object.fromEntries(Object.entries(schema.properties ?? {})
      .filter(([name]) => (schema.required ?? []).includes(name))
      .map(([name, part]) => [name, exampleOf(part, depth + 1)]));
  return { string: "", number: 0, integer: 0, boolean: false, array: [] }[schema.type] ?? null;
}

function show(name, { description, requestBody }) {
  const section = make("section");
  const schema = requestBody.content["application/json"].schema;
  const input = make("textarea", JSON.stringify(exampleOf(schema) ?? {}, null, 2));
  input.rows = Math.min(12, input.value.split("\\n").length + 1);
  input.setAttribute("aria-label", "Input of " + name);
  const call = make("button", "Call");
  const stop = make("button", "Stop");
  stop.disabled = true;
  const output = make("pre");
  output.setAttribute("aria-live", "polite");
  call.onclick = async () => {
    const control = new AbortController();
    stop.onclick = () => control.abort();
    stop.disabled = false;
    output.textContent = "…";
    const began = performance.now();
    try {
      const reply = await fetch("/rpc/" + encodeURIComponent(name), {
        method: "POST",
        headers: { "Content-Type": "application/json", ...headers() },
        body: input.value,
        signal: control.signal,
      });
      const told = () => reply.status + " " + reply.statusText + ", " + Math.round(performance.now() - began) + " ms\\n";
      let text = "";
      const decoder = new TextDecoder();
      for (const reader = reply.body.getReader(); ; ) {
        const { done, value } = await reader.read();
        if (done) break;
        text = (text + decoder.decode(value, { stream: true })).slice(-100000);
        output.textContent = told() + text;
      }
      try { text = JSON.stringify(JSON.parse(text), null, 2); } catch {}
      output.textContent = told() + text;
    } catch (error) {
      output.textContent += "\\n" + error;
    }
    stop.disabled = true;
  };
  section.append(make("h2", name));
  if (description) section.append(make("p", description));
  section.append(input, call, stop, output);
  list.append(section);
}

async function load() {
  list.replaceChildren();
  const reply = await fetch("/openapi.json", { headers: headers() });
  if (!reply.ok) return list.append(make("p", (await reply.json()).error.message));
  const { paths } = await reply.json();
  for (const [path, { post }] of Object.entries(paths)) show(path.slice("/rpc/".length), post);
  if (list.children.length === 0) list.append(make("p", "There is no procedure that you may call."));
}
token.onchange = load;
load();
`;

const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Procedures</title>
<link rel="icon" href="data:,">
<style>${STYLE}</style>
<h1>Procedures</h1>
<p><label for="token">Token, where one is needed</label>
<input id="token" type="password" autocomplete="off"></p>
<main></main>
<script type="module">${SCRIPT}</script>
`;

const HEADERS = {
  "Content-Type": "text/html;charset=utf-8",
  "Cache-Control": "no-store",
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Content-Security-Policy": [
    "default-src 'none'",
    `script-src ${hashOf(SCRIPT)}`,
    `style-src ${hashOf(STYLE)}`,
    "img-src data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; "),
};

function hashOf(text: string): string {
  return `'sha256-${new Bun.CryptoHasher("sha256").update(text).digest("base64")}'`;
}

export function procedurePage(): Response {
  return new GraphResponse(PAGE, { headers: HEADERS });
}
