/** Random clients over all faces at the same time: one store answers them. Also run against the binary (HRMR_BIN). */
import { expect, test } from "bun:test";
import { type Hub, withHub } from "../support/hub";
import { notLinearizable, notSerialisable } from "../support/store/history";
import { accountsIn, type Face, firstValues, runClients } from "../support/store/history-clients";
import { HISTORY_MODULE, httpFace, logOf, respFace, rpcFace, writeFirst } from "../support/store/history-faces";

/** `npm run test:long` makes more. */
const ROUNDS = Number(process.env["HRMR_TEST_STORE_ROUNDS"] ?? 1);
const CALLS = 30;

const CASES: { name: string; settings: object; args: string[] }[] = [
  { name: "sqlite, two processes", settings: {}, args: ["--processes", "2"] },
  { name: "json", settings: { store: { url: "json://data/hub.json" } }, args: [] },
];

async function facesOf(hub: Hub): Promise<Face[]> {
  const some = [0, 1, 2].map(() => [rpcFace(hub), rpcFace(hub, "pool"), respFace(hub), httpFace(hub)]);
  return await Promise.all(some.flat());
}

test.each(CASES)(
  "$name: what random clients over RESP, HTTP, JSON-RPC and a pool thread see is the history of one store",
  ({ settings, args }) =>
    withHub(
      {
        "modules/history.ts": HISTORY_MODULE,
        "modules/pool.ts": HISTORY_MODULE,
        "hrmr.json": JSON.stringify({ modules: { store: {}, pool: { run: "pool" } }, ...settings }),
      },
      args,
      async (hub) => {
        const faces = await facesOf(hub);
        await writeFirst(faces[0] as Face, firstValues());
        for (let round = 1; round <= ROUNDS; round++) {
          const { registers, transactions } = await runClients(faces, round, CALLS);
          expect(notLinearizable(registers)).toEqual([]);
          expect(notSerialisable(transactions, accountsIn(await logOf(hub)))).toEqual([]);
          expect(transactions.filter(({ isDone, writes }) => isDone && writes.length > 0).length).toBeGreaterThan(20);
        }
        for (const face of faces) face.close();
      },
    ),
  60_000 + ROUNDS * 20_000,
);
