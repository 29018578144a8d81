/** The page: reads the scores once, and then changes them with each event of the hub. */

const state = document.querySelector("#state");
const rows = document.querySelector("#scores");
const scores = new Map();

async function call(name, input = null) {
  const headers = { "content-type": "application/json" };
  const response = await fetch(`/rpc/${name}`, { method: "POST", headers, body: JSON.stringify(input) });
  if (!response.ok) throw new Error((await response.json()).error.message);
  return await response.json();
}

function cell(text) {
  const td = document.createElement("td");
  td.textContent = text;
  return td;
}

function showScores() {
  const best = [...scores.values()].sort((a, b) => b.points - a.points).slice(0, 20);
  rows.replaceChildren(
    ...best.map(({ player, points, games }) => {
      const row = document.createElement("tr");
      row.append(cell(player), cell(points), cell(games));
      return row;
    }),
  );
  state.textContent = best.length === 0 ? "Nobody has points yet. Start a bot." : `${best[0].player} leads.`;
}

function showChart(history) {
  const chart = document.querySelector("#chart");
  const first = Date.parse(history[0]?.at);
  const span = Date.parse(history.at(-1)?.at) - first || 1;
  const highest = Math.max(1, ...history.map(({ points }) => points));
  const points = history.map((each) => [
    ((Date.parse(each.at) - first) / span) * 640,
    195 - (each.points / highest) * 185,
  ]);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.setAttribute("points", points.map((each) => each.join(",")).join(" "));
  chart.replaceChildren(line);
  document.querySelector("#first").textContent = history.length === 0 ? "" : timeOf(history[0].at);
  document.querySelector("#last").textContent =
    history.length === 0
      ? "The first points come in some seconds."
      : `${timeOf(history.at(-1).at)}: ${history.at(-1).points}`;
}

function timeOf(iso) {
  return new Date(iso).toLocaleTimeString();
}

async function readAll() {
  for (const score of await call("scores.top", { limit: 20 })) scores.set(score.player, score);
  showScores();
}

// The events begin before the scores are read: no change is lost between the two.
const events = new EventSource("/events?topic=scores.*");
events.addEventListener("open", () => readAll().catch((error) => (state.textContent = error.message)));
events.addEventListener("error", () => (state.textContent = "The hub does not answer. Trying again…"));
events.addEventListener("message", ({ data }) => {
  const { data: score } = JSON.parse(data);
  scores.set(score.player, score);
  showScores();
});

async function readHistory() {
  try {
    showChart(await call("scores.history"));
  } catch {
    // The next time.
  }
}
await readHistory();
setInterval(readHistory, 5000);
