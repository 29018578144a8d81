import { STATUS_CODES as NODES } from "node:http";
import { expect, test } from "bun:test";
import { STATUS_CODES } from "../../../src/protocol/web/status-codes";

test("each status has the reason phrase of node:http, and no other status has one", () => {
  expect(STATUS_CODES).toEqual(NODES as Record<number, string>);
});
