"use strict";

// One clip sounds at a time. A group is one prompt, length and seed: its clips differ by method only, so a switch
// inside a group keeps the playback position. An Audio element is made when its clip is first played, not before.
class Player {
  constructor(onChange) {
    this.onChange = onChange;
    this.clip = null;
    this.audio = null;
    this.error = "";
    this.loop = false;
    this.cache = new Map();
  }

  get playing() { return this.audio !== null && !this.audio.paused && !this.audio.ended; }

  get position() { return this.audio === null ? 0 : this.audio.currentTime; }

  // Play a clip: at the given position in seconds, else where the group stands, else from the start.
  play(clip, position) {
    const sameGroup = this.clip !== null && this.clip.group === clip.group;
    let start = position;
    if (start === undefined) start = sameGroup && !this.audio.ended ? this.position : 0;
    if (start >= clip.duration) start = 0;
    if (this.audio !== null) this.audio.pause();
    if (!sameGroup) this.forget();
    this.clip = clip;
    this.error = "";
    this.audio = this.audioOf(clip);
    this.audio.currentTime = start;
    this.resume();
  }

  resume() {
    const audio = this.audio;
    if (audio.ended) audio.currentTime = 0;
    audio.play().catch((reason) => {
      // A pause or a switch before playback began is no error.
      if (audio === this.audio && reason.name !== "AbortError") this.fail(reason.message);
    });
    this.onChange();
  }

  toggle() {
    if (this.audio === null) return;
    if (this.playing) this.audio.pause();
    else this.resume();
  }

  seek(position) {
    if (this.audio === null) return;
    this.audio.currentTime = Math.min(Math.max(position, 0), this.clip.duration);
    this.onChange();
  }

  audioOf(clip) {
    let audio = this.cache.get(clip);
    if (audio === undefined) {
      audio = new Audio();
      audio.preload = "auto";
      audio.src = clip.audio;
      for (const name of ["play", "pause", "seeked"]) audio.addEventListener(name, () => this.onChange());
      audio.addEventListener("ended", () => this.ended(audio));
      audio.addEventListener("error", () => { if (audio === this.audio) this.fail("the audio file cannot be played"); });
      this.cache.set(clip, audio);
    }
    return audio;
  }

  ended(audio) {
    if (audio !== this.audio) return;
    if (this.loop) this.play(this.clip, 0);
    else this.onChange();
  }

  fail(message) {
    this.error = message;
    this.onChange();
  }

  // Free the decoded audio of a group that was left.
  forget() {
    for (const audio of this.cache.values()) {
      audio.removeAttribute("src");
      audio.load();
    }
    this.cache.clear();
    this.audio = null;
  }
}
