/** Requests and replies that take more than one read, one write or one tick. */
import { expect, test } from "bun:test";
import { moduleGlobals } from "../../../src/protocol/web/globals";
import { connectRaw, nextTurn, parseReplies, type RawClient, talk, within } from "../../support/raw-client";
import { type FetchHandler, type Harness, type HarnessOptions, startHarness } from "../../support/wire-harness";
import { until } from "../../support/until";

const { Response: ModuleResponse } = moduleGlobals() as { Response: typeof Response };

const HOST = "Host: a.test\r\n";
const LAST = `GET /last HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`;
const last = () => new ModuleResponse("last");
const text = (body: Bun.BodyInit | null, init?: ResponseInit) => new ModuleResponse(body, init);
const get = (path: string, lines = "") => `GET ${path} HTTP/1.1\r\n${HOST}${lines}\r\n`;
const post = (path: string, lines: string, body = "") => `POST ${path} HTTP/1.1\r\n${HOST}${lines}\r\n${body}`;

/** Runs `check` with a server, and shows at the end that the server serves and has nothing left under way. */
async function serving(options: HarnessOptions, check: (server: Harness) => Promise<void>): Promise<void> {
  const server = startHarness({ ...options, routes: { "/last": last, ...options.routes } });
  try {
    await check(server);
    expect((await talk(server.port, LAST)).map((reply) => reply.body)).toEqual(["last"]);
    expect(server.inFlight.size).toBe(0);
  } finally {
    server.stop();
  }
}

async function connected(server: Harness, check: (client: RawClient) => Promise<void>): Promise<void> {
  const client = await connectRaw(server.port);
  try {
    await check(client);
  } finally {
    client.terminate();
  }
}

function gate(): { open: () => void; passed: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { open: resolve, passed: promise };
}

test("requests on one connection are answered one after the other", async () => {
  await serving({ routes: { "/a": () => text("a"), "/b": async () => text("b") } }, (server) =>
    connected(server, async (client) => {
      for (const path of ["/a", "/b", "/a"]) {
        const before = client.received.length;
        client.write(get(path));
        await until(`${path} is answered`, () => client.received.length > before);
        expect(parseReplies(client.received.slice(before)).map((reply) => reply.body)).toEqual([path.slice(1)]);
      }
    }),
  );
});

test("pipelined requests are answered in their order, however long each handler takes", async () => {
  let first = gate();
  const order: string[] = [];
  const note = (request: Request) => void order.push(new URL(request.url).pathname);
  const routes: HarnessOptions["routes"] = {
    "/slow": async (request) => {
      note(request);
      await first.passed;
      return text("slow");
    },
    "/async": async (request) => {
      note(request);
      await nextTurn();
      return text("async");
    },
    "/fast": (request) => {
      note(request);
      return text("fast");
    },
    "/echo": async (request) => text(await request.text()),
  };
  for (const pieceBytes of [1_000_000, 7]) {
    order.length = 0;
    first = gate();
    await serving({ routes }, async (server) => {
      const request =
        get("/slow") +
        post("/echo", "Content-Length: 4\r\n", "body") +
        get("/fast") +
        get("/async") +
        get("/fast") +
        LAST;
      const replies = talk(server.port, request, pieceBytes);
      await until("the first handler runs", () => order.length > 0);
      for (let turn = 0; turn < 20; turn++) await nextTurn();
      // One at a time: the next is not begun before the reply to this one is out.
      expect(order).toEqual(["/slow"]);
      first.open();
      expect((await replies).map((reply) => reply.body)).toEqual(["slow", "body", "fast", "async", "fast", "last"]);
    });
  }
});

