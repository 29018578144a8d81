/** The routes for the versions of modules. */
import type { Route } from "../route";
import { badRequest, Refused, reply } from "../reply";

/** By path; NAME stands for a module's name. */
export const VERSION_ROUTES: Readonly<Record<string, Route>> = {
  "/v1/versions": { method: "GET", answer: async (operations) => reply(200, await operations.versions(null)) },
  "/v1/modules/NAME/versions": {
    method: "GET",
    answer: async (operations, { module }) => {
      const versions = await operations.versions(module);
      if (versions[module]?.length) return reply(200, versions);
      throw new Refused(
        404,
        `No version of a module "${module}" is kept.`,
        "`hrmr versions` lists those that there are.",
      );
    },
  },
  "/v1/modules/NAME/rollback": {
    method: "POST",
    action: "rollback",
    keys: ["version"],
    act: (operations, { version = null }, { module }) => {
      const isRight = version === null || typeof version === "string" || Number.isSafeInteger(version);
      if (!isRight)
        throw badRequest('"version" is neither a number nor a hash.', "Leave it out for the last good one.");
      return operations.rollback(module, version === null ? null : String(version));
    },
  },
};
