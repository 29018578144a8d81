/** A certificate as `hrmr cert` writes it, for both sides of a comparison. */
import { join } from "node:path";
import type { Bench } from "./bench";
import { makeProject } from "./project";

export interface Certificate {
  /** Paths of PEM files. */
  readonly cert: string;
  readonly key: string;
}

/** Into a temporary folder. @throws Error with the command's output if it fails */
export async function makeCertificate({ program }: Pick<Bench, "program">): Promise<Certificate> {
  const dir = makeProject({});
  const child = Bun.spawn([...program.argv, "cert", "--out", dir], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [said, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`hrmr cert failed:\n${said}${errors}`);
  return { cert: join(dir, "cert.pem"), key: join(dir, "key.pem") };
}

/** Flags of hrmr and of baseline/hello.ts. */
export function certificateFlags({ cert, key }: Certificate, prefix: "--tls-" | "--"): string[] {
  return [`${prefix}cert`, cert, `${prefix}key`, key];
}
