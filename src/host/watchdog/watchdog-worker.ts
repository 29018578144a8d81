/**
 * Entry of the watchdog: a Worker that notices when the main thread's event loop is blocked, and logs it during the
 * block. It writes to the log itself, since the blocked thread cannot.
 */
import { closeSync, constants, openSync, readFileSync, writeSync } from "node:fs";
import type { MarkedModule } from "../../module/graph/marks";
import { removeBlocked, writeBlocked } from "../../observe/blocked-file";
import { tagsOf } from "../../observe/log/fields";
import { formatEvent } from "../../observe/log/format";
import { logFileMode } from "../../system/private-files";
import { Block, blockedText, fieldsOf, isLong, StallClock, Suspects, whatBlocks } from "./look";
import { type Culprit, stepOf, type ToWatchdog, type Unblocked, type WatchdogSettings } from "./messages";

/** The part of a Worker's global scope that is used here; the DOM's types are not loaded. */
interface WorkerScope {
  onmessage: ((event: { data: ToWatchdog }) => void) | null;
  postMessage(data: Unblocked): void;
}

/** How long a line waits for a reader of stderr. In milliseconds. */
const WRITE_WAIT_MS = 1000;
const FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK;

const scope = globalThis as unknown as WorkerScope;
const modules = new Map<number, MarkedModule>();
const clock = new StallClock();
const suspects = new Suspects();

let beats: Int32Array | null = null;
let marks: Int32Array | null = null;
let settings: WatchdogSettings | null = null;
let timer: Timer | null = null;
let lookedAt = performance.now();
/** The main thread's total wait at the last look. In milliseconds. */
let waitedBefore = 0;
/** The present block, once it was logged, and the stall at the last look. */
let block: Block | null = null;
let stalledMs = 0;

scope.onmessage = ({ data }) => {
  if (data.type === "init") ({ beats, marks } = data);
  else if (data.type === "settings") configure(data.settings);
  else if (data.marked === null) modules.delete(data.number);
  else modules.set(data.number, data.marked);
};

function configure(next: WatchdogSettings): void {
  settings = next;
  if (timer !== null) clearInterval(timer);
  timer = setInterval(look, stepOf(next.blockedMs));
}

function look(): void {
  if (beats === null || marks === null || settings === null) return;
  const now = performance.now();
  const waited = waitedMs();
  const beat = Atomics.load(beats, 0);
  const stalled = clock.look(beat, now - lookedAt, stepOf(settings.blockedMs), waited - waitedBefore);
  lookedAt = now;
  waitedBefore = waited;
  if (stalled === 0) return over();
  stalledMs = stalled;
  suspects.note(marks);
  if (block === null ? !isLong(stalled, settings.blockedMs) : !block.isDue(stalled, settings.blockedMs)) return;
  const culprit = suspects.culprit(marks, modules);
  suspects.forget();
  if (block === null) block = new Block(culprit, stalled);
  else {
    const { ended, isNew } = block.next(culprit, stalled);
    if (ended !== null) scope.postMessage(ended);
    if (!isNew) return;
  }
  const { ms } = block.end(stalled);
  tell(settings, culprit, ms);
  note(settings.blockedFile, culprit, ms);
}

/**
 * @returns how long the main thread has waited for a processor since it began; 0 if the kernel does not say it. In
 *   milliseconds.
 */
function waitedMs(): number {
  try {
    return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, "latin1").split(" ")[1]) / 1e6;
  } catch {
    return 0;
  }
}

function over(): void {
  suspects.forget();
  if (block === null) return;
  scope.postMessage(block.end(stalledMs));
  block = null;
  if (settings?.blockedFile != null) removeBlocked(settings.blockedFile);
}

function note(file: string | null, culprit: Culprit, ms: number): void {
  if (file === null) return;
  const { module, generation } = culprit;
  writeBlocked(file, { pid: process.pid, sinceMs: Date.now() - ms, module, generation, what: whatBlocks(culprit) });
}

function tell({ format, file, slot }: WatchdogSettings, culprit: Culprit, ms: number): void {
  const fields = { ...(slot === 0 ? {} : { slot }), ...fieldsOf(culprit) };
  const values = [blockedText(culprit, ms)];
  write(
    formatEvent({ time: new Date(), level: "error", tags: tagsOf(fields), tag: "", fields, values }, format, false),
    file,
  );
}

function write(line: string, file: string | null): void {
  if (file === null) return writeAll(2, line);
  try {
    // Opens the file by name: the main thread may have rotated the one that is open.
    const fd = openSync(file, FLAGS, logFileMode(file));
    try {
      writeAll(fd, line);
    } finally {
      closeSync(fd);
    }
  } catch {
    writeAll(2, line);
  }
}

/** stderr may be a pipe that does not block: waits for a slow reader, but not for one that is gone. */
function writeAll(fd: number, line: string): void {
  let rest = Buffer.from(line);
  const deadline = performance.now() + WRITE_WAIT_MS;
  while (rest.length > 0 && performance.now() < deadline) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return;
      Bun.sleepSync(1);
    }
  }
}
