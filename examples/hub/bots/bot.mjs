/**
 * A bot for node: it plays, and tells who leads.
 *
 *   hrmr client --lang js --out bots/hub.js
 *   node bots/bot.mjs bob 20
 */
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "./hub.js";

const [player = "bob", games = "1000000"] = process.argv.slice(2);
const hub = connect({ token: process.env.HUB_TOKEN });

async function play() {
  const { pointsPerWin } = await hub.scores.settings();
  if (Math.random() < 0.5) await hub.scores.add({ player, points: pointsPerWin });
  const [leader] = await hub.scores.top({ limit: 1 });
  console.log(leader === undefined ? "nobody has points yet" : `${leader.player} leads with ${leader.points}`);
}

for (let game = 0; game < Number(games); game++) {
  await play().catch((error) => {
    if (error.code !== "DISCONNECTED") throw error;
    console.log("waiting for the hub");
  });
  await sleep(Math.random() * 200);
}
hub.close();
