/** Why a request is not served, where HTTP/1.1 itself says so. */
import { OwnReply } from "../web/own-reply";

export const MALFORMED = new OwnReply(400, "The request is malformed.");
export const INCOMPLETE = new OwnReply(400, "The connection was ended in the middle of the request.");
export const TOO_SLOW = new OwnReply(408, "The request did not arrive in time.");
export const TARGET_TOO_LONG = new OwnReply(414, "The request target is longer than this server accepts.");
export const HEAD_TOO_LARGE = new OwnReply(431, "The header fields are larger than this server accepts.");
export const TOO_MANY_FIELDS = new OwnReply(431, "There are more header fields than this server accepts.");
export const BAD_START_LINE = new OwnReply(400, "The first line is not `METHOD target HTTP/1.1`.");
export const NOT_ENCODED = new OwnReply(400, "The request target holds bytes over 0x7f. Percent-encode them.");
export const UNKNOWN_METHOD = new OwnReply(501, "This server does not know the request's method.");
export const WRONG_VERSION = new OwnReply(505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.");
