/**
 * Counts, by the second, frames that cost a client little and the server much. Above a limit the connection ends with
 * ENHANCE_YOUR_CALM.
 */
import type { Http2Options } from "../../config/options";
import { SETTING_BYTES } from "./frames/settings";

const WINDOW_MS = 1000;
/**
 * Frames without content that go with one request: its empty last DATA frame, window updates of stream and connection,
 * a priority.
 */
const PER_REQUEST = 4;
/** A client may update its windows for every so many bytes of DATA that it is sent. */
const BYTES_PER_UPDATE = 1024;
/** DATA with less content that does not end its stream counts as a frame without content. In bytes. */
const SMALL_DATA_BYTES = 16;

export class FloodCounter {
  readonly #limits: Http2Options;
  #windowStart = 0;
  #requests = 0;
  #resets = 0;
  #idle = 0;
  #sentBytes = 0;

  constructor(limits: Http2Options) {
    this.#limits = limits;
  }

  /** Call it for each read. @param now  in milliseconds, on any clock */
  at(now: number): void {
    if (now - this.#windowStart < WINDOW_MS) return;
    this.#windowStart = now;
    this.#requests = 0;
    this.#resets = 0;
    this.#idle = 0;
    this.#sentBytes = 0;
  }

  request(): void {
    this.#requests++;
  }

  /** The client has reset a stream, or has made us reset one. */
  reset(): void {
    this.#resets++;
  }

  /** A frame without content. */
  idle(): void {
    this.#idle++;
  }

  /** A SETTINGS frame: each setting counts as a frame without content, since reading it costs as much. */
  settings(bytes: number): void {
    this.#idle += Math.max(1, bytes / SETTING_BYTES);
  }

  /** A DATA frame of a request's body. */
  data(contentBytes: number, endsStream: boolean): void {
    if (contentBytes === 0 || (contentBytes < SMALL_DATA_BYTES && !endsStream)) this.#idle++;
  }

  /** DATA was sent, which the client answers by window updates. */
  sent(bytes: number): void {
    this.#sentBytes += bytes;
  }

  /** @returns the exceeded limit, as the end of a sentence; null if there is none */
  get excess(): string | null {
    const { maxControlFramesPerSecond: maxIdle, maxResetsPerSecond: maxResets } = this.#limits;
    if (this.#resets > maxResets && maxResets > 0) return `${this.#resets} streams reset within a second`;
    if (this.#idle <= maxIdle || maxIdle === 0) return null;
    const earned = this.#requests * PER_REQUEST + PER_REQUEST * Math.ceil(this.#sentBytes / BYTES_PER_UPDATE);
    return this.#idle > maxIdle + earned ? `${this.#idle} frames without content within a second` : null;
  }
}
