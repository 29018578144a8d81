/** Entry of a pool thread. */
import { HostedModules, type PostToServer } from "./hosted-modules";
import type { CallBatch, ToPlace } from "../remote/messages";

/** The part of a Worker's global scope that is used here; the DOM's types are not loaded. */
interface WorkerScope {
  onmessage: ((event: { data: CallBatch | ToPlace }) => void) | null;
  postMessage: PostToServer;
}

const scope = globalThis as unknown as WorkerScope;
// Read once: a module can change this object too.
const post: PostToServer = (data) => scope.postMessage(data);

scope.onmessage = ({ data }) => {
  if (Array.isArray(data) || data.type !== "init" || data.shared === null)
    throw new Error("The first message to a thread is no init.");
  const { shared, host, loadTimeoutMs } = data;
  const modules = new HostedModules({ shared, host, loadTimeoutMs, post, handoffs: null });
  scope.onmessage = (event) => modules.receive(event.data);
};
