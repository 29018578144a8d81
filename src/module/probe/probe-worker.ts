/** The thread in which a new version is loaded for the first time. An entry of its own in the compiled binary. */
import { registerHrmrModule } from "../api";
import { serveProbe, type ProbePort } from "./probe";

declare const self: ProbePort;

registerHrmrModule();
serveProbe(self, {});