test("a connection with more than 64 KB of waiting requests is read no further", async () => {
  const first = gate();
  const routes: HarnessOptions["routes"] = {
    "/slow": () => first.passed.then(() => text("slow")),
    "/async": async () => {
      await Promise.resolve();
      return text("async");
    },
  };
  await serving({ routes }, async (server) => {
    const many = 5000;
    const replies = talk(server.port, get("/slow") + (get("/last") + get("/async")).repeat(many / 2) + LAST);
    await until("the connection is paused", () => server.pauses > 0);
    first.open();
    expect((await replies).length).toBe(many + 2);
  });
});

test("a chunked body ends exactly where it ends, split at any point", async () => {
  const body = "5;a=b\r\nhello\r\n7\r\n\r\nworld\r\n0\r\nA: b\r\nC: d\r\n\r\n";
  const request = post("/echo", "Transfer-Encoding: chunked\r\n", body);
  await serving({ routes: { "/echo": async (one) => text(JSON.stringify(await one.text())) } }, async (server) => {
    for (let at = 1; at < request.length; at++) {
      await connected(server, async (client) => {
        client.write(request.slice(0, at));
        await nextTurn();
        client.write(request.slice(at) + LAST);
        await client.ended;
        expect(parseReplies(client.received).map((reply) => reply.body)).toEqual(['"hello\\r\\nworld"', "last"]);
      });
    }
  });
});

test("a body with a length ends exactly where it ends, split at any point", async () => {
  const request = post("/echo", "Content-Length: 11\r\n", "hello\r\nGET ");
  await serving({ routes: { "/echo": async (one) => text(JSON.stringify(await one.text())) } }, async (server) => {
    for (let at = 1; at < request.length; at++) {
      await connected(server, async (client) => {
        client.write(request.slice(0, at));
        await nextTurn();
        client.write(request.slice(at) + LAST);
        await client.ended;
        expect(parseReplies(client.received).map((reply) => reply.body)).toEqual(['"hello\\r\\nGET "', "last"]);
      });
    }
  });
});

test("100 Continue is sent when the handler wants the body, and not before", async () => {
  const wants = gate();
  const called = gate();
  const echo: FetchHandler = async (request) => {
    called.open();
    await wants.passed;
    return text(await request.text());
  };
  await serving({ routes: { "/echo": echo } }, (server) =>
    connected(server, async (client) => {
      client.write(post("/echo", "Expect: 100-continue\r\nContent-Length: 5\r\n"));
      await called.passed;
      for (let turn = 0; turn < 10; turn++) await nextTurn();
      expect(client.received).toBe("");
      wants.open();
      await client.waitFor("HTTP/1.1 100 Continue\r\n\r\n");
      client.write("hello" + LAST);
      await client.ended;
      expect(parseReplies(client.received).map((reply) => reply.status)).toEqual([100, 200, 200]);
    }),
  );
});

test("a reply that did not wait for a body held back for 100 Continue ends the connection", async () => {
  await serving({ routes: { "/no": () => text("no", { status: 403 }) } }, async (server) => {
    const [reply, ...others] = await talk(server.port, post("/no", "Expect: 100-continue\r\nContent-Length: 5\r\n"));
    expect(reply?.status).toBe(403);
    expect(others).toEqual([]);
  });
});

test("a body that nobody reads is drained, and the connection goes on", async () => {
  await serving({ routes: { "/no": () => text("no") } }, (server) =>
    connected(server, async (client) => {
      client.write(post("/no", "Content-Length: 300000\r\n", "a".repeat(10)));
      await client.waitFor("no");
      client.write("a".repeat(299_990) + LAST);
      await client.ended;
      expect(parseReplies(client.received).map((reply) => reply.body)).toEqual(["no", "last"]);
    }),
  );
});

test("a body that nobody reads holds the peer back", async () => {
  const done = gate();
  await serving({ routes: { "/wait": () => done.passed.then(() => text("done")) } }, (server) =>
    connected(server, async (client) => {
      client.write(post("/wait", "Content-Length: 1000000\r\n", "a".repeat(1_000_000)));
      await until("the connection is paused", () => server.pauses > 0);
      done.open();
      await client.waitFor("done");
      client.write(LAST);
      await client.ended;
      expect(parseReplies(client.received).map((reply) => reply.body)).toEqual(["done", "last"]);
    }),
  );
});

