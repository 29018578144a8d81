/** TLS and HTTP/2: the same handler in hrmr, on its one plain port, and on Bun's own server. */
import type { Bench, Line, Row } from "../bench";
import { type Certificate, certificateFlags, makeCertificate } from "../certificate";
import { compare, compareLoads, type Comparison } from "../compare";
import { H2load, whyNoH2load } from "../h2load";
import { makeProject } from "../project";
import { exactly } from "../reply";
import { startBaseline, startProcess, type Started } from "../server";
import { comparisonLine, skippedLine } from "../table";
import { HELLO, HELLO_TEXT, httpRequest, TEXT_TYPE } from "./http";
import { startArguments } from "./start-arguments";

const CONNECTIONS = 64;

interface Pair {
  hrmr: Started;
  bound: Started;
}

/** hrmr and Bun.serve with the same handler, and with one certificate or none, for as long as `act` takes. */
async function withPair<T>(
  bench: Bench,
  certificate: Certificate | null,
  flags: string[],
  act: (pair: Pair) => Promise<T>,
): Promise<T> {
  const tls = certificate === null ? [] : certificateFlags(certificate, "--tls-");
  const hrmr = await startProcess(
    "hrmr",
    [...startArguments(bench), ...tls],
    makeProject({ "modules/hello.ts": HELLO }),
  );
  let bound: Started | null = null;
  try {
    bound = await startBaseline(
      "hello.ts",
      ...flags,
      ...(certificate === null ? [] : certificateFlags(certificate, "--")),
    );
    return await act({ hrmr, bound });
  } finally {
    await Promise.all([hrmr.stop(), bound?.stop()]);
  }
}

export const httpsRow: Row = {
  name: "https-hello",
  async run(bench) {
    const spec = {
      connections: CONNECTIONS,
      isTls: true,
      request: httpRequest("/"),
      reply: { http: { type: TEXT_TYPE }, pattern: exactly(HELLO_TEXT) },
    };
    const result = await withPair(bench, await makeCertificate(bench), [], ({ hrmr, bound }) =>
      compare(bench, { server: hrmr, spec }, { server: bound, spec }),
    );
    return [comparisonLine("HTTPS hello, on the plain port : Bun.serve", result, 1.1)];
  },
};

async function againstHttp2(bench: Bench, title: string, certificate: Certificate | null): Promise<Line[]> {
  const scheme = certificate === null ? "http" : "https";
  const result: Comparison = await withPair(bench, certificate, ["--http2"], ({ hrmr, bound }) => {
    const loaded = (server: Started) => {
      const load = new H2load(`${scheme}://127.0.0.1:${server.port}/`, HELLO_TEXT.length);
      return { server, run: (ms: number) => load.run(ms) };
    };
    return compareLoads(bench.rounds, loaded(hrmr), loaded(bound));
  });
  return [comparisonLine(title, result, 1.25)];
}

function http2Row(name: string, title: string, isTls: boolean): Row {
  return {
    name,
    // The other row has the same codec, under TLS.
    isExtra: !isTls,
    async run(bench) {
      const reason = whyNoH2load();
      if (reason !== null) return [skippedLine(title, reason)];
      return await againstHttp2(bench, `${title} : Bun.serve`, isTls ? await makeCertificate(bench) : null);
    },
  };
}

export const http2PlainRow = http2Row("http2-hello", "HTTP/2 hello, 8 x 32 streams", false);
export const http2TlsRow = http2Row("http2-tls", "HTTP/2 over TLS, 8 x 32 streams", true);
