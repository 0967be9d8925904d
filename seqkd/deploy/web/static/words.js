// From the network's logits to words with times and confidences, as `seqkd transcribe` finds them.
"use strict";
(function (seqkd) {
  const PAUSE = 0.2; // seconds
  const QUIET = 0.25; // of the way from the 10th to the 95th percentile
  const SMOOTH = 9; // feature frames

  // Units to text: "▁" begins a word.
  function text(units, ids) {
    return ids
      .map((id) => (units[id] === "<unk>" ? " ⁇ " : units[id]))
      .join("")
      .replaceAll("▁", " ")
      .trim();
  }

  const split = (line) => (line ? line.split(/\s+/) : []);

  // The best class of every frame, and its log-probability; `logits` (T' * C) lose the blank's penalty.
  // `probs` (T' * C) are the probabilities of all.
  function best(logits, frames, classes, penalty) {
    const path = new Int32Array(frames);
    const scores = new Float64Array(frames);
    const probs = new Float32Array(frames * classes);
    for (let t = 0; t < frames; t++) {
      const row = logits.subarray(t * classes, (t + 1) * classes);
      const value = (c) => (c === 0 ? Math.fround(row[0] - penalty) : row[c]);
      let top = 0;
      for (let c = 1; c < classes; c++) if (value(c) > value(top)) top = c;
      let sum = 0;
      for (let c = 0; c < classes; c++) sum += Math.exp(value(c) - value(top));
      for (let c = 0; c < classes; c++) probs[t * classes + c] = Math.exp(value(c) - value(top)) / sum;
      path[t] = top;
      scores[t] = -Math.log(sum);
    }
    return { path, scores, probs };
  }

  // Repeats merged, blanks removed: for each unit its id, its first frame, the one after its last, and its
  // probability, that of its surest frame. The best path is also the best alignment of what it spells.
  function spans({ path, scores }) {
    const found = [];
    for (let t = 0; t < path.length; ) {
      let end = t + 1;
      while (end < path.length && path[end] === path[t]) end++;
      if (path[t] !== 0) {
        const surest = Math.max(...scores.subarray(t, end));
        found.push({ id: path[t], begin: t, end, confidence: Math.min(1, Math.exp(surest)) });
      }
      t = end;
    }
    return found;
  }

  // Words of a best path: { text, start, end, confidence }, from the first frame of the first unit to the last frame
  // of the last one. `shift`: seconds between frames; `centre`: of the first one.
  function timedWords(decoded, units, shift, centre) {
    const found = spans(decoded);
    const ids = found.map(({ id }) => id);
    const words = split(text(units, ids)).map((word) => ({ text: word, start: null, end: 0, confidence: 1 }));
    const at = (frame) => Math.max(0, centre + (frame - 0.5) * shift);
    let before = "";
    found.forEach(({ begin, end, confidence }, position) => {
      const soFar = text(units, ids.slice(0, position + 1));
      const word = words[split(soFar).length - 1];
      if (word) word.confidence *= confidence;
      if (word && soFar !== before) {
        // A bare word boundary has no sound.
        word.start ??= at(begin);
        word.end = at(end);
      }
      before = soFar;
    });
    return words.filter((word) => word.start !== null);
  }

  // How loud feature frames are, in natural logarithms of power, smoothed.
  function levels(features, frames, bins) {
    const power = new Float64Array(frames);
    for (let t = 0; t < frames; t++) {
      for (let bin = 0; bin < bins; bin++) power[t] += Math.exp(features[t * bins + bin]);
    }
    const reach = Math.floor(SMOOTH / 2);
    return power.map((_, t) => {
      let sum = 0;
      for (let k = -reach; k <= reach; k++) sum += power[Math.min(Math.max(t + k, 0), frames - 1)];
      return Math.log(sum / SMOOTH);
    });
  }

  function percentile(values, share) {
    const sorted = Float64Array.from(values).sort();
    const at = (sorted.length - 1) * share;
    const low = Math.floor(at);
    const high = Math.min(low + 1, sorted.length - 1);
    return sorted[low] + (sorted[high] - sorted[low]) * (at - low);
  }

  function pauses(level, shift) {
    const quiet = percentile(level, 0.1);
    const loud = percentile(level, 0.95);
    const limit = quiet + QUIET * (loud - quiet);
    const found = [];
    for (let t = 0; t < level.length; ) {
      let end = t;
      while (end < level.length && level[end] < limit) end++;
      const edge = t === 0 || end === level.length;
      if (end > t && (edge || (end - t) * shift >= PAUSE - 1e-9)) found.push([t * shift, end * shift]);
      t = Math.max(end, t + 1);
    }
    return found;
  }

  // The quietest moment between two, or their middle if no frame has its centre between them.
  function quietest(level, shift, begin, end) {
    const first = Math.max(Math.ceil(begin / shift - 0.5), 0);
    const last = Math.min(Math.floor(end / shift - 0.5), level.length - 1);
    if (last < first) return (begin + end) / 2;
    let least = first;
    for (let t = first; t <= last; t++) if (level[t] < level[least]) least = t;
    return (least + 0.5) * shift;
  }

  // Gives each word the sound around it: a word lasts until a pause begins, or until the quietest moment before the
  // next one. `level`: from `levels`; `shift`: seconds between feature frames.
  function widen(words, level, shift) {
    if (!words.length) return [];
    const quiet = pauses(level, shift);
    const length = level.length * shift;
    const inside = (moment) => quiet.some(([begin, end]) => begin < moment && moment < end);
    const starts = words.map(({ start }) => start);
    const ends = words.map(({ end }) => Math.min(end, length));
    const final = words.length - 1;
    if (!inside(starts[0])) {
      starts[0] = Math.max(0, ...quiet.map(([, end]) => end).filter((end) => end <= starts[0]));
    }
    if (!inside(ends[final])) {
      ends[final] = Math.min(length, ...quiet.map(([begin]) => begin).filter((begin) => begin >= ends[final]));
    }
    for (let left = 0; left < final; left++) {
      const [from, to] = [ends[left], starts[left + 1]];
      const between = quiet.filter(([begin, end]) => begin < to && end > from);
      if (between.length) {
        ends[left] = Math.max(between[0][0], from);
        starts[left + 1] = Math.min(between[between.length - 1][1], to);
      } else {
        ends[left] = starts[left + 1] = quietest(level, shift, from, to);
      }
    }
    return words.map((word, n) => ({ ...word, start: starts[n], end: ends[n] }));
  }

  Object.assign(seqkd, { best, spans, timedWords, levels, pauses, widen });
})((globalThis.seqkd ??= {}));
