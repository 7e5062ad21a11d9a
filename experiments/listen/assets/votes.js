// Blind votes: which of two clips of one prompt, length and seed is better. Names, scores and pictures stay hidden.

// Numbers in [0, 1) that follow from a text: a listener who comes back finds the same order again.
function randomFrom(text) {
  let state = 2166136261;
  for (const character of text) state = Math.imul(state ^ character.codePointAt(0), 16777619);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function shuffled(items, random) {
  const mixed = [...items];
  for (let i = mixed.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [mixed[i], mixed[j]] = [mixed[j], mixed[i]];
  }
  return mixed;
}

// The arms that are voted on: a reference is none.
function methodsOf(data) { return [...data.arms.keys()].filter((arm) => !data.arms[arm].reference); }

// Every two methods at every length, each with its pairs of clips in random order.
function strataOf(data, clips, random) {
  const strata = [];
  const methods = methodsOf(data);
  for (const duration of data.durations.keys()) {
    for (const first of methods) {
      for (const second of methods.filter((arm) => arm > first)) {
        const pairs = [];
        for (const prompt of data.prompts.keys()) {
          for (const seed of data.seeds.keys()) {
            const pair = [first, second].map((arm) => clips.get(`${prompt}/${duration}/${seed}/${arm}`));
            if (pair.every((clip) => clip !== undefined && clip.gap === undefined)) pairs.push(pair);
          }
        }
        if (pairs.length > 0) strata.push({ pairs: shuffled(pairs, random), swap: false });
      }
    }
  }
  return strata;
}

// Pairs [A, B] in rounds. A round asks once for every two methods at every length that still have clips, so that
// their counts never differ by more than one; of two rounds one has the sides of a stratum swapped.
function drawPairs(data, clips, random) {
  const strata = strataOf(data, clips, random);
  const drawn = [];
  for (let round = 0; strata.some((stratum) => round < stratum.pairs.length); round++) {
    for (const stratum of shuffled(strata.filter((each) => round < each.pairs.length), random)) {
      stratum.swap = round % 2 === 0 ? random() < 0.5 : !stratum.swap;
      const [one, two] = stratum.pairs[round];
      drawn.push(stratum.swap ? [two, one] : [one, two]);
    }
  }
  return drawn;
}

// Votes of each listener, in the browser's own storage. A browser may keep nothing for files: the votes then last as
// long as the page, which says so.
class VoteStore {
  constructor(material) {
    this.prefix = `litefocus votes ${material} `;
    this.here = new Map();
    this.unsaved = new Set();
    this.lasts = true;
  }

  load(listener) {
    if (this.here.has(listener)) return this.here.get(listener);
    try {
      const kept = JSON.parse(localStorage.getItem(this.prefix + listener));
      return Array.isArray(kept) ? kept : [];
    } catch (error) {
      this.lasts = error instanceof SyntaxError;
      return [];
    }
  }

  keep(listener, votes) {
    this.here.set(listener, votes);
    this.unsaved.add(listener);
    try {
      localStorage.setItem(this.prefix + listener, JSON.stringify(votes));
      this.lasts = true;
    } catch {
      this.lasts = false;
    }
  }
}

class Ballot {
  constructor(data, clips, player) {
    Object.assign(this, { data, clips, player });
    this.store = new VoteStore(data.material);
    this.root = document.getElementById("ballot");
    this.listener = "";
    this.votes = [];
    this.pairs = [];
  }

  get open() { return !this.root.hidden; }

  // The pair that is asked for; undefined before a name is given and after the last pair.
  get pair() { return this.listener === "" ? undefined : this.pairs[this.votes.length]; }

  show(open) {
    if (this.player.playing) this.player.toggle();
    this.root.hidden = !open;
    document.body.classList.toggle("voting", open);
    this.listener = "";
    this.part("listener").value = "";
    this.next();
    if (open) this.part("listener").focus();
  }

  part(id) { return document.getElementById(id); }

  begin() {
    const name = this.part("listener").value.trim();
    if (name === "") return;
    this.listener = name;
    this.part("listener").blur();
    this.pairs = drawPairs(this.data, this.clips, randomFrom(`${this.data.material} ${name}`));
    const kept = this.store.load(name);
    // What was kept must be answers to the pairs that this listener is asked for, in their order.
    const same = kept.findIndex((vote, i) => !this.answers(vote, this.pairs[i]));
    this.votes = same === -1 ? kept : kept.slice(0, same);
    this.next();
  }

  answers(vote, pair) {
    if (pair === undefined || vote === null || typeof vote !== "object") return false;
    const same = ["a", "b"].every((side, i) => vote[side] !== undefined && vote[side].clip === path(pair[i]));
    return same && ["a", "b", "same"].includes(vote.winner);
  }

  next() {
    this.heard = new Set();
    this.side = -1;
    this.since = performance.now();
    this.paint();
  }

  // Play A (0) or B (1), where the other one stands.
  listen(side) {
    const { pair } = this;
    if (pair === undefined) return;
    const before = this.side;
    this.side = side;
    if (before === side) this.player.toggle();
    else this.player.play(pair[side], before === -1 ? 0 : undefined);
    this.paint();
  }

  // Called whenever the player changes: a side counts as heard once it sounds.
  notice() {
    if (!this.open) return;
    const { audio } = this.player;
    const sounds = this.side !== -1 && (audio.ended || (this.player.playing && audio.readyState > 2));
    if (this.pair !== undefined && sounds) this.heard.add(this.side);
    this.paint();
  }

  choose(winner) {
    const { pair } = this;
    if (pair === undefined || this.heard.size < 2) return;
    if (this.player.playing) this.player.toggle();
    const side = (clip) => ({ method: this.data.arms[clip.arm].label, clip: path(clip) });
    this.votes.push({
      prompt: this.data.prompts[pair[0].prompt].id,
      duration_s: pair[0].duration,
      seed: this.data.seeds[pair[0].seed],
      a: side(pair[0]),
      b: side(pair[1]),
      winner,
      took_s: Math.round((performance.now() - this.since) / 100) / 10,
    });
    this.store.keep(this.listener, this.votes);
    this.next();
  }

  undo() {
    if (this.votes.length === 0) return;
    this.votes.pop();
    this.store.keep(this.listener, this.votes);
    this.next();
  }

  asJson() {
    return {
      format: "litefocus votes", version: 1, run: this.data.name, material: this.data.material,
      listener: this.listener, votes: this.votes,
    };
  }

  // Save the votes as a file, where the browser puts downloads.
  export() {
    if (this.votes.length === 0) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(this.asJson(), null, 1)], { type: "application/json" }));
    link.download = `votes_${this.listener.replace(/[^\p{L}\p{N}]+/gu, "_")}.json`;
    link.click();
    URL.revokeObjectURL(link.href);
    this.store.unsaved.delete(this.listener);
  }

  paint() {
    const { pair, votes, pairs, player, data } = this;
    const begun = this.listener !== "";
    this.part("ballot-start").hidden = begun;
    this.part("ballot-pair").hidden = pair === undefined;
    this.part("ballot-end").hidden = !begun || pair !== undefined;
    if (pair !== undefined) {
      this.part("ballot-caption").textContent = data.prompts[pair[0].prompt].caption;
      ["listen-a", "listen-b"].forEach((id, side) => {
        this.part(id).setAttribute("aria-pressed", this.side === side && player.playing);
        this.part(id).classList.toggle("heard", this.heard.has(side));
      });
      for (const button of this.part("ballot-choices").children) button.disabled = this.heard.size < 2;
    }
    this.part("ballot-time").textContent = this.where();
    this.part("ballot-count").textContent = begun ? `${this.listener} · ${votes.length} of ${pairs.length} votes` : "";
    this.part("ballot-warning").hidden = this.store.lasts;
    for (const id of ["ballot-undo", "ballot-export"]) this.part(id).disabled = votes.length === 0;
  }

  // The error of a clip does not show its path: that names the method.
  where() {
    if (this.pair === undefined || this.side === -1) return "";
    if (this.player.error) return "this clip cannot be played";
    return `${"AB"[this.side]} · ${seconds(this.player.position)} / ${seconds(this.pair[0].duration)}`;
  }
}

// A clip's path in the run folder; a page to send holds the audio itself, and the path beside it.
function path(clip) { return clip.file === undefined ? decodeURIComponent(clip.audio) : clip.file; }
