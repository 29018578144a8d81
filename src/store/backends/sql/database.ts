/** The connections to a database: some that read, and one that writes. They are opened again when they are lost. */
import { StoreError } from "../../../module/store/error";
import { asHost } from "../../../system/leave-graph";
import type { Dialect, Failure, Query, Row } from "./dialect";

/** In seconds. */
const CONNECT_SECONDS = 5;
/** A server that is gone without a word is given up after so long: more than its own limit of a statement. */
const ANSWER_MS = 15_000;
const READERS = 4;
/** A database that cannot be reached is left alone for so long, twice as long each time. In milliseconds. */
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1000;

export class SqlError extends StoreError {
  /** Nobody knows how far the query came. */
  readonly isLost: boolean;

  constructor({ code, text, isLost }: Failure, name: string) {
    super(code, `the store ${name}: ${text}`);
    this.isLost = isLost;
  }
}

export class SqlDatabase {
  /** Without user and password. */
  readonly name: string;
  readonly dialect: Dialect;
  readonly #url: string;
  readonly #options: Bun.SQL.PostgresOrMySQLOptions;
  readonly #readers: number;
  #pool: Bun.SQL | null = null;
  #writer: Bun.SQL | null = null;
  #listener: Bun.SQL | null = null;
  #session: Promise<Session> | null = null;
  #down: { readonly error: SqlError; readonly until: number; readonly pauseMs: number } | null = null;
  #isClosed = false;

  constructor(url: string, dialect: Dialect, durability: "full" | "relaxed") {
    const parsed = new URL(url);
    this.name = `${parsed.protocol}//${parsed.host}${parsed.pathname}`;
    this.dialect = dialect;
    this.#url = url;
    const max = Number(parsed.searchParams.get("max") ?? READERS + 1);
    this.#readers = Math.max(1, max - 1);
    // A variable of the environment must not choose another database than the URL.
    const database = decodeURIComponent(parsed.pathname.slice(1));
    const named = database === "" ? {} : { database };
    this.#options = { ...dialect.options(parsed, durability), ...named, connectionTimeout: CONNECT_SECONDS };
  }

  /** Runs one query that reads. It is tried twice if the connection is lost. @throws SqlError */
  async read(query: Query): Promise<readonly Row[]> {
    try {
      return await this.run(query);
    } catch (error) {
      if (!(error instanceof SqlError) || !error.isLost || this.#isPaused(error)) throw error;
      return await this.run(query);
    }
  }

  /** Runs one query on any connection. @throws SqlError */
  async run({ sql, values }: Query): Promise<readonly Row[]> {
    const pool = this.#readersPool();
    return await this.guard(
      () => pool.unsafe(sql, values as unknown[]) as unknown as Promise<readonly Row[]>,
      () => {
        if (this.#pool === pool) this.#pool = null;
        void pool.close({ timeout: 0 });
      },
    );
  }

  #readersPool(): Bun.SQL {
    this.#mustBeUp();
    this.#pool ??= this.#makePool(this.#readers);
    return this.#pool;
  }

  #makePool(max: number): Bun.SQL {
    return asHost(() => new Bun.SQL(this.#url, { ...this.#options, max }));
  }

  /** @returns the connection that writes, for one caller at a time. @throws SqlError */
  session(): Promise<Session> {
    this.#mustBeUp();
    this.#session ??= this.#openSession().catch((error: unknown) => {
      this.#session = null;
      throw error;
    });
    return this.#session;
  }

  async #openSession(): Promise<Session> {
    const writer = (this.#writer ??= this.#makePool(1));
    const reserved = await this.guard(
      () => writer.reserve(),
      () => {
        this.#writer = null;
        void writer.close({ timeout: 0 });
      },
    );
    const session = new Session(this, reserved, () => {
      this.#session = null;
    });
    await session.all(this.dialect.session);
    return session;
  }

  /** Lets `use` work on a connection of its own, which is closed behind it. @throws SqlError */
  async apart<T>(use: (session: Session) => Promise<T>): Promise<T> {
    this.#mustBeUp();
    const pool = this.#makePool(1);
    const close = (): void => void pool.close({ timeout: 0 });
    try {
      const reserved = await this.guard(() => pool.reserve(), close);
      return await use(new Session(this, reserved, close));
    } finally {
      await pool.close({ timeout: 0 });
    }
  }

