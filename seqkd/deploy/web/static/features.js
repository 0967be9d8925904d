// Kaldi's log-mel filterbank, as torchaudio.compliance.kaldi.fbank computes it without dither, with snip_edges=False.
"use strict";
(function (seqkd) {
  const PREEMPHASIS = 0.97;
  const LOWEST = 20; // Hz
  const SCALE = 32768; // Kaldi works on 16-bit sample values
  const FLOOR = 2 ** -23; // float32's epsilon

  const mel = (frequency) => 1127 * Math.log(1 + frequency / 700);

  // Triangular filters over the bins of the Fourier transform: for each, its first bin and its weights.
  function melFilters(count, length, rate) {
    const low = mel(LOWEST);
    const step = (mel(rate / 2) - low) / (count + 1);
    return Array.from({ length: count }, (_, number) => {
      const left = low + number * step;
      let first = -1;
      const weights = [];
      for (let bin = 0; bin < length / 2; bin++) {
        const at = mel((bin * rate) / length);
        const weight = Math.min(at - left, left + 2 * step - at) / step;
        if (weight > 0) {
          if (first < 0) first = bin;
          weights.push(weight);
        }
      }
      return { first: Math.max(first, 0), weights: Float64Array.from(weights) };
    });
  }

  // Power spectra of real signals of `length` samples, a power of 2: an iterative radix-2 transform in float64.
  function spectrum(length) {
    const bits = Math.log2(length);
    const order = new Uint32Array(length);
    for (let i = 0; i < length; i++) {
      for (let bit = 0; bit < bits; bit++) order[i] |= ((i >> bit) & 1) << (bits - 1 - bit);
    }
    const cosines = Float64Array.from({ length: length / 2 }, (_, k) => Math.cos((2 * Math.PI * k) / length));
    const sines = Float64Array.from({ length: length / 2 }, (_, k) => -Math.sin((2 * Math.PI * k) / length));
    const re = new Float64Array(length);
    const im = new Float64Array(length);
    return (signal, power) => {
      for (let i = 0; i < length; i++) re[i] = signal[order[i]];
      im.fill(0);
      for (let half = 1; half < length; half *= 2) {
        const stride = length / (2 * half);
        for (let start = 0; start < length; start += 2 * half) {
          for (let k = 0; k < half; k++) {
            const c = cosines[k * stride];
            const s = sines[k * stride];
            const a = start + k;
            const b = a + half;
            const real = re[b] * c - im[b] * s;
            const imaginary = re[b] * s + im[b] * c;
            re[b] = re[a] - real;
            im[b] = im[a] - imaginary;
            re[a] += real;
            im[a] += imaginary;
          }
        }
      }
      for (let i = 0; i < power.length; i++) power[i] = re[i] * re[i] + im[i] * im[i];
    };
  }

  class Fbank {
    // `settings`: sample_rate in Hz, num_mel_bins, frame_length_ms, frame_shift_ms.
    constructor(settings) {
      const { sample_rate: rate, num_mel_bins: bins } = settings;
      this.bins = bins;
      this.shift = Math.floor(rate * settings.frame_shift_ms * 0.001);
      this.window = Math.floor(rate * settings.frame_length_ms * 0.001);
      this.offset = Math.floor(this.window / 2) - Math.floor(this.shift / 2); // of the first window, before the signal
      this.length = 2 ** Math.ceil(Math.log2(this.window));
      // Povey's window: like Hann's, but without its flat foot.
      this.taper = Float64Array.from(
        { length: this.window },
        (_, n) => (0.5 - 0.5 * Math.cos((2 * Math.PI * n) / (this.window - 1))) ** 0.85,
      );
      this.filters = melFilters(bins, this.length, rate);
      this.transform = spectrum(this.length);
    }

    frames(samples) {
      return Math.floor((samples + Math.floor(this.shift / 2)) / this.shift);
    }

    // Samples (N,) in [-1, 1] to log energies (T * F,), frame after frame. The signal is mirrored at its ends.
    // `begin` and `end`: only these frames of them.
    compute(samples, begin = 0, end = this.frames(samples.length)) {
      const count = samples.length;
      const output = new Float32Array((end - begin) * this.bins);
      const frame = new Float64Array(this.length);
      const power = new Float64Array(this.length / 2);
      for (let t = begin; t < end; t++) {
        let mean = 0;
        for (let n = 0; n < this.window; n++) {
          let at = t * this.shift + n - this.offset;
          if (at < 0) at = -1 - at;
          if (at >= count) at = 2 * count - 1 - at;
          frame[n] = SCALE * samples[at];
          mean += frame[n];
        }
        mean /= this.window;
        for (let n = this.window - 1; n >= 0; n--) {
          const before = frame[Math.max(n - 1, 0)] - mean;
          frame[n] = (frame[n] - mean - PREEMPHASIS * before) * this.taper[n];
        }
        this.transform(frame, power);
        this.filters.forEach(({ first, weights }, bin) => {
          let energy = 0;
          for (let k = 0; k < weights.length; k++) energy += weights[k] * power[first + k];
          output[(t - begin) * this.bins + bin] = Math.log(Math.max(energy, FLOOR));
        });
      }
      return output;
    }
  }

  seqkd.Fbank = Fbank;
})((globalThis.seqkd ??= {}));
