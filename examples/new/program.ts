/**
 * A program in Python as a module: NAME.py gets each message as a line, and its next line is the reply.
 *
 *   hrmr send 'COMMAND bob'
 */
import { defineModule } from "hrmr";

export default defineModule({
  // A change of either file makes a new version.
  program: { command: ["python3", "NAME.py"], protocol: "lines", routes: ["COMMAND "] },
});
