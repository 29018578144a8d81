/** What the errors of database servers become, and which URLs name one. */
import { describe, expect, test } from "bun:test";
import { quoted } from "../../../src/config/quoted";
import { absoluteStoreUrl, parseStoreUrl } from "../../../src/config/store-url";
import { mysqlFailure } from "../../../src/store/backends/sql/mysql-failure";
import { postgresFailure } from "../../../src/store/backends/sql/postgres-failure";

/** As Bun.SQL makes them. */
function errorOf(errno: unknown, message = "the server's own words", code = "ERR_X_SERVER_ERROR"): Error {
  return Object.assign(new Error(message), { code, errno });
}

test.each([
  ["28P01", "UNAVAILABLE", /password/],
  ["28000", "UNAVAILABLE", /user/],
  ["3D000", "UNAVAILABLE", /no such database/],
  ["42501", "READ_ONLY", /GRANT/],
  ["25006", "READ_ONLY", /standby/],
  ["53100", "FULL", /no space/],
  ["53300", "UNAVAILABLE", /max_connections/],
  ["57014", "BUSY", /10 seconds/],
  ["55P03", "BUSY", /locked/],
  ["40001", "BUSY", /again/],
  ["22012", "FAILED", /the server's own words/],
])("the state %s of PostgreSQL is %s", (state, code, text) => {
  expect(postgresFailure(errorOf(state), 10_000)).toEqual({ code, text: expect.stringMatching(text), isLost: false });
});

test.each([
  [1045, "UNAVAILABLE", /password/],
  [1049, "UNAVAILABLE", /no such database/],
  [1142, "READ_ONLY", /GRANT/],
  [1290, "READ_ONLY", /replica/],
  [1114, "FULL", /no space/],
  [1040, "UNAVAILABLE", /max_connections/],
  [1205, "BUSY", /locked/],
  [1969, "BUSY", /too long/],
  [1153, "FAILED", /max_allowed_packet/],
  [1365, "FAILED", /the server's own words/],
])("the error %d of MySQL is %s", (errno, code, text) => {
  expect(mysqlFailure(errorOf(errno))).toEqual({ code, text: expect.stringMatching(text), isLost: false });
});

test("a full disk of MySQL is told by the text of other errors", () => {
  const error = errorOf(1030, 'Got error 28 "No space left on device" from storage engine InnoDB');
  expect(mysqlFailure(error).code).toBe("FULL");
});

describe("a lost connection is told from an answer", () => {
  const closed = errorOf(undefined, "Connection closed", "ERR_POSTGRES_CONNECTION_CLOSED");
  const lost = { code: "UNAVAILABLE", isLost: true };
  test.each([
    ["a closed one", postgresFailure(closed, 1)],
    ["a server that shuts down", postgresFailure(errorOf("57P01"), 1)],
    ["one that starts", postgresFailure(errorOf("57P03"), 1)],
    ["a closed one of MySQL", mysqlFailure(errorOf(undefined, "", "ERR_MYSQL_CONNECTION_CLOSED"))],
    ["a server of MySQL that shuts down", mysqlFailure(errorOf(1053))],
  ])("%s", (_, failure) => {
    expect(failure).toMatchObject(lost);
  });
});

describe("a URL", () => {
  test.each([
    ["postgres://hub:secret@db.example.com/hub", "postgres"],
    ["postgresql://hub:secret@[::1]:5432/hub?sslmode=require", "postgres"],
    ["postgres:///hub?host=/var/run/postgresql", "postgres"],
    ["mysql://hub@localhost/hub", "mysql"],
    ["mariadb://hub@localhost/hub", "mysql"],
    ["postgres://u:a b@h/d", null],
    ["postgres://u:a/b@h/d", null],
    ["postgres:/h/d", null],
    ["redis://h/0", null],
  ])("%s names %p", (url, kind) => {
    expect(parseStoreUrl(url)?.kind ?? null).toBe(kind as never);
    expect(absoluteStoreUrl(url, "/srv")).toBe(url);
  });

  test.each(["postgres://u:a b@h/d", "postgres://u:it's@h/d", 'mysql://u:"x y@z"@h/d', " postgres://u:p w@h/d"])(
    "%s is shown without user and password, though it is none",
    (url) => {
      expect(quoted(url)).toMatch(/^" ?\w+:\/\/\*\*\*@h\/d"$/);
    },
  );
});
