/** A folder with files, and the http module over it, called as the server would. */
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import http from "../../modules/http";
import type { FetchRoute, ModuleContext, RequestContext } from "../../src/module/contract";

/** When a file was last changed unless a test says otherwise: long ago, so that it has a strong tag and may be kept. */
export const OLD_SECONDS = 1_600_000_000;

export class StaticFolder implements Disposable {
  readonly root = mkdtempSync(join(tmpdir(), "hrmr-static-"));

  /** @returns the file's absolute path */
  put(path: string, content: string | Uint8Array, seconds = OLD_SECONDS): string {
    const file = join(this.root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
    utimesSync(file, seconds, seconds);
    return file;
  }

  /** @returns a function that answers a request for a path below the folder */
  async site(
    config: Record<string, unknown> = {},
  ): Promise<(target: string, headers?: Record<string, string>, method?: string) => Promise<Response>> {
    const context = { name: "http", config: { root: this.root, ...config } } as unknown as ModuleContext<never>;
    const state = await http.setup?.(context, undefined);
    const { fetch } = http.routes["/"] as FetchRoute<never>;
    return async (target, headers = {}, method = "GET") =>
      fetch(new Request(`http://localhost${target}`, { method, headers }), {
        ...context,
        state,
      } as unknown as RequestContext<never>);
  }

  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}
