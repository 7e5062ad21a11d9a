// Text from outside enters the page through textContent only.
function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function seconds(value) {
  const minutes = Math.floor(value / 60);
  const rest = (value - 60 * minutes).toFixed(1).padStart(4, "0");
  return `${minutes}:${rest}`;
}

// About three digits, without an exponent.
function scoreNumber(value) {
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

// Near-black is the dense method's colour on paper; the page's ink replaces it, so that it shows on a dark page.
function armDot(arm) {
  const dot = element("span", "dot");
  if (arm.colour !== "#000000") dot.style.setProperty("--arm", arm.colour);
  return dot;
}

// The model: clips by place, with their group.
function readClips(data) {
  const clips = new Map();
  for (const entry of data.clips) {
    const [prompt, duration, arm, own] = entry.at;
    // A reference belongs to every seed, and need not be as long as the clips.
    for (const seed of own === null ? data.seeds.keys() : [own]) {
      const length = entry.seconds === undefined ? data.durations[duration] : entry.seconds;
      const clip = { ...entry, prompt, arm, seed, durationIndex: duration, duration: length };
      clip.group = `${prompt}/${duration}/${seed}`;
      clips.set(`${clip.group}/${arm}`, clip);
    }
  }
  return clips;
}

class Grid {
  constructor(data, clips, state, onPlay) {
    Object.assign(this, { data, clips, state, onPlay });
    this.root = document.getElementById("cards");
    this.views = new Map();
    this.cards = data.prompts.map((prompt, index) => this.makeCard(prompt, index));
    this.root.append(...this.cards);
    // Cards fill themselves when they come near the screen: a page of thousands of clips opens at once.
    this.observer = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) this.fill(entry.target);
    }, { rootMargin: "1200px" });
  }

  clip(prompt, duration, arm) { return this.clips.get(`${prompt}/${duration}/${this.state.seed}/${arm}`); }

  makeCard(prompt, index) {
    const card = element("article", "card");
    card.promptIndex = index;
    const caption = element("h2", "", prompt.caption);
    caption.dir = "auto";
    card.append(caption);
    if (prompt.caption.length > 300) card.append(this.moreButton(caption));
    card.append(element("p", "id", `${index + 1} · ${prompt.id}`), element("div", "columns"));
    return card;
  }

  moreButton(caption) {
    const button = element("button", "more", "whole caption");
    button.type = "button";
    button.addEventListener("click", () => {
      button.textContent = caption.classList.toggle("open") ? "less" : "whole caption";
    });
    return button;
  }

  // Show the prompts in the given order, and forget what the cards held.
  layout(order) {
    this.views.clear();
    const rows = this.state.arms.size;
    for (const card of this.cards) {
      card.hidden = true;
      this.observer.unobserve(card);
    }
    for (const index of order) {
      const card = this.cards[index];
      const columns = card.lastChild;
      columns.replaceChildren();
      columns.style.minHeight = `${24 + rows * 102}px`;
      card.hidden = false;
      card.filled = false;
      this.root.append(card);
      this.observer.observe(card);
    }
  }

  fill(card) {
    if (card.filled || card.hidden) return;
    card.filled = true;
    for (const duration of [...this.state.durations].sort((a, b) => a - b)) {
      const column = element("section", "column");
      column.append(element("h3", "", `${this.data.durations[duration]} s`));
      for (const arm of [...this.state.arms].sort((a, b) => a - b)) {
        const clip = this.clip(card.promptIndex, duration, arm);
        if (clip !== undefined) column.append(this.makeCell(clip));
      }
      card.lastChild.append(column);
    }
    card.lastChild.style.minHeight = "";
  }

  makeCell(clip) {
    const arm = this.data.arms[clip.arm];
    const cell = element("div", "cell");
    const head = element("div", "cell-head");
    cell.append(head);
    if (clip.gap !== undefined) {
      head.append(armDot(arm), element("span", "arm", arm.label));
      cell.append(element("div", "gap", clip.gap));
      return cell;
    }
    const button = element("button", "round", "▶");
    button.type = "button";
    button.setAttribute("aria-label", `Play ${arm.label}, ${clip.duration} s`);
    button.addEventListener("click", () => this.onPlay(clip));
    const found = this.scoreTexts(clip);
    const scores = element("span", "scores", found.slice(0, 3).join(" · "));
    scores.title = found.join("\n");
    head.append(button, armDot(arm), element("span", "arm", arm.label), scores);
    const picture = this.makeSpectrogram(clip);
    cell.append(picture);
    this.views.set(clip, { cell, button, playhead: picture.lastChild });
    return cell;
  }

  makeSpectrogram(clip) {
    const box = element("div", "spectrogram");
    const image = new Image();
    image.loading = "lazy";
    image.decoding = "async";
    image.alt = "";
    image.addEventListener("error", () => { document.getElementById("alone").hidden = false; });
    image.src = clip.image;
    box.append(image, element("div", "playhead"));
    box.addEventListener("click", (event) => {
      const frame = box.getBoundingClientRect();
      this.onPlay(clip, ((event.clientX - frame.left) / frame.width) * clip.duration);
    });
    return box;
  }

  scoreTexts(clip) {
    const texts = (clip.scores || []).map((value, i) =>
      value === null ? "" : `${this.data.metrics[i].name} ${scoreNumber(value)}`);
    return texts.filter((text) => text !== "");
  }

  // Mark what plays: the clip, its group's playheads, its card.
  paint(player) {
    const { clip } = player;
    for (const [other, view] of this.views) {
      const inGroup = clip !== null && other.group === clip.group;
      view.cell.classList.toggle("group", inGroup);
      view.cell.classList.toggle("active", other === clip);
      view.button.textContent = other === clip && player.playing ? "❚❚" : "▶";
      if (inGroup) view.playhead.style.left = `${(100 * player.position) / clip.duration}%`;
    }
    for (const card of this.cards) card.classList.toggle("current", clip !== null && card.promptIndex === clip.prompt);
  }

  movePlayheads(player) {
    for (let arm = 0; arm < this.data.arms.length; arm++) {
      const view = this.views.get(this.clips.get(`${player.clip.group}/${arm}`));
      if (view !== undefined) view.playhead.style.left = `${(100 * player.position) / player.clip.duration}%`;
    }
  }
}
