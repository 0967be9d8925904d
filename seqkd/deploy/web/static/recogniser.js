// A model in the page: its runtime, its network, and pieces of sound to words.
"use strict";
(function (seqkd) {
  function bytes(base64) {
    const text = atob(base64);
    const found = new Uint8Array(text.length);
    for (let n = 0; n < text.length; n++) found[n] = text.charCodeAt(n);
    return found;
  }

  async function unzipped(base64) {
    const stream = new Blob([bytes(base64)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // Nothing is fetched: a page that was opened from a file may not, and one thread needs no special headers.
  async function openSession(network) {
    const { glue, binary } = seqkd.runtime;
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmBinary = await unzipped(binary);
    ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(new Blob([bytes(glue)], { type: "text/javascript" })) };
    return ort.InferenceSession.create(await unzipped(network), { executionProviders: ["wasm"], logSeverityLevel: 3 });
  }

  // A network that takes a whole piece: features (1, T, F) to logits (1, T', C).
  class WholeNetwork {
    constructor(session) {
      this.session = session;
    }

    static async open(model) {
      return new WholeNetwork(await openSession(model.network));
    }

    async logits(features, frames, bins) {
      const output = await this.session.run({
        features: new ort.Tensor("float32", features, [1, frames, bins]),
        lengths: new ort.Tensor("int64", BigInt64Array.of(BigInt(frames)), [1]),
      });
      const [, count, classes] = output.logits.dims;
      return { logits: output.logits.data, frames: count, classes };
    }
  }

  class Recogniser {
    constructor(model, network) {
      this.model = model;
      this.network = network;
      this.fbank = new seqkd.Fbank(model.features);
    }

    static async open(model) {
      const kind = model.streaming ? seqkd.StepNetwork : WholeNetwork;
      const recogniser = new Recogniser(model, await kind.open(model));
      const first = recogniser.transcription();
      first.push(new Float32Array(recogniser.rate));
      await first.finish(); // compiles what is slow at first
      return recogniser;
    }

    transcription() {
      return new (this.model.streaming ? seqkd.StreamTranscription : seqkd.WholeTranscription)(this);
    }

    get rate() {
      return this.model.features.sample_rate;
    }

    // A piece { start in seconds, samples } to { start, words, probs (T' * C), frames, spent in seconds }.
    async recognise({ start, samples }) {
      const begun = performance.now();
      const settings = this.model.features;
      const found = { start, words: [], probs: new Float32Array(0), frames: 0, spent: 0 };
      if (1000 * samples.length < settings.frame_length_ms * settings.sample_rate) return found;
      const features = this.fbank.compute(samples);
      const frames = features.length / this.fbank.bins;
      const output = await this.network.logits(features, frames, this.fbank.bins);
      const decoded = seqkd.best(output.logits, output.frames, output.classes, this.model.blank_penalty);
      const { units, shift, centre } = this.model;
      const words = seqkd.timedWords(decoded, units, shift, centre);
      const level = seqkd.levels(features, frames, this.fbank.bins);
      found.words = seqkd.widen(words, level, settings.frame_shift_ms / 1000).map((word) => ({
        ...word,
        start: start + word.start,
        end: start + word.end,
      }));
      Object.assign(found, { probs: decoded.probs, frames: output.frames });
      found.spent = (performance.now() - begun) / 1000;
      return found;
    }
  }

  // A recording as it comes in: samples at the model's rate in, what was recognised so far out.
  class Recording {
    constructor(recogniser) {
      this.recogniser = recogniser;
      this.whole = []; // samples
      this.seconds = 0;
      this.finished = []; // pieces
      this.growing = null;
      this.spent = 0; // seconds of work
      this.last = 0; // seconds that the last update took
    }

    push(samples) {
      this.whole.push(samples);
      this.seconds += samples.length / this.recogniser.rate;
    }

    get pieces() {
      return this.growing ? [...this.finished, this.growing] : this.finished;
    }

    get words() {
      return this.pieces.flatMap((piece) => piece.words);
    }

    // Work by audio time.
    get factor() {
      return this.spent / this.seconds;
    }
  }

  // By a network that takes whole pieces: the one that grows is recognised again each time.
  class WholeTranscription extends Recording {
    constructor(recogniser) {
      super(recogniser);
      this.cutter = new seqkd.Cutter(recogniser.rate);
      this.waiting = [];
    }

    push(samples) {
      super.push(samples);
      this.waiting.push(...this.cutter.push(samples));
    }

    // Recognise what has come in; `changed` is called after each piece.
    async update(changed) {
      while (this.waiting.length) {
        this.finished.push(await this.recogniser.recognise(this.waiting.shift()));
        this.growing = null;
        changed?.();
      }
      this.growing = await this.recogniser.recognise(this.cutter.rest);
      this.last = this.growing.spent;
      changed?.();
    }

    async finish(changed) {
      await this.update(changed);
    }

    // A piece that grew is counted as it was recognised last.
    get factor() {
      return this.pieces.reduce((sum, piece) => sum + piece.spent, 0) / this.seconds;
    }
  }

  Object.assign(seqkd, { openSession, Recogniser, Recording, WholeTranscription });
})((globalThis.seqkd ??= {}));
