/**
 * Counts frames without content, which cost a client little and the server much. The engine cuts some floods (PING,
 * SETTINGS, CONTINUATION), but accepts others for ever (empty DATA, PRIORITY, WINDOW_UPDATE, RST_STREAM of closed
 * streams).
 */
import type { Http2Options } from "../../config/options";
import { FrameReader, FrameType, type SentFrames } from "./frames";
import { PREFACE } from "./preface";

const WINDOW_MS = 1000;
/**
 * Frames without content that go with one request: its empty last DATA frame, window updates of stream and connection,
 * a priority.
 */
const PER_REQUEST = 4;
/**
 * The same for each DATA frame that the client was sent: window updates of stream and connection, in steps of any size.
 */
const PER_DATA_FRAME = 4;

/** The client's frames, counted by the second. */
export class ReceivedFrames extends FrameReader {
  /** The highest stream that the client has opened. */
  lastStream = 0;
  private windowStart = 0;
  private requests = 0;
  private resets = 0;
  /** Frames without content. */
  private idle = 0;
  private sentBefore = 0;

  constructor(
    private readonly limits: Http2Options,
    private readonly sent: SentFrames,
  ) {
    super(PREFACE.length);
  }

  /**
   * Counts the frames in `bytes`.
   *
   * @param now  in milliseconds, on any clock
   * @returns the exceeded limit, as the end of a sentence; null if there is none
   */
  excess(bytes: Uint8Array, now: number): string | null {
    if (now - this.windowStart >= WINDOW_MS) this.openWindow(now);
    this.read(bytes);
    const { maxControlFramesPerSecond: maxIdle, maxResetsPerSecond: maxResets } = this.limits;
    if (this.resets > maxResets && maxResets > 0) return `${this.resets} streams reset within a second`;
    if (this.idle <= maxIdle || maxIdle === 0) return null;
    const earned = this.requests * PER_REQUEST + (this.sent.dataFrames - this.sentBefore) * PER_DATA_FRAME;
    return this.idle > maxIdle + earned ? `${this.idle} frames without content within a second` : null;
  }

  protected frame(type: number, contentBytes: number, stream: number): void {
    if (type === FrameType.headers) {
      this.requests++;
      if (stream > this.lastStream) this.lastStream = stream;
    } else if (type === FrameType.rstStream) this.resets++;
    else if (type !== FrameType.data || contentBytes <= 0) this.idle++;
  }

  private openWindow(now: number): void {
    this.windowStart = now;
    this.requests = 0;
    this.resets = 0;
    this.idle = 0;
    this.sentBefore = this.sent.dataFrames;
  }
}
