// A network that goes on where it stopped: sound to words chunk by chunk, as `seqkd transcribe --stream` finds them.
"use strict";
(function (seqkd) {
  const SILENCE = 0.8; // seconds that end a segment
  const LONGEST = 30; // seconds of a segment
  const FACTOR = 4; // feature frames of an encoder frame
  const PAINT = 60; // milliseconds between two looks at what there is

  // One step: features (1, 4n, F), how many of them there are, and a state, to logits (1, n, C) and a new state.
  class StepNetwork {
    constructor(session, state) {
      this.session = session;
      this.described = state;
    }

    static async open(model) {
      return new StepNetwork(await seqkd.openSession(model.network), model.streaming.state);
    }

    // Zeros.
    state() {
      return Object.entries(this.described).map(([name, { type, shape }]) => {
        const size = shape.reduce((product, one) => product * one, 1);
        const zeros = type === "int64" ? new BigInt64Array(size) : new Float32Array(size);
        return [name, new ort.Tensor(type, zeros, shape)];
      });
    }

    async step(features, frames, bins, count, state) {
      const output = await this.session.run({
        features: new ort.Tensor("float32", features, [1, frames, bins]),
        lengths: new ort.Tensor("int64", BigInt64Array.of(BigInt(count)), [1]),
        ...Object.fromEntries(state.map(([name, value]) => [`state_${name}`, value])),
      });
      return { logits: output.logits, state: state.map(([name]) => [name, output[`next_${name}`]]) };
    }
  }

  // Features of sound that is still coming in: a frame as soon as the last sample of its window is there.
  class GrowingFbank {
    constructor(fbank) {
      this.fbank = fbank;
      this.samples = new Float32Array(1 << 16);
      this.count = 0;
      this.made = 0;
    }

    push(samples) {
      while (this.count + samples.length > this.samples.length) {
        this.samples = seqkd.joined([this.samples, this.samples]); // twice as much room
      }
      this.samples.set(samples, this.count);
      this.count += samples.length;
      const { offset, window, shift } = this.fbank;
      return this.upTo(this.count < offset ? 0 : Math.floor((this.count + offset - window) / shift) + 1);
    }

    // The frames that are left when no more samples come.
    end() {
      return this.upTo(this.count < this.fbank.window ? 0 : this.fbank.frames(this.count));
    }

    upTo(total) {
      const { bins } = this.fbank;
      const first = this.made;
      if (total <= first) return [];
      this.made = total;
      const flat = this.fbank.compute(this.samples.subarray(0, this.count), first, total);
      return Array.from({ length: total - first }, (_, t) => flat.subarray(t * bins, (t + 1) * bins));
    }
  }

  // A recording as it comes in. The best path is never revised: each step adds to it.
  class StreamTranscription extends seqkd.Recording {
    constructor(recogniser) {
      super(recogniser);
      this.features = new GrowingFbank(recogniser.fbank);
      this.coming = []; // samples that were not looked at
      this.waiting = []; // feature frames of which no chunk is full
      this.state = recogniser.network.state();
      this.late = recogniser.model.streaming.delay; // outputs that are of no frame
      this.begin = 0; // encoder frame with which the segment begins
      this.frames = []; // feature frames of the segment, and of what is ahead of its logits
      this.rows = []; // its logits
      this.path = []; // their best classes
      this.painted = 0;
    }

    push(samples) {
      super.push(samples);
      this.coming.push(samples);
    }

    async update(changed) {
      await this.go(false, changed);
    }

    async finish(changed) {
      await this.go(true, changed);
      if (this.rows.length) this.cut(this.rows.length);
      this.growing = null;
      changed?.();
    }

    async go(ending, changed) {
      const { chunk, delay } = this.recogniser.model.streaming;
      const begun = performance.now();
      let shown = 0; // milliseconds that painting took
      const look = async () => {
        const from = performance.now();
        if (from - this.painted < PAINT) return;
        this.growing = this.rows.length ? this.segment(this.rows.length) : null;
        changed?.();
        await new Promise((resolve) => setTimeout(resolve));
        this.painted = performance.now();
        shown += this.painted - from;
      };
      const take = (frames) => {
        this.waiting.push(...frames);
        this.frames.push(...frames);
      };
      take(this.coming.splice(0).flatMap((samples) => this.features.push(samples)));
      if (ending) take(this.features.end());
      while (this.waiting.length >= FACTOR * chunk) {
        await this.step(this.waiting.splice(0, FACTOR * chunk));
        await look();
      }
      if (ending) {
        // Outputs that are still to come.
        for (let left = Math.ceil(this.waiting.length / FACTOR) + delay; left > 0; left -= chunk) {
          await this.step(this.waiting.splice(0, FACTOR * chunk), left);
        }
      }
      this.last = (performance.now() - begun - shown) / 1000;
      this.spent += this.last;
      if (this.last) await look();
    }

    async step(features, most = Infinity) {
      const { fbank, network, model } = this.recogniser;
      const size = FACTOR * model.streaming.chunk;
      const padded = new Float32Array(size * fbank.bins);
      features.forEach((frame, t) => padded.set(frame, t * fbank.bins));
      const { logits, state } = await network.step(padded, size, fbank.bins, features.length, this.state);
      this.state = state;
      const [, count, classes] = logits.dims;
      const valid = Math.min(count, most);
      const skipped = Math.min(this.late, valid);
      this.late -= skipped;
      for (let t = skipped; t < valid; t++) {
        const row = logits.data.slice(t * classes, (t + 1) * classes);
        this.rows.push(row);
        this.path.push(seqkd.best(row, 1, classes, model.blank_penalty).path[0]);
      }
      this.divide();
    }

    // End the segment where it has ended, or drop what is silent before it.
    divide() {
      const { shift } = this.recogniser.model;
      const said = this.path.findLastIndex((id) => id !== 0);
      if (said < 0) {
        this.cut(Math.max(0, this.rows.length - Math.round(SILENCE / shift)));
        return;
      }
      const nothing = (this.rows.length - 1 - said) * shift;
      if (nothing >= SILENCE && (nothing >= 2 * SILENCE || this.quiet())) {
        this.cut(this.rows.length);
      } else if (this.rows.length * shift >= LONGEST) {
        const blank = this.path.lastIndexOf(0);
        this.cut(blank > Math.floor(this.rows.length / 2) ? blank + 1 : this.rows.length);
      }
    }

    quiet() {
      const step = this.recogniser.model.features.frame_shift_ms / 1000;
      const level = this.level(this.rows.length);
      const [begin, end] = seqkd.pauses(level, step).pop() ?? [0, 0];
      const length = level.length * step;
      return end > 0 && end >= length - 1e-9 && length - begin >= SILENCE - 1e-9;
    }

    level(frames) {
      const { bins } = this.recogniser.fbank;
      const rows = this.frames.slice(0, FACTOR * frames);
      return seqkd.levels(seqkd.joined(rows), rows.length, bins);
    }

    // The segment's first frames as a piece.
    segment(frames) {
      const { model } = this.recogniser;
      const start = this.begin * model.shift;
      const logits = seqkd.joined(this.rows.slice(0, frames));
      const found = seqkd.best(logits, frames, model.units.length, model.blank_penalty);
      let words = seqkd.timedWords(found, model.units, model.shift, model.centre);
      if (words.length) words = seqkd.widen(words, this.level(frames), model.features.frame_shift_ms / 1000);
      words = words.map((word) => ({ ...word, start: start + word.start, end: start + word.end }));
      return { start, words, probs: found.probs, frames };
    }

    // Finish the segment's first frames; the others begin the next one.
    cut(frames) {
      if (!frames) return;
      this.finished.push(this.segment(frames));
      this.begin += frames;
      this.frames.splice(0, FACTOR * frames);
      this.rows.splice(0, frames);
      this.path.splice(0, frames);
      this.growing = null;
    }
  }

  Object.assign(seqkd, { StepNetwork, GrowingFbank, StreamTranscription });
})((globalThis.seqkd ??= {}));
