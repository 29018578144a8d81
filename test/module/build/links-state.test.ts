/** Switched symbolic links, with the state folder in the release that they lead to. */
import { expect, test } from "bun:test";
import { rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { answering, PLACES, withReleases } from "../../support/releases";

// How a link is followed does not depend on the number of processes: one place is tried with one.
for (const [processes, places] of [
  [1, PLACES.slice(0, 1)],
  [2, PLACES],
] as const) {
  test.each(places)(
    `a switched link %s, with the state folder in the release: RELOAD loads its new target, in ${processes} processes`,
    async (_, args, cwd) => {
      const prepare = (dir: string): void => {
        symlinkSync("current/modules", join(dir, "linked"));
        for (const n of [1, 2]) {
          const run = (host: string): string => answering(`/${host}`, `"${host} ${n}"`, `run: "${host}",`);
          for (const host of ["pool", "process"])
            writeFileSync(join(dir, "releases", String(n), "modules", `${host}.ts`), run(host));
        }
      };
      const place = { args, processes, prepare, isStateInside: true, ...(cwd === undefined ? null : { cwd }) };
      await withReleases(place, async ({ hub, get, release }) => {
        expect(await get("/plain")).toEqual(["plain 1"]);
        for (const n of [2, 1, 2]) {
          release(n);
          expect(await hub.ask("RELOAD")).toMatch(/^OK /);
          for (const name of ["plain", "helped", "pool", "process"])
            expect(await get(`/${name}`)).toEqual([`${name} ${n}`]);
        }
        // The working directory's state folder stays in the release where the server was started, and is made there
        // again.
        // By force: the server may write there meanwhile.
        rmSync(join(hub.dir, "releases", "1"), { recursive: true, force: true });
        expect(await hub.ask("RELOAD")).toMatch(/^OK /);
        expect(await get("/plain")).toEqual(["plain 2"]);
      });
    },
  );
}