test("a body's stream arrives as it is sent, at the handler's pace", async () => {
  const seen: string[] = [];
  const stream: FetchHandler = async (request) => {
    const decoder = new TextDecoder();
    let bytes = 0;
    for await (const part of request.body as ReadableStream<Uint8Array>) {
      bytes += part.length;
      if (seen.length < 2) seen.push(decoder.decode(part));
    }
    return text(String(bytes));
  };
  await serving({ routes: { "/stream": stream } }, (server) =>
    connected(server, async (client) => {
      client.write(post("/stream", "Transfer-Encoding: chunked\r\n"));
      client.write("3\r\nabc\r\n");
      await until("the first part is read", () => seen.length === 1);
      client.write("3\r\ndef\r\n");
      await until("the second part is read", () => seen.length === 2);
      client.write(`c3500\r\n${"x".repeat(800_000)}\r\n0\r\n\r\n${LAST}`);
      await client.ended;
      expect(seen).toEqual(["abc", "def"]);
      expect(parseReplies(client.received).map((reply) => reply.body)).toEqual(["800006", "last"]);
    }),
  );
});

test("a chunked body that grows over the limit is refused with 413", async () => {
  const errors: unknown[] = [];
  const called = gate();
  const read: FetchHandler = async (request) => {
    called.open();
    await request.text().catch((error: unknown) => errors.push(error));
    return text("never sent");
  };
  await serving({ routes: { "/read": read }, limits: { maxBodyBytes: 1000 } }, (server) =>
    connected(server, async (client) => {
      client.write(post("/read", "Transfer-Encoding: chunked\r\n", `1f4\r\n${"a".repeat(500)}\r\n`));
      await called.passed;
      client.write(`1f5\r\n${"a".repeat(501)}\r\n`);
      await client.ended;
      expect(parseReplies(client.received).map((reply) => reply.status)).toEqual([413]);
      expect(errors.length).toBe(1);
    }),
  );
});

test("a stream is sent as chunks, as its parts come", async () => {
  const more = gate();
  const stream: FetchHandler = () =>
    text(
      new ReadableStream({
        async start(controller) {
          controller.enqueue(new TextEncoder().encode("one"));
          await more.passed;
          controller.enqueue(new Uint8Array(0));
          controller.enqueue(new TextEncoder().encode("two"));
          controller.close();
        },
      }),
    );
  await serving({ routes: { "/stream": stream } }, (server) =>
    connected(server, async (client) => {
      client.write(get("/stream"));
      await client.waitFor("3\r\none\r\n");
      more.open();
      await client.waitFor("0\r\n\r\n");
      client.write(LAST);
      await client.ended;
      const [reply, other] = parseReplies(client.received);
      expect(reply?.headers["transfer-encoding"]).toBe("chunked");
      expect([reply?.body, other?.body]).toEqual(["onetwo", "last"]);
    }),
  );
});

