/**
 * Scores and settings that all bots share. They are in the store, so no bot has a database of its own.
 *
 *   hrmr call scores.add '{"player":"ada","points":5}'
 *   hrmr call scores.top
 *   hrmr call scores.configure '{"pointsPerWin":3}'
 */
import { defineModule, ServiceError } from "hrmr";

interface Score {
  points: number;
  games: number;
}

interface Settings {
  pointsPerWin: number;
}

const DEFAULTS: Settings = { pointsPerWin: 3 };
const DAY_MS = 86_400_000;

export default defineModule({
  // Kept ordered by points, so that the best are found without reading all.
  collections: { scores: { indexes: ["points"] } },

  services: {
    add: {
      public: true,
      description: "Adds points to a player's score: { player, points }",
      async call({ player, points }: { player: string; points: number }, { store, events }): Promise<Score> {
        if (typeof player !== "string" || !/^[\w-]{1,32}$/.test(player))
          throw new ServiceError("BAD_PLAYER", "player needs 1 to 32 letters, digits, _ or -");
        if (!Number.isSafeInteger(points)) throw new ServiceError("BAD_POINTS", "points needs a whole number");
        // Two bots may add to one player in the same moment: a transaction loses neither.
        return await store.transaction(async (tx) => {
          const scores = tx.collection<Score>("scores");
          const before = (await scores.get(player))?.value ?? { points: 0, games: 0 };
          const score = { points: before.points + points, games: before.games + 1 };
          await scores.set(player, score);
          await tx.collection<number>("totals").increment("points", points);
          // It leaves when the transaction is durable.
          events.emit("scores.changed", { player, ...score });
          return score;
        });
      },
    },

    top: {
      public: true,
      description: "The best players: { limit }",
      async call(input: { limit?: number } | undefined, { store }): Promise<(Score & { player: string })[]> {
        const limit = Math.min(Math.max(Math.trunc(input?.limit ?? 10), 1), 100);
        const best = await store.collection<Score>("scores").find("points", { limit, reverse: true });
        return best.map(({ key, value }) => ({ player: key, ...value }));
      },
    },

    history: {
      public: true,
      description: "All points together, over time, oldest first",
      async call(_input: unknown, { store }): Promise<{ at: string; points: number }[]> {
        const newest = await store.collection<number>("history").list({ reverse: true, limit: 100 });
        return newest.map(({ key, value }) => ({ at: key, points: value })).reverse();
      },
    },

    settings: {
      public: true,
      description: "The settings of all bots",
      async call(_input: unknown, { store }): Promise<Settings> {
        return { ...DEFAULTS, ...(await store.collection<Settings>("settings").get("bots"))?.value };
      },
    },

    configure: {
      public: true,
      description: "Changes settings of all bots: { pointsPerWin }",
      async call({ pointsPerWin }: Settings, { store }): Promise<Settings> {
        if (!Number.isSafeInteger(pointsPerWin))
          throw new ServiceError("BAD_SETTINGS", "pointsPerWin needs a whole number");
        return (await store.collection<Settings>("settings").patch("bots", { pointsPerWin })).value;
      },
    },
  },

  schedule: {
    // For the chart of the page. Each point is gone after a day.
    "every 5s": async ({ store }) => {
      const points = (await store.collection<number>("totals").get("points"))?.value ?? 0;
      await store.collection<number>("history").set(new Date().toISOString(), points, { ttlMs: DAY_MS });
    },
  },
});
