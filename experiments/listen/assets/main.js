const data = JSON.parse(document.getElementById("data").textContent);
const clips = readClips(data);
const byId = (id) => document.getElementById(id);
const state = {
  search: "",
  sort: "run",
  seed: 0,
  onlyGaps: false,
  durations: new Set(data.durations.keys()),
  arms: new Set(data.arms.keys()),
};
const player = new Player(refresh);
const grid = new Grid(data, clips, state, (clip, position) => {
  if (clip === player.clip && position === undefined) player.toggle();
  else player.play(clip, position);
});
const ballot = new Ballot(data, clips, player);
let order = [];

// What a prompt shows under the current filter.
function shown(prompt) {
  const found = [];
  for (const duration of state.durations) {
    for (const arm of state.arms) {
      const clip = grid.clip(prompt, duration, arm);
      if (clip !== undefined) found.push(clip);
    }
  }
  return found;
}

// The mean of a metric over a prompt's clips, or how far the methods lie apart; null without scores.
function score(prompt, metric, spread) {
  const values = shown(prompt).map((clip) => (clip.scores || [])[metric]).filter((v) => v !== undefined && v !== null);
  if (values.length === 0) return null;
  if (spread) return Math.max(...values) - Math.min(...values);
  return values.reduce((sum, v) => sum + v, 0) / values.length;
}

function sorted(prompts) {
  if (state.sort === "run") return prompts;
  if (state.sort === "caption") {
    return prompts.sort((a, b) => data.prompts[a].caption.localeCompare(data.prompts[b].caption));
  }
  const [kind, metric] = state.sort.split(":");
  const sign = kind === "spread" || data.metrics[metric].higher !== false ? -1 : 1;
  const keys = new Map(prompts.map((p) => [p, score(p, Number(metric), kind === "spread")]));
  const last = (p) => (keys.get(p) === null ? 1 : 0);
  return prompts.sort((a, b) => last(a) - last(b) || sign * (keys.get(a) - keys.get(b)));
}

function apply() {
  const words = state.search.toLowerCase().split(/\s+/).filter((word) => word !== "");
  order = sorted([...data.prompts.keys()].filter((index) => {
    const text = `${data.prompts[index].caption} ${data.prompts[index].id}`.toLowerCase();
    if (!words.every((word) => text.includes(word))) return false;
    return !state.onlyGaps || shown(index).some((clip) => clip.gap !== undefined);
  }));
  grid.layout(order);
  byId("nothing").hidden = order.length > 0;
  refresh();
}

function refresh() {
  grid.paint(player);
  paintBar();
  ballot.notice();
  if (player.playing) requestAnimationFrame(tick);
}

let ticking = false;
function tick() {
  if (ticking) return;
  ticking = true;
  const step = () => {
    ticking = player.playing;
    if (!ticking) return;
    grid.movePlayheads(player);
    paintTime();
    if (ballot.open) ballot.notice();
    requestAnimationFrame(step);
  };
  step();
}

function paintTime() {
  const { clip } = player;
  const where = `${seconds(player.position)} / ${seconds(clip.duration)} · ${data.arms[clip.arm].label} · ${clip.duration} s`;
  byId("now-time").textContent = player.error ? `${player.error}: ${fileOf(clip)}` : where;
  byId("now-time").classList.toggle("error", player.error !== "");
  byId("seek").value = player.position;
}

function fileOf(clip) {
  return clip.audio.startsWith("data:") ? "it is part of this page" : decodeURIComponent(clip.audio);
}

function paintBar() {
  const { clip } = player;
  byId("bar").hidden = clip === null;
  if (clip === null) return;
  byId("toggle").textContent = player.playing ? "❚❚" : "▶";
  byId("now-caption").textContent = data.prompts[clip.prompt].caption;
  byId("seek").max = clip.duration;
  for (const button of byId("switch").children) {
    const other = clips.get(`${clip.group}/${button.arm}`);
    button.disabled = other === undefined || other.gap !== undefined;
    button.setAttribute("aria-pressed", button.arm === clip.arm);
  }
  paintTime();
}

function switchArm(arm) {
  if (player.clip === null) return;
  const other = clips.get(`${player.clip.group}/${arm}`);
  if (other !== undefined && other.gap === undefined && other !== player.clip) player.play(other);
}

// The nearest playable clip in a direction over lengths (steps of `duration`) or prompts (steps of `prompt`).
function move(promptStep, durationStep) {
  const { clip } = player;
  const row = clip === null ? (promptStep > 0 ? -1 : 0) : order.indexOf(clip.prompt);
  const arm = clip === null ? Math.min(...state.arms) : clip.arm;
  const length = clip === null ? Math.min(...state.durations) : clip.durationIndex;
  for (let i = 1; i <= Math.max(order.length, data.durations.length); i++) {
    const next = grid.clip(order[row + i * promptStep], length + i * durationStep, arm);
    if (next !== undefined && next.gap === undefined) {
      player.play(next, 0);
      grid.cards[next.prompt].scrollIntoView({ block: "center" });
      return;
    }
  }
}

function toggleChips(id, items, chosen) {
  items.forEach((item, index) => {
    const chip = element("button", "chip", item.text);
    chip.type = "button";
    if (item.arm) chip.prepend(armDot(item.arm));
    chip.setAttribute("aria-pressed", "true");
    chip.addEventListener("click", () => {
      if (chosen.has(index) && chosen.size > 1) chosen.delete(index);
      else chosen.add(index);
      chip.setAttribute("aria-pressed", chosen.has(index));
      apply();
    });
    byId(id).append(chip);
  });
}

