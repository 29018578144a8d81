/** The numbers of HTTP/2 on the wire (RFC 9113 sections 6 and 7). */

export const FrameType = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

/** END_STREAM of DATA and HEADERS. */
export const END_STREAM = 0x1;
/** ACK of SETTINGS and PING. */
export const ACK = 0x1;
export const END_HEADERS = 0x4;
export const PADDED = 0x8;
/** HEADERS begin with a priority, which we ignore (RFC 9113 section 5.3.2). */
export const PRIORITY = 0x20;

/** RFC 9113 section 7. */
export const ErrorCode = {
  none: 0,
  protocol: 1,
  internal: 2,
  flowControl: 3,
  streamClosed: 5,
  frameSize: 6,
  refusedStream: 7,
  cancel: 8,
  compression: 9,
  calm: 11,
} as const;

export const FRAME_HEAD_BYTES = 9;
/** The highest stream, and the largest window. */
export const MAX_31_BITS = 0x7fffffff;
/** Both sides' windows at the beginning (RFC 9113 section 6.9.2), and the largest frame that each must accept. */
export const DEFAULT_WINDOW_BYTES = 65_535;
export const DEFAULT_FRAME_BYTES = 16_384;
