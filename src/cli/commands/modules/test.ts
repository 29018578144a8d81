/** `hrmr test`: runs the tests of a project's modules, with the test runner inside the program. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defineCommand } from "citty";
import { assetPath } from "../../../config/assets";
import { selfCommand } from "../../../system/self";
import { argument, type Flags, positionals, switchFlag, valueFlag } from "../../flags";
import { runOwnBun } from "../../own-bun";
import { SELF_VARIABLE } from "../../testing/test-kit";

const args = {
  pattern: argument("Only test files whose path holds this", { required: false, canRepeat: true }),
  name: valueFlag("regex", "Only tests whose name matches", { alias: "t" }),
  watch: switchFlag("Run again whenever a file is saved"),
} as const satisfies Flags;

export const testCommand = defineCommand({
  meta: {
    name: "test",
    description: 'Run the modules\' own tests; `import { startTestServer } from "hrmr/test"` gives them a server',
  },
  args,
  async run({ args: { name, watch }, rawArgs }) {
    const folder = mkdtempSync(join(tmpdir(), "hrmr-test-"));
    try {
      const kit = join(folder, "test-kit.ts");
      writeFileSync(kit, readFileSync(assetPath("src/cli/testing/test-kit.ts")));
      const flags = [
        ...(name === undefined ? [] : ["--test-name-pattern", name]),
        ...(watch === true ? ["--watch"] : []),
      ];
      const self = JSON.stringify(selfCommand([]));
      return await runOwnBun(["test", "--preload", kit, ...flags, ...positionals(rawArgs)], process.cwd(), {
        [SELF_VARIABLE]: self,
      });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
});
