/** All ways in which clients reach procedures, as routes of the server's own. */
import type { Procedures } from "../../hub/rpc/procedures";
import type { BoundRoute } from "../../module/route";
import { rawRoutes } from "./raw";

/** @returns routes for the table while a module has procedures. They give way to modules */
export function procedureRoutes(procedures: Procedures): BoundRoute[] {
  return rawRoutes(procedures);
}
