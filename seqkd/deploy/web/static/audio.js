// Recordings to samples of one channel at the model's rate, and to pieces that the network takes one by one.
"use strict";
(function (seqkd) {
  const ZEROS = 32; // zero crossings of the low-pass filter on each side
  const BETA = 10; // of its Kaiser window: 100 dB
  const PASSED = 0.95; // of the lower Nyquist frequency
  const LONGEST = 30; // seconds of a piece
  const WINDOW = 0.2; // seconds that must be quiet where a recording is cut
  const HOP = 0.01; // seconds between the windows that are compared

  // A RIFF WAVE file (ArrayBuffer) of PCM or float samples as { rate, channels: [Float32Array, ...] };
  // null if it is anything else.
  function parseWav(buffer) {
    const view = new DataView(buffer);
    const name = (at) => String.fromCharCode(...new Uint8Array(buffer, at, 4));
    if (buffer.byteLength < 12 || name(0) !== "RIFF" || name(8) !== "WAVE") return null;
    let format = null;
    for (let at = 12; at + 8 <= buffer.byteLength; ) {
      const kind = name(at);
      const size = view.getUint32(at + 4, true);
      const start = at + 8;
      if (kind === "fmt ") {
        let code = view.getUint16(start, true);
        if (code === 0xfffe && size >= 26) code = view.getUint16(start + 24, true); // extensible
        format = {
          code,
          count: view.getUint16(start + 2, true),
          rate: view.getUint32(start + 4, true),
          bits: view.getUint16(start + 14, true),
        };
      } else if (kind === "data") {
        const read = format && reader(view, format);
        if (!read || !format.count || !format.rate) return null;
        const bytes = format.bits / 8;
        // A writer to a pipe does not know the length beforehand.
        const end = Math.min(start + size, buffer.byteLength);
        const frames = Math.floor((end - start) / (bytes * format.count));
        const channels = Array.from({ length: format.count }, () => new Float32Array(frames));
        for (let n = 0, from = start; n < frames; n++) {
          for (const channel of channels) {
            channel[n] = read(from);
            from += bytes;
          }
        }
        return { rate: format.rate, channels };
      }
      at = start + size + (size % 2);
    }
    return null;
  }

  function reader(view, { code, bits }) {
    if (code === 1 && bits === 8) return (at) => (view.getUint8(at) - 128) / 128;
    if (code === 1 && bits === 16) return (at) => view.getInt16(at, true) / 32768;
    if (code === 1 && bits === 24) {
      return (at) => (view.getUint16(at, true) + 65536 * view.getInt8(at + 2)) / 8388608;
    }
    if (code === 1 && bits === 32) return (at) => view.getInt32(at, true) / 2147483648;
    if (code === 3 && bits === 32) return (at) => view.getFloat32(at, true);
    if (code === 3 && bits === 64) return (at) => view.getFloat64(at, true);
    return null;
  }

  function average(channels) {
    if (channels.length === 1) return channels[0];
    return channels[0].map((_, n) => channels.reduce((sum, channel) => sum + channel[n], 0) / channels.length);
  }

  // Changes the rate of a stream of samples by a Kaiser-windowed sinc filter, in step with it: no delay, no drift.
  class Resampler {
    constructor(from, to) {
      const common = greatestDivisor(from, to);
      [this.up, this.down] = [to / common, from / common];
      const cut = Math.min(1, to / from) * PASSED; // of the Nyquist frequency of the input
      this.half = Math.ceil(ZEROS / cut);
      this.phases = Array.from({ length: this.up }, (_, phase) => {
        const weights = Float64Array.from({ length: 2 * this.half }, (_, k) => {
          const x = k - this.half + 1 - phase / this.up;
          const sinc = x === 0 ? 1 : Math.sin(Math.PI * cut * x) / (Math.PI * cut * x);
          return cut * sinc * kaiser(x / this.half);
        });
        const gain = weights.reduce((sum, weight) => sum + weight, 0);
        return weights.map((weight) => weight / gain);
      });
      this.held = new Float32Array(this.half - 1); // silence before the beginning
      this.dropped = 1 - this.half; // position of held[0] in the input
      this.made = 0;
      this.seen = 0;
    }

    // Give samples, get those of the output that they complete.
    push(samples) {
      this.seen += samples.length;
      return this.make(samples, Infinity);
    }

    // The rest, as if silence came after the end.
    end() {
      return this.make(new Float32Array(this.half + 1), Math.ceil((this.seen * this.up) / this.down));
    }

    make(samples, most) {
      const input = joined([this.held, samples]);
      const output = new Float32Array(Math.ceil((input.length * this.up) / this.down) + 1);
      let count = 0;
      let position = 0;
      for (; this.made < most; this.made++) {
        const at = Math.floor((this.made * this.down) / this.up);
        position = at - this.half + 1 - this.dropped;
        if (position + 2 * this.half > input.length) break;
        const weights = this.phases[(this.made * this.down) % this.up];
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k] * input[position + k];
        output[count++] = sum;
      }
      const gone = Math.min(Math.max(position, 0), input.length);
      this.held = input.slice(gone);
      this.dropped += gone;
      return output.slice(0, count);
    }
  }

  function greatestDivisor(a, b) {
    return b ? greatestDivisor(b, a % b) : a;
  }

  function kaiser(x) {
    return Math.abs(x) >= 1 ? 0 : bessel(BETA * Math.sqrt(1 - x * x)) / bessel(BETA);
  }

  // The modified Bessel function of order 0, by its series.
  function bessel(x) {
    let sum = 1;
    for (let k = 1, term = 1; term > 1e-12 * sum; k++) {
      term *= (x / (2 * k)) ** 2;
      sum += term;
    }
    return sum;
  }

  function resample(samples, from, to) {
    if (from === to) return samples;
    const resampler = new Resampler(from, to);
    return joined([resampler.push(samples), resampler.end()]);
  }

  function joined(parts) {
    const whole = new Float32Array(parts.reduce((length, part) => length + part.length, 0));
    parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
    return whole;
  }

  // Cuts a stream of samples into pieces of at most 30 s, in the middle of the quietest 0.2 s of their second half.
  class Cutter {
    constructor(rate) {
      this.rate = rate;
      this.held = new Float32Array(0);
      this.start = 0; // of what is held, in samples
    }

    // Give samples, get the pieces that are complete: { start in seconds, samples }. `held` is the one that grows.
    push(samples) {
      const limit = Math.round(LONGEST * this.rate);
      const pieces = [];
      this.held = joined([this.held, samples]);
      while (this.held.length > limit) {
        const end = quietest(this.held.subarray(0, limit), this.rate);
        pieces.push({ start: this.start / this.rate, samples: this.held.slice(0, end) });
        this.held = this.held.slice(end);
        this.start += end;
      }
      return pieces;
    }

    get rest() {
      return { start: this.start / this.rate, samples: this.held };
    }
  }

  function quietest(samples, rate) {
    const window = Math.round(WINDOW * rate);
    const hop = Math.max(1, Math.round(HOP * rate));
    const half = Math.floor(samples.length / 2);
    const total = new Float64Array(samples.length - half + 1);
    for (let n = half; n < samples.length; n++) total[n - half + 1] = total[n - half] + samples[n] * samples[n];
    let best = 0;
    let least = Infinity;
    for (let begin = 0; begin < total.length - window; begin += hop) {
      const energy = total[begin + window] - total[begin];
      if (energy <= least) [best, least] = [begin, energy];
    }
    return half + best + Math.floor(window / 2);
  }

  Object.assign(seqkd, { parseWav, average, Resampler, resample, joined, Cutter });
})((globalThis.seqkd ??= {}));