  /** @param isBack called at first, and after each loss of the connection: news may be missing */
  async listen(channel: string, heard: (news: string) => void, isBack: () => void): Promise<void> {
    this.#mustBeUp();
    // Not the one of the readers, which is given up when it does not answer: nobody would listen any more.
    const listener = (this.#listener ??= this.#makePool(1));
    await this.guard(
      () => listener.listen(channel, heard, isBack),
      () => {
        this.#listener = null;
        void listener.close({ timeout: 0 });
      },
    );
  }

  /**
   * Waits for an answer of the database.
   *
   * @param giveUp called when there is none in time
   * @param answerMs the time, in milliseconds. Default 15,000
   * @throws SqlError
   */
  async guard<T>(ask: () => Promise<T>, giveUp: () => void, answerMs = ANSWER_MS): Promise<T> {
    const late = Promise.withResolvers<never>();
    const timer = asHost(() =>
      setTimeout(() => {
        late.reject(new SqlError({ code: "UNAVAILABLE", text: "it does not answer", isLost: true }, this.name));
        giveUp();
      }, answerMs),
    );
    try {
      const answer = await Promise.race([asHost(ask), late.promise]);
      this.#down = null;
      return answer;
    } catch (error) {
      throw this.failed(error);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Of an error of a query. The next ones fail at once for some time if the connection is lost. */
  failed(error: unknown): SqlError {
    const failed = error instanceof SqlError ? error : new SqlError(this.dialect.failure(error), this.name);
    if (failed.isLost) this.#pause(failed);
    return failed;
  }

  #pause(error: SqlError): void {
    const now = performance.now();
    if (this.#down !== null && now < this.#down.until) return;
    // The first loss may be that of an old connection: the next try opens one.
    const pauseMs =
      this.#down === null ? 0 : Math.min(Math.max(this.#down.pauseMs * 2, FIRST_PAUSE_MS), LONGEST_PAUSE_MS);
    this.#down = { error, until: now + pauseMs, pauseMs };
  }

  #isPaused({ isLost }: SqlError): boolean {
    return isLost && this.#down !== null && performance.now() < this.#down.until;
  }

  #mustBeUp(): void {
    if (this.#isClosed) throw new SqlError({ code: "UNAVAILABLE", text: "it is not open", isLost: false }, this.name);
    if (this.#down !== null && performance.now() < this.#down.until) throw this.#down.error;
  }

  /** Ends all connections; what is under way fails. Idempotent. Never rejects. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const all = [this.#pool, this.#writer, this.#listener];
    this.#pool = null;
    this.#writer = null;
    this.#listener = null;
    this.#session = null;
    await Promise.allSettled(all.map(async (pool) => await pool?.close({ timeout: 0 })));
  }
}

/** One connection. */
export class Session {
  readonly #database: SqlDatabase;
  readonly #reserved: Bun.ReservedSQL;
  readonly #closed: () => void;

  constructor(database: SqlDatabase, reserved: Bun.ReservedSQL, closed: () => void) {
    this.#database = database;
    this.#reserved = reserved;
    this.#closed = closed;
  }

  /** Sends all queries without waiting for answers; they run in order. @throws SqlError the first one's */
  async all(queries: readonly Query[], answerMs = ANSWER_MS): Promise<readonly (readonly Row[])[]> {
    const done = await this.settled(queries, answerMs);
    return done.map((each) => {
      if (each.status === "rejected") throw this.#database.failed(each.reason);
      return each.value;
    });
  }

  /** The same, with every outcome. @throws SqlError no answer came in time */
  async settled(
    queries: readonly Query[],
    answerMs = ANSWER_MS,
  ): Promise<readonly PromiseSettledResult<readonly Row[]>[]> {
    return await this.#database.guard(
      () => Promise.allSettled(queries.map((query) => this.#start(query))),
      () => this.close(),
      answerMs,
    );
  }

  #start({ sql, values }: Query): Promise<readonly Row[]> {
    return this.#reserved.unsafe(sql, values as unknown[]).execute() as unknown as Promise<readonly Row[]>;
  }

  /** Ends the connection, with the transaction on it. Never throws. */
  close(): void {
    this.#closed();
    this.#reserved.close({ timeout: 0 }).catch(() => undefined);
  }
}