function fillTools() {
  toggleChips("durations", data.durations.map((duration) => ({ text: `${duration} s` })), state.durations);
  toggleChips("arms", data.arms.map((arm) => ({ text: arm.label, arm })), state.arms);
  const sorts = [["run", "as in the run"], ["caption", "by caption"]];
  data.metrics.forEach((metric, i) => {
    const order = metric.higher === null ? "highest" : "best";
    sorts.push([`mean:${i}`, `${metric.name}, ${order} first`], [`spread:${i}`, `${metric.name}, methods differ most`]);
  });
  byId("sort").append(...sorts.map(([value, text]) => new Option(text, value)));
  byId("seed").append(...data.seeds.map((seed, index) => new Option(seed, index)));
  byId("seed-pick").hidden = data.seeds.length < 2;
  byId("gaps-pick").hidden = !data.clips.some((clip) => clip.gap !== undefined);
  byId("search").addEventListener("input", (event) => { state.search = event.target.value; apply(); });
  byId("sort").addEventListener("change", (event) => { state.sort = event.target.value; apply(); });
  byId("seed").addEventListener("change", (event) => { state.seed = Number(event.target.value); apply(); });
  byId("gaps").addEventListener("change", (event) => { state.onlyGaps = event.target.checked; apply(); });
  byId("help").addEventListener("click", () => byId("keys").showModal());
  byId("theme").addEventListener("click", () => {
    const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
    document.documentElement.dataset.theme = dark ? "light" : "dark";
  });
}

function fillBar() {
  data.arms.forEach((arm, index) => {
    const button = element("button", "", arm.label);
    button.type = "button";
    button.arm = index;
    button.prepend(armDot(arm));
    if (index < 9) button.append(element("kbd", "", String(index + 1)));
    button.addEventListener("click", () => switchArm(index));
    byId("switch").append(button);
  });
  byId("toggle").addEventListener("click", () => player.toggle());
  byId("seek").addEventListener("input", (event) => player.seek(Number(event.target.value)));
  byId("loop").addEventListener("change", (event) => { player.loop = event.target.checked; });
}

const KEYS = {
  " ": () => player.toggle(),
  ArrowLeft: () => player.seek(player.position - 2),
  ArrowRight: () => player.seek(player.position + 2),
  "[": () => move(0, -1),
  "]": () => move(0, 1),
  k: () => move(-1, 0),
  j: () => move(1, 0),
  l: () => byId("loop").click(),
  v: () => ballot.show(true),
  "/": () => byId("search").focus(),
  "?": () => byId("keys").showModal(),
};

const BALLOT_KEYS = {
  a: () => ballot.listen(0),
  b: () => ballot.listen(1),
  " ": () => ballot.listen(ballot.side === 0 ? 1 : 0),
  ArrowLeft: () => ballot.choose("a"),
  ArrowRight: () => ballot.choose("b"),
  ArrowDown: () => ballot.choose("same"),
  Backspace: () => ballot.undo(),
  s: () => ballot.export(),
  Escape: () => ballot.show(false),
};

function fillBallot() {
  byId("vote").hidden = methodsOf(data).length < 2;
  byId("vote").addEventListener("click", () => ballot.show(true));
  byId("ballot-start").addEventListener("submit", (event) => {
    event.preventDefault();
    ballot.begin();
  });
  const presses = {
    "listen-a": "a", "listen-b": "b", "choose-a": "ArrowLeft", "choose-same": "ArrowDown", "choose-b": "ArrowRight",
    "ballot-undo": "Backspace", "ballot-export": "s", "ballot-leave": "Escape",
  };
  for (const [id, key] of Object.entries(presses)) byId(id).addEventListener("click", BALLOT_KEYS[key]);
  window.addEventListener("beforeunload", (event) => {
    if (!ballot.store.lasts && ballot.store.unsaved.size > 0) event.preventDefault();
  });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
  const typing = event.target.matches("input[type=search], input[type=text], select");
  if (typing && event.key === "Escape") event.target.blur();
  if (typing || event.target.matches("input[type=range]")) return;
  const pressed = event.target.matches("button") && (event.key === " " || event.key === "Enter");
  const number = !ballot.open && /^[1-9]$/.test(event.key);
  const action = number ? () => switchArm(Number(event.key) - 1) : (ballot.open ? BALLOT_KEYS : KEYS)[event.key];
  if (action === undefined || pressed) return;
  event.preventDefault();
  action();
});

// A mouse click leaves no focus on a button, or the space bar would press that button instead of playing.
document.addEventListener("click", (event) => {
  if (event.detail > 0 && document.activeElement.matches("button")) document.activeElement.blur();
});

document.title = `${data.name} · listening page`;
byId("title").textContent = data.name;
const gaps = data.clips.filter((clip) => clip.gap !== undefined).length;
const made = data.clips.filter((clip) => clip.at[3] !== null).length;
const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
byId("summary").textContent = [
  count(data.prompts.length, "prompt"), count(data.durations.length, "length"), count(methodsOf(data).length, "method"),
  count(data.seeds.length, "seed"), count(made - gaps, "clip"), ...(gaps ? [count(gaps, "gap")] : []),
].join(" · ");
byId("summary").hidden = document.querySelector(".tools").hidden = data.clips.length === 0;
byId("notes").append(...data.notes.map((note) => element("p", "", note)));
fillTools();
fillBar();
fillBallot();
apply();
