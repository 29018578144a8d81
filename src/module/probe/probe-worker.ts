/** The thread that loads a new version for the first time. A separate entry in the compiled binary. */
import { registerHrmrModule } from "../api";
import { serveProbe, type ProbePort } from "./probe";

declare const self: ProbePort;

registerHrmrModule();
serveProbe(self, {});
