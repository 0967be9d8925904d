// The plot: waveform, words, and the posteriorgram (units by time), of which only what is in view is drawn.
"use strict";
(function (seqkd) {
  const WAVE = 56; // heights and margins in CSS pixels
  const BAND = 26;
  const AXIS = 22;
  const GAP = 6;
  const PEAK = 0.01; // seconds of a column of the waveform
  const SEEN = 0.1; // probability from which a unit has a row
  const ROWS = 48; // at most
  const SLOWEST = 110; // pixels a second at least

  class Plot {
    constructor(scroller, track, canvas, model) {
      Object.assign(this, { scroller, track, canvas, model });
      this.clear();
      scroller.addEventListener("scroll", () => this.draw());
      new ResizeObserver(() => this.layout()).observe(scroller);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    }

    clear() {
      this.peaks = [];
      this.rest = [];
      this.seen = new WeakMap(); // units of a piece
      this.rate = this.model.features.sample_rate;
      this.show([], [], 0, true);
      this.head = null;
    }

    // Samples that were added.
    add(samples) {
      const column = Math.round(PEAK * this.rate);
      const all = this.rest.length ? [...this.rest, ...samples] : samples;
      let at = 0;
      for (; at + column <= all.length; at += column) {
        let peak = 0;
        for (let n = at; n < at + column; n++) peak = Math.max(peak, Math.abs(all[n]));
        this.peaks.push(peak);
      }
      this.rest = Array.from(all.slice(at));
    }

    // `pieces` and `words` of a transcription that lasts `seconds`; `whole`: it does not grow any more.
    show(pieces, words, seconds, whole) {
      Object.assign(this, { pieces, words, seconds, whole });
      this.rows = this.units();
      this.layout();
      this.scroller.scrollLeft = whole ? 0 : this.track.clientWidth;
    }

    // Units that have a row, in the order in which they come.
    units() {
      const classes = this.model.units.length;
      const found = new Set();
      for (const piece of this.pieces) {
        if (!this.seen.has(piece)) {
          const { probs } = piece;
          const units = new Set();
          for (let n = 0; n < probs.length; n++) if (n % classes && probs[n] >= SEEN) units.add(n % classes);
          this.seen.set(piece, units);
        }
        this.seen.get(piece).forEach((id) => found.add(id));
      }
      return [...found].slice(0, ROWS);
    }

    layout() {
      const width = this.scroller.clientWidth;
      if (!width) return;
      const context = this.canvas.getContext("2d");
      context.font = font(12);
      this.row = this.rows.length > 20 ? 13 : 18;
      this.gutter = Math.max(34, ...this.rows.map((id) => context.measureText(label(this.model.units[id])).width + 16));
      const fit = (width - this.gutter - 30) / Math.max(this.seconds, 0.5);
      this.scale = Math.max(SLOWEST, Math.min(fit, this.whole ? 800 : 240));
      this.height = WAVE + BAND + 2 * GAP + Math.max(3, this.rows.length) * this.row + AXIS;
      this.track.style.width = `${Math.max(width, Math.ceil(this.gutter + this.seconds * this.scale + 30))}px`;
      const ratio = devicePixelRatio || 1;
      Object.assign(this.canvas, { width: width * ratio, height: this.height * ratio });
      Object.assign(this.canvas.style, { width: `${width}px`, height: `${this.height}px` });
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      this.width = width;
      this.draw();
    }

    x(seconds) {
      return this.gutter + seconds * this.scale - this.scroller.scrollLeft;
    }

    // The time at a pixel of the canvas.
    time(x) {
      return Math.max(0, (x - this.gutter + this.scroller.scrollLeft) / this.scale);
    }

    draw() {
      if (!this.width) return;
      const style = getComputedStyle(document.documentElement);
      const colour = (name) => style.getPropertyValue(`--${name}`).trim();
      const context = this.canvas.getContext("2d");
      context.clearRect(0, 0, this.width, this.height);
      context.save();
      context.beginPath();
      context.rect(this.gutter, 0, this.width, this.height);
      context.clip();
      this.drawWave(context, colour);
      this.drawWords(context, colour);
      this.drawUnits(context, colour);
      this.drawAxis(context, colour);
      if (this.head !== null) {
        context.fillStyle = colour("head");
        context.fillRect(this.x(this.head) - 1, 0, 2, this.height - AXIS);
      }
      context.restore();
      this.drawLabels(context, colour);
    }

    drawWave(context, colour) {
      context.fillStyle = colour("wave");
      const loudest = Math.max(1e-3, ...this.peaks.slice(-6000));
      const first = Math.max(0, Math.floor(this.time(this.gutter) / PEAK));
      const last = Math.min(this.peaks.length - 1, Math.ceil(this.time(this.width) / PEAK));
      for (let n = first; n <= last; n++) {
        const half = Math.max(0.5, (this.peaks[n] / loudest) * (WAVE / 2 - 4));
        context.fillRect(this.x(n * PEAK), WAVE / 2 - half, Math.max(0.8, PEAK * this.scale * 0.8), 2 * half);
      }
    }

    drawWords(context, colour) {
      const top = WAVE;
      context.textBaseline = "middle";
      context.textAlign = "center";
      for (const { text, start, end, confidence } of this.words) {
        const [left, right] = [this.x(start), this.x(end)];
        if (right < this.gutter || left > this.width) continue;
        context.fillStyle = `rgb(${colour("unit")} / ${0.12 + 0.2 * confidence})`;
        context.beginPath();
        context.roundRect(left + 1, top, Math.max(2, right - left - 2), BAND, 5);
        context.fill();
        context.fillStyle = confidence < 0.5 ? colour("low") : colour("ink");
        const fits = [13, 11, 9].some((size) => {
          context.font = font(size, 600);
          return context.measureText(text).width < right - left - 4;
        });
        if (fits) context.fillText(text, (left + right) / 2, top + BAND / 2 + 1);
      }
    }

    get top() {
      return WAVE + BAND + 2 * GAP;
    }

    drawUnits(context, colour) {
      const classes = this.model.units.length;
      const { shift, centre } = this.model;
      const unit = colour("unit");
      context.fillStyle = colour("line");
      this.rows.forEach((_, row) => {
        context.fillRect(this.gutter, this.top + (row + 1) * this.row - 0.5, this.width, 0.5);
      });
      for (const { start, probs, frames } of this.pieces) {
        const from = (t) => start + Math.max(0, centre + (t - 0.5) * shift);
        const first = Math.max(0, Math.floor((this.time(this.gutter) - start) / shift) - 1);
        const last = Math.min(frames - 1, Math.ceil((this.time(this.width) - start) / shift) + 1);
        for (let t = first; t <= last; t++) {
          const left = this.x(from(t));
          const width = Math.max(1, this.x(from(t + 1)) - left);
          this.rows.forEach((id, row) => {
            const p = probs[t * classes + id];
            if (p < 0.02) return;
            context.fillStyle = `rgb(${unit} / ${p ** 0.7})`;
            context.fillRect(left, this.top + row * this.row + 1, width + 0.4, this.row - 2);
          });
        }
      }
    }

    drawAxis(context, colour) {
      const step = [0.1, 0.2, 0.5, 1, 2, 5].find((one) => one * this.scale >= 56) ?? 10;
      const bottom = this.height - AXIS;
      context.font = font(11);
      context.textAlign = "left";
      context.fillStyle = colour("soft");
      const last = Math.min(this.seconds, this.time(this.width));
      for (let n = Math.floor(this.time(this.gutter) / step); n * step <= last; n++) {
        const left = this.x(n * step);
        context.fillRect(left, bottom, 1, 5);
        const digits = step < 1 ? 1 : 0;
        context.fillText(`${(n * step).toFixed(digits)} s`, left + 4, bottom + AXIS / 2 + 1);
      }
    }

    drawLabels(context, colour) {
      context.font = font(12);
      context.textAlign = "right";
      context.textBaseline = "middle";
      context.fillStyle = colour("ink");
      this.rows.forEach((id, row) => {
        context.fillText(label(this.model.units[id]), this.gutter - 8, this.top + (row + 0.5) * this.row + 1);
      });
    }
  }

  const FAMILY = 'system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif';
  const font = (size, weight = 400) => `${weight} ${size}px ${FAMILY}`;
  const label = (unit) => unit.replaceAll("▁", "") || "␣";

  seqkd.Plot = Plot;
})((globalThis.seqkd ??= {}));