test("a stream goes to an HTTP/1.0 client without chunks, up to the connection's end", async () => {
  const parts = async function* () {
    yield "one";
    await nextTurn();
    yield "two";
  };
  await serving({ routes: { "/stream": () => text(parts() as unknown as ReadableStream) } }, async (server) => {
    const [reply] = await talk(server.port, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    expect(reply?.headers["transfer-encoding"]).toBeUndefined();
    expect(reply?.headers.connection).toBe("close");
    expect(reply?.body).toBe("onetwo");
  });
});

test("HTTP/1.0 closes by default and stays open when it is asked to", async () => {
  await serving({ routes: { "/a": () => text("a") } }, async (server) => {
    const [closed] = await talk(server.port, "GET /a HTTP/1.0\r\n\r\n");
    expect(closed?.headers.connection).toBe("close");
    const [kept, other] = await talk(server.port, `GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n${LAST}`);
    expect(kept?.headers.connection).toBe("keep-alive");
    expect(other?.body).toBe("last");
  });
});

test("a stream waits for a client that does not read, and is cancelled when that goes away", async () => {
  let pulled = 0;
  const cancelled = gate();
  const endless: FetchHandler = () =>
    text(
      new ReadableStream({
        pull: (controller) => {
          pulled++;
          controller.enqueue(new Uint8Array(65_536));
        },
        cancel: () => cancelled.open(),
      }),
    );
  await serving({ routes: { "/endless": endless }, limits: { maxWriteBufferBytes: 100_000 } }, async (server) => {
    const client = await connectRaw(server.port);
    try {
      client.pause();
      client.write(get("/endless"));
      let before = -1;
      await until("the stream is pulled", () => pulled > 0);
      // It stands still once the kernel's buffers and ours are full.
      for (let still = 0; still < 50; still = pulled === before ? still + 1 : 0) {
        before = pulled;
        await nextTurn();
      }
      expect(pulled * 65_536).toBeLessThan(16_000_000);
      expect(server.inFlight.size).toBe(1);
    } finally {
      client.terminate();
    }
    await within(cancelled.passed, "the source to be cancelled");
    expect(server.inFlight.size).toBe(0);
  });
});

test("an event stream's head is there before its first event, and it counts as endless", async () => {
  const silent: FetchHandler = () => text(new ReadableStream({}), { headers: { "Content-Type": "text/event-stream" } });
  await serving({ routes: { "/events": silent } }, async (server) => {
    await connected(server, async (client) => {
      client.write(get("/events"));
      await client.waitFor("text/event-stream");
      expect([...server.inFlight].map((call) => call.isEndless)).toEqual([true]);
    });
    await until("the stream is let go", () => server.inFlight.size === 0);
  });
});

test("a stream that fails half-way resets the connection", async () => {
  const broken = async function* () {
    yield "half";
    await nextTurn();
    throw new Error("broken stream");
  };
  await serving({ routes: { "/broken": () => text(broken() as unknown as ReadableStream) } }, (server) =>
    connected(server, async (client) => {
      client.write(get("/broken"));
      await client.ended;
      expect(client.received).not.toContain("0\r\n\r\n");
      expect(String(server.failures[0])).toContain("broken stream");
    }),
  );
});

test("request.signal is aborted when the client goes away", async () => {
  const called = gate();
  const aborted = gate();
  const wait: FetchHandler = (request) => {
    request.signal.addEventListener("abort", () => aborted.open());
    called.open();
    return new Promise(() => undefined);
  };
  await serving({ routes: { "/wait": wait } }, async (server) => {
    const client = await connectRaw(server.port);
    client.write(get("/wait"));
    await within(called.passed, "the handler to be called");
    expect(server.inFlight.size).toBe(1);
    client.terminate();
    await within(aborted.passed, "the signal to be aborted");
    expect(server.inFlight.size).toBe(0);
  });
});

test("a client that half-closes still gets the reply of an asynchronous handler, whose signal is aborted", async () => {
  const done = gate();
  const called = gate();
  const wait: FetchHandler = async (request) => {
    called.open();
    await done.passed;
    return text(String(request.signal.aborted));
  };
  await serving({ routes: { "/wait": wait } }, (server) =>
    connected(server, async (client) => {
      client.write(get("/wait"));
      client.endWriting();
      await called.passed;
      for (let turn = 0; turn < 10; turn++) await nextTurn();
      done.open();
      await client.ended;
      expect(parseReplies(client.received).map((reply) => reply.body)).toEqual(["true"]);
    }),
  );
});

for (const [name, request] of Object.entries({
  "a head": "GET / HTTP/1.1\r\nHost: a",
  "a first line": "GET / HT",
  "a body": post("/read", "Content-Length: 5\r\n", "he"),
  "a chunked body": post("/read", "Transfer-Encoding: chunked\r\n", "5\r\nhe"),
})) {
  const routes = { "/read": async (one: Request) => text(await one.text()) };

  test(`the client's FIN in the middle of ${name} gets a 400`, async () => {
    await serving({ routes }, (server) =>
      connected(server, async (client) => {
        client.write(request);
        client.endWriting();
        await client.ended;
        expect(parseReplies(client.received).map((reply) => reply.status)).toEqual([400]);
      }),
    );
  });

  test(`${name} that does not arrive in time gets a 408`, async () => {
    await serving({ routes, timeouts: { headMs: 30, bodyMs: 30 } }, async (server) => {
      const replies = await talk(server.port, request);
      expect(replies.map((reply) => reply.status)).toEqual([408]);
      expect(replies[0]?.headers.connection).toBe("close");
    });
  });
}

test("a handler that takes longer than its route allows gets its client a 503", async () => {
  let reason: unknown = null;
  const slow: FetchHandler = (request) => {
    request.signal.addEventListener("abort", () => (reason = request.signal.reason));
    return new Promise(() => undefined);
  };
  await serving({ routes: { "/slow": { fetch: slow, timeoutMs: 30 } } }, async (server) => {
    const replies = await talk(server.port, get("/slow"));
    expect(replies.map((reply) => reply.status)).toEqual([503]);
    expect((reason as DOMException).name).toBe("TimeoutError");
    expect(String(server.failures[0])).toContain("30 ms");
    expect(server.dispatch.counters.errors).toBe(1);
  });
});

test("a cut before the reply answers 503, aborts the signal and ends the connection", async () => {
  const signals: AbortSignal[] = [];
  const wait: FetchHandler = (request) => {
    signals.push(request.signal);
    return new Promise(() => undefined);
  };
  await serving({ routes: { "/wait": wait } }, (server) =>
    connected(server, async (client) => {
      client.write(get("/wait"));
      await until("the call is counted", () => server.inFlight.size === 1);
      for (const call of server.inFlight) call.cut("replaced");
      await client.ended;
      expect(parseReplies(client.received).map((reply) => reply.status)).toEqual([503]);
      expect(signals[0]?.aborted).toBe(true);
    }),
  );
});

test("a cut in the middle of a reply resets the connection", async () => {
  await serving(
    { routes: { "/stream": () => text(new ReadableStream({ start: (c) => c.enqueue("one") })) } },
    (server) =>
      connected(server, async (client) => {
        client.write(get("/stream"));
        await client.waitFor("one");
        for (const call of server.inFlight) call.cut("replaced");
        await client.ended;
        expect(client.received).not.toContain("0\r\n\r\n");
      }),
  );
});

test("a handler that throws, rejects or returns no Response costs its request alone", async () => {
  const routes: HarnessOptions["routes"] = {
    "/throws": () => {
      throw new Error("secret one");
    },
    "/rejects": async () => {
      await nextTurn();
      throw new Error("secret two");
    },
    "/rejects-at-once": async () => {
      throw new Error("secret three");
    },
    "/nothing": () => undefined,
    "/string": async () => "text",
    "/used": async () => {
      const response = text("used");
      await response.text();
      return response;
    },
    "/error": () => Response.error(),
  };
  await serving({ routes }, async (server) => {
    const paths = Object.keys(routes);
    const replies = await talk(server.port, paths.map((path) => get(path)).join("") + LAST);
    expect(replies.map((reply) => reply.status)).toEqual([...paths.map(() => 500), 200]);
    for (const reply of replies.slice(0, -1)) expect(reply.body).toBe("Internal Server Error\n");
    expect(server.failures.length).toBe(paths.length);
    expect(String(server.failures[3])).toContain('Module "test", route "/nothing"');
    expect(server.dispatch.counters).toMatchObject({
      messages: 0,
      httpRequests: paths.length + 1,
      errors: paths.length,
    });
  });
});

test("a module that is being replaced is a 503 with Retry-After", async () => {
  await serving({ routes: { "/gone": { fetch: last, isUnavailable: true } } }, async (server) => {
    const [reply, other] = await talk(server.port, get("/gone") + LAST);
    expect([reply?.status, reply?.headers["retry-after"], other?.status]).toEqual([503, "1", 200]);
    expect(reply?.body).toContain('"test"');
  });
});

test("a path without a route is a 404, a method without one a 405 with Allow", async () => {
  await serving({ routes: { "GET /only-get": last } }, async (server) => {
    const [none, put, head] = await talk(server.port, get("/none") + `PUT /only-get HTTP/1.1\r\n${HOST}\r\n` + LAST);
    expect([none?.status, put?.status, put?.headers.allow, head?.status]).toEqual([
      404,
      405,
      "GET, HEAD, OPTIONS",
      200,
    ]);
  });
});

test("a server that drains closes behind the reply", async () => {
  const done = gate();
  await serving({ routes: { "/wait": () => done.passed.then(() => text("done")) } }, async (server) => {
    const pending = talk(server.port, get("/wait") + get("/last"));
    await until("the call is counted", () => server.inFlight.size === 1);
    server.dispatch.isDraining = true;
    done.open();
    const replies = await pending;
    expect(replies.map((reply) => [reply.body, reply.headers.connection])).toEqual([["done", "close"]]);
    const [sync] = await talk(server.port, get("/last"));
    expect(sync?.headers.connection).toBe("close");
    server.dispatch.isDraining = false;
  });
});

test("a handler's context has the client, the params and what the module's context has", async () => {
  const show: FetchHandler = (_request, context) =>
    text(JSON.stringify([(context as { name?: string }).name, context.params, context.client.port > 0]));
  await serving({ routes: { "/users/:id/*": show } }, async (server) => {
    const [reply] = await talk(server.port, get("/users/a%20b/c/d", "Connection: close\r\n"));
    expect(JSON.parse(reply?.body ?? "")).toEqual(["test", { id: "a b", "*": "c/d" }, true]);
  });
});

test("curl gets pages, posts forms and uploads, over one connection", async () => {
  const routes: HarnessOptions["routes"] = {
    "/page": () => text("<p>page</p>", { headers: { "Content-Type": "text/html" } }),
    "/form": async (request) => text(((await request.formData()).get("name") as string) ?? ""),
    "/upload": async (request) => text(String((await request.bytes()).length)),
    "/stream": () => text(new Blob(["a".repeat(500_000)]).stream()),
  };
  await serving({ routes }, async (server) => {
    const base = `http://127.0.0.1:${server.port}`;
    const curl = async (...args: string[]) => {
      const child = Bun.spawn(["curl", "-sS", "--max-time", "5", ...args], {
        stdin: new Blob(["z".repeat(900_000)]),
        stdout: "pipe",
        stderr: "pipe",
      });
      const [out, error] = await Promise.all([child.stdout.text(), child.stderr.text()]);
      expect([await child.exited, error]).toEqual([0, ""]);
      return out;
    };
    expect(await curl(`${base}/page`, `${base}/page`, "-w", "%{num_connects} ")).toBe("<p>page</p>1 <p>page</p>0 ");
    expect(await curl(`${base}/page`, "-I")).toContain("Content-Length: 11");
    expect(await curl(`${base}/form`, "-F", "name=Zoë")).toBe("Zoë");
    expect(await curl(`${base}/form`, "-d", "name=Bob")).toBe("Bob");
    expect(await curl(`${base}/upload`, "-T", "-")).toBe("900000");
    expect(await curl(`${base}/upload`, "--data-binary", "@-", "-H", "Expect: 100-continue")).toBe("900000");
    expect(await curl("--http1.0", `${base}/page`)).toBe("<p>page</p>");
    expect((await curl(`${base}/stream`)).length).toBe(500_000);
  });
});
