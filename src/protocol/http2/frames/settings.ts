/** The settings of both sides (RFC 9113 section 6.5.2). */
import type { Http2Options } from "../../../config/options";
import { DEFAULT_FRAME_BYTES, DEFAULT_WINDOW_BYTES, ErrorCode, MAX_31_BITS } from "./codes";
import { TABLE_BYTES } from "../hpack/decoder";

const SETTING = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
  enableConnectProtocol: 8,
} as const;
export const SETTING_BYTES = 6;
const MAX_FRAME_BYTES = 16_777_215;

/** The payload of our SETTINGS. */
export function ownSettings(options: Http2Options): Buffer {
  const pairs: [number, number][] = [
    [SETTING.maxConcurrentStreams, options.maxConcurrentStreams],
    [SETTING.initialWindowSize, options.initialWindowBytes],
    [SETTING.maxFrameSize, options.maxFrameBytes],
    [SETTING.maxHeaderListSize, options.maxHeaderBytes],
    // WebSockets may begin on a stream (RFC 8441 section 3).
    [SETTING.enableConnectProtocol, 1],
  ];
  const payload = Buffer.alloc(pairs.length * SETTING_BYTES);
  for (const [at, [setting, value]] of pairs.entries()) {
    payload.writeUInt16BE(setting, at * SETTING_BYTES);
    payload.writeUInt32BE(value, at * SETTING_BYTES + 2);
  }
  return payload;
}

/** The client's settings, as far as a server needs them. */
export class PeerSettings {
  initialWindowBytes: number = DEFAULT_WINDOW_BYTES;
  /** Its decoder's table is smaller than ours is by default: a block must say that we use none. */
  hasSmallTable = false;

  /** @returns 0, or the code of a connection error */
  read(bytes: Buffer, from: number, to: number): number {
    for (let at = from; at < to; at += SETTING_BYTES) {
      const value = bytes.readUInt32BE(at + 2);
      switch (bytes.readUInt16BE(at)) {
        case SETTING.headerTableSize:
          if (value < TABLE_BYTES) this.hasSmallTable = true;
          break;
        case SETTING.enablePush:
        case SETTING.enableConnectProtocol:
          if (value > 1) return ErrorCode.protocol;
          break;
        case SETTING.initialWindowSize:
          if (value > MAX_31_BITS) return ErrorCode.flowControl;
          this.initialWindowBytes = value;
          break;
        case SETTING.maxFrameSize:
          if (value < DEFAULT_FRAME_BYTES || value > MAX_FRAME_BYTES) return ErrorCode.protocol;
          break;
        default:
      }
    }
    return 0;
  }
}
