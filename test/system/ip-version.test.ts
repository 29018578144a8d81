import { isIP } from "node:net";
import { expect, test } from "bun:test";
import { ipVersion } from "../../src/system/address";

test.each(
  [
    ["127.0.0.1", "0.0.0.0", "255.255.255.255", "256.1.1.1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.4."],
    ["::", "::1", "::ffff:192.0.2.1", "::ffff:1.2.3", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8:9", "1::2::3", "12345::"],
    ["fe80::1%eth0", "fe80::1%", "::1%a b", "%eth0", "1.2.3.4%eth0", "FE80::A", "::1.2", "1:2:3:4:5:6:1.2.3.4"],
    ["", ":", "a:b", "[::1]", "::1]", "::1/64", "a.example", "localhost", "::ffff:1.2.3.04", "::ffff:0x7f.1"],
  ].flat(),
)("%p is an address of the version that node:net says, or a name", (host) =>
  expect<number>(ipVersion(host)).toBe(isIP(host)),
);
