/**
 * The static site: GET and HEAD for the files below one folder.
 *
 * Settings, `modules.http` of hrmr.json:
 *   root              the folder, absolute. The server sets it: `static_html` beside the modules folder.
 *   index             what a folder answers with. Default "index.html".
 *   listing           true: a folder without an index answers with a page that lists it. Default false: 404.
 *   notFound          the page for what is missing, a path below the folder. Default "404.html"; a line of text if
 *   there is none.
 *   fallback          the page of a single-page application, a path below the folder: "/index.html". It answers with
 *   200 for what is missing, if the
 *                     client takes text/html and the path's last name has no extension. Default: none.
 *   cacheControl      the Cache-Control header: a text, or an object of glob pattern and text, of which the first that
 *   matches the file's path below
 *                     the folder counts: { "/assets/**": "public, max-age=31536000, immutable", "*.html": "no-cache" }.
 *                     A pattern without a
 *                     slash holds at every depth. Default "no-cache", also for what no pattern matches, and always for
 *                     redirects and 404.
 *   cacheBytes        memory for files that are kept ready, their compressed forms included. In bytes. Default
 *   33554432. 0 keeps none.
 *   cacheFileBytes    the largest file that is kept ready; larger ones are streamed. In bytes. Default 262144.
 *   compress          true: what `file.br`, `file.zst` and `file.gz` hold is sent for `file` to clients that take it,
 *   unless it is older than `file`;
 *                     text without them is compressed here, once, and kept with the file. "siblings": only the former.
 *                     false: neither. Default true.
 *   compressMinBytes  the smallest file that is compressed here. In bytes. Default 1024.
 *   compressMaxBytes  the largest one. In bytes. Default 4194304.
 *
 * A frequently requested file costs one Map lookup, one stat and one Response; above some thousand requests a second
 * one stat a millisecond, and the server repeats the reply for that millisecond. Links are followed as long as they
 * stay in the folder. Names that begin with a dot are not served, except `.well-known`. A file that changes while it is
 * being sent ends the connection.
 *
 *   index (what a path gets) -> site (finding and keeping) -> encoding (which form) -> conditions -> ranges -> reply ->
 *   file-body
 */
import { defineModule } from "hrmr";
import { replyWith } from "./conditions";
import { chooseForm, readWeights } from "./encoding";
import { OutOfDescriptors } from "./disk";
import { listFolder } from "./listing";
import { decodePath } from "./paths";
import { plainReply, wholeBody } from "./reply";
import { ASK_EACH_TIME, readSettings } from "./settings";
import { cachedPage, fallbackPage, find, openSite, type Form, type Page, type Site } from "./site";

export default defineModule({
  setup: (context) => openSite(readSettings(context.config)),
  routes: {
    "/": {
      description: "the files of static_html",
      fetch: (request, context) => answerOrRefuse(context.state, request),
    },
  },
});

/** Without a descriptor it is not known whether the file exists: a 404 might be wrong, and caches would keep it. */
function answerOrRefuse(site: Site, request: Request): Response | Promise<Response> {
  try {
    return answer(site, request);
  } catch (error) {
    if (!(error instanceof OutOfDescriptors)) throw error;
    return plainReply(503, "Too many files are open. Try again\n", { "retry-after": "1", "cache-control": "no-store" });
  }
}

function answer(site: Site, request: Request): Response | Promise<Response> {
  const { method, url } = request;
  if (method !== "GET" && method !== "HEAD")
    return plainReply(405, `${method} is not possible here\n`, { allow: "GET, HEAD" });
  // Slicing costs a tenth of `new URL`. 8 is behind "http://" and inside "https://x".
  const begin = url.indexOf("/", 8);
  const query = url.indexOf("?", begin);
  const target = query < 0 ? url.slice(begin) : url.slice(begin, query);
  const path = target.includes("%") ? decodePath(target) : target;
  if (path === null) return missing(site, method);
  const cached = cachedPage(site, path);
  if (cached !== undefined) return sendPage(site, cached, request, method);
  const found = find(site, path);
  if (found !== null && "page" in found) return sendPage(site, found.page, request, method);
  if (found !== null && "redirect" in found) {
    const location = query < 0 ? found.redirect : found.redirect + url.slice(query);
    return plainReply(308, "", { location, "cache-control": ASK_EACH_TIME });
  }
  if (found !== null && site.settings.listing) return listFolder(site, found.folder, found.name, method);
  const fallback = takesFallback(site, path, request) ? fallbackPage(site) : null;
  return fallback === null ? missing(site, method) : sendPage(site, fallback, request, method);
}

function sendPage(site: Site, page: Page, request: Request, method: string): Response | Promise<Response> {
  const { headers } = request;
  const range = method === "GET" ? headers.get("range") : null;
  // Ranges are cut from the plain bytes: parts of different coded forms could not be told apart.
  const encodings = range === null && site.settings.compress !== false ? headers.get("accept-encoding") : null;
  if (encodings === null) return replyWith(page.plain, headers, method, range);
  const form = chooseForm(site, page, encodings);
  if (!(form instanceof Promise)) return sendForm(form, headers, method);
  return form.then((made) => sendForm(made, headers, method));
}

function sendForm(form: Form | null, headers: Headers, method: string): Response {
  if (form !== null) return replyWith(form, headers, method, null);
  return plainReply(406, "This is there in no content coding that you accept\n", {
    vary: "Accept-Encoding",
    "cache-control": ASK_EACH_TIME,
  });
}

/** Whether the path may be a page of the application, and not a missing picture or script. */
function takesFallback(site: Site, path: string, request: Request): boolean {
  if (site.settings.fallback === "" || path.slice(path.lastIndexOf("/") + 1).includes(".")) return false;
  const accept = request.headers.get("accept");
  if (accept === null) return true;
  const weights = readWeights(accept);
  return (weights.get("text/html") ?? weights.get("text/*") ?? weights.get("*/*") ?? 0) > 0;
}

function missing(site: Site, method: string): Response {
  const found = find(site, `/${site.settings.notFound}`);
  if (found === null || !("page" in found)) return plainReply(404, "Not found\n", { "cache-control": ASK_EACH_TIME });
  const { plain } = found.page;
  const headers = {
    "content-type": plain.type,
    "content-length": String(plain.bytes),
    "cache-control": ASK_EACH_TIME,
    "x-content-type-options": "nosniff",
  };
  return new Response(method === "HEAD" ? null : wholeBody(plain), { status: 404, headers });
}
