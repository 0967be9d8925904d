// The page: files and the microphone in, words and the plot out.
"use strict";
(function (seqkd) {
  const UNSURE = 0.5; // confidence below which a word is marked
  const PATIENCE = 150; // milliseconds between two looks at what the microphone gave
  const DECODED = 48000; // Hz, to which the browser decodes
  const SERVER = "python3 -m http.server --bind 127.0.0.1 8000";
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;
  const model = seqkd.model;
  const audio = $("audio");
  let recogniser = null;
  let plot = null;
  let current = null; // { transcription, name }
  let microphone = null;
  let until = null; // where playing stops

  function say(state, text) {
    root.dataset.state = state;
    $("status").replaceChildren(...(Array.isArray(text) ? text : [text]));
  }

  class Fault extends Error {}

  async function samplesOf(file) {
    const buffer = await file.arrayBuffer();
    const wav = seqkd.parseWav(buffer);
    if (wav) return seqkd.resample(seqkd.average(wav.channels), wav.rate, recogniser.rate);
    try {
      // The browser decodes to the rate of the context. It may do that roughly where it has to go down.
      const decoded = await new OfflineAudioContext(1, 1, DECODED).decodeAudioData(buffer);
      const channels = Array.from({ length: decoded.numberOfChannels }, (_, n) => decoded.getChannelData(n));
      return seqkd.resample(seqkd.average(channels), DECODED, recogniser.rate);
    } catch {
      throw new Fault(`${file.name} cannot be read as audio by this browser; convert it to WAV and try again.`);
    }
  }

  async function recogniseFile(file) {
    if (!recogniser || root.dataset.state === "working" || microphone) return;
    say("working", `Reading ${file.name} …`);
    try {
      const samples = await samplesOf(file);
      const window = model.features.frame_length_ms;
      const length = (1000 * samples.length) / recogniser.rate;
      if (length < window) {
        throw new Fault(`${file.name} lasts ${length.toFixed(0)} ms, less than one frame of ${window} ms.`);
      }
      begin(file.name);
      listen(file);
      add(samples);
      say("working", `Recognising ${file.name} …`);
      await breathe();
      await current.transcription.finish(() => show(false));
      show(true);
      say("done", "");
    } catch (fault) {
      fail(fault);
    }
  }

  function fail(fault) {
    console.error(fault);
    say("error", fault instanceof Fault ? fault.message : `This did not work (${fault.message}).`);
  }

  const breathe = () => new Promise((resolve) => setTimeout(resolve));

  function begin(name) {
    current = { transcription: recogniser.transcription(), name };
    audio.pause();
    $("name").textContent = name;
    $("result").hidden = false;
    plot.clear();
    show(false);
  }

  function add(samples) {
    current.transcription.push(samples);
    plot.add(samples);
  }

  function show(whole) {
    const { transcription } = current;
    const { words, seconds } = transcription;
    showWords(words);
    $("words").scrollTop = whole ? 0 : $("words").scrollHeight;
    plot.show(transcription.pieces, words, seconds, whole);
    const work = seconds * transcription.factor;
    const sure = words.reduce((sum, { confidence }) => sum + confidence, 0) / words.length;
    $("seconds").textContent = `${seconds.toFixed(2)} s`;
    $("spent").textContent = seconds ? `${work.toFixed(2)} s` : "–";
    $("factor").textContent = seconds ? transcription.factor.toFixed(3) : "–";
    $("sure").textContent = words.length ? `${Math.round(100 * sure)} %` : "–";
    for (const id of ["play", "copy", "save"]) $(id).disabled = !whole;
  }

  // Words that are as they were keep their place in the page: a long recording has thousands.
  function showWords(words) {
    const list = $("words");
    words.forEach((word, n) => {
      const key = `${word.text} ${word.start} ${word.end} ${word.confidence}`;
      const shown = list.children[n];
      if (shown?.dataset.key === key) return;
      const item = wordButton(word);
      item.dataset.key = key;
      if (shown) shown.replaceWith(item);
      else list.append(item);
    });
    while (list.children.length > words.length) list.lastChild.remove();
  }

  function wordButton({ text, start, end, confidence }) {
    const button = document.createElement("button");
    const [word, about, bar] = ["b", "span", "i"].map((tag) => document.createElement(tag));
    word.textContent = text;
    about.textContent = `${start.toFixed(2)}–${end.toFixed(2)} · ${Math.round(100 * confidence)} %`;
    bar.style.width = `${100 * confidence}%`;
    button.append(word, about, bar);
    button.title = "Play this word";
    button.onclick = () => play(start, end);
    const item = document.createElement("li");
    item.classList.toggle("unsure", confidence < UNSURE);
    Object.assign(item.dataset, { start, end });
    item.append(button);
    return item;
  }

  // In the form of `seqkd transcribe --format json`.
  seqkd.transcript = () => {
    const { words, seconds } = current.transcription;
    return {
      file: current.name,
      seconds: Number(seconds.toFixed(3)),
      text: words.map(({ text }) => text).join(" "),
      words: words.map(({ text, start, end, confidence }) => ({
        word: text,
        start: Number(start.toFixed(3)),
        end: Number(end.toFixed(3)),
        confidence: Number(confidence.toFixed(4)),
      })),
    };
  };

  // Playing

  function listen(blob) {
    if (audio.src) URL.revokeObjectURL(audio.src);
    audio.src = URL.createObjectURL(blob);
  }

  function play(from, to = null) {
    until = to;
    audio.currentTime = from;
    audio.play().catch(fail);
  }

  function follow() {
    if (until !== null && audio.currentTime >= until) audio.pause();
    plot.head = audio.paused ? null : audio.currentTime;
    for (const item of $("words").children) {
      const inside = !audio.paused && item.dataset.start <= audio.currentTime && audio.currentTime < item.dataset.end;
      item.firstChild.classList.toggle("now", inside);
    }
    plot.draw();
    if (!audio.paused) requestAnimationFrame(follow);
  }

  function wav(samples, rate) {
    const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
    const name = (at, text) => [...text].forEach((letter, n) => view.setUint8(at + n, letter.charCodeAt(0)));
    name(0, "RIFF");
    view.setUint32(4, 36 + 2 * samples.length, true);
    name(8, "WAVEfmt ");
    view.setUint32(16, 16, true);
    view.setUint16(20, 1, true);
    view.setUint16(22, 1, true);
    view.setUint32(24, rate, true);
    view.setUint32(28, 2 * rate, true);
    view.setUint16(32, 2, true);
    view.setUint16(34, 16, true);
    name(36, "data");
    view.setUint32(40, 2 * samples.length, true);
    samples.forEach((one, n) => {
      view.setInt16(44 + 2 * n, Math.max(-32768, Math.min(32767, Math.round(32768 * one))), true);
    });
    return new Blob([view], { type: "audio/wav" });
  }

  // Speaking

  const TAP = `registerProcessor("tap", class extends AudioWorkletProcessor {
    process([input]) {
      if (input.length) this.port.postMessage(input.map((channel) => channel.slice()));
      return true;
    }
  });`;

  async function startSpeaking() {
    if (!navigator.mediaDevices?.getUserMedia) {
      const command = document.createElement("code");
      command.textContent = SERVER;
      say("error", [
        "This browser gives the microphone to secure pages only: in this folder run ",
        command,
        " and open http://localhost:8000 here.",
      ]);
      return;
    }
    let stream;
    try {
      const plain = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
    } catch (refusal) {
      say("error", `The microphone cannot be used (${refusal.message}); allow it in the browser's settings.`);
      return;
    }
    const context = new AudioContext();
    // Where the page was opened from a file, Chromium takes no blob here.
    await context.audioWorklet.addModule(`data:text/javascript,${encodeURIComponent(TAP)}`);
    const tap = new AudioWorkletNode(context, "tap", { numberOfOutputs: 0 });
    const { sampleRate: from } = context;
    const resampler = from === recogniser.rate ? null : new seqkd.Resampler(from, recogniser.rate);
    microphone = { stream, context, resampler, open: true };
    begin("Microphone");
    tap.port.onmessage = ({ data }) => {
      if (!microphone?.open) return;
      const samples = seqkd.average(data);
      add(resampler ? resampler.push(samples) : samples);
    };
    context.createMediaStreamSource(stream).connect(tap);
    setSpeaking(true);
    say("speaking", "Speak; words appear as they are recognised.");
    while (microphone.open) {
      await current.transcription.update(() => show(false));
      const { last } = current.transcription;
      await new Promise((resolve) => setTimeout(resolve, Math.max(PATIENCE, 1000 * last)));
    }
    await finishSpeaking();
  }

  async function finishSpeaking() {
    const { stream, context, resampler } = microphone;
    stream.getTracks().forEach((track) => track.stop());
    await context.close();
    if (resampler) add(resampler.end());
    const { transcription } = current;
    await transcription.finish(() => show(false));
    listen(wav(seqkd.joined(transcription.whole), recogniser.rate));
    show(true);
    microphone = null;
    say("done", "");
  }

  function setSpeaking(on) {
    $("speak").setAttribute("aria-pressed", on);
    $("speak").lastElementChild.textContent = on ? "Stop" : "Speak";
    $("choose").disabled = on;
  }

  function toggleSpeaking() {
    if (!microphone) {
      if (root.dataset.state !== "working") startSpeaking().catch(fail);
      return;
    }
    microphone.open = false;
    setSpeaking(false);
  }

  // Beginning

  function connect() {
    const input = $("input");
    $("choose").onclick = () => $("file").click();
    $("file").onchange = ({ target }) => {
      const [file] = target.files;
      target.value = ""; // or the same file could not be chosen again
      if (file) recogniseFile(file);
    };
    $("speak").onclick = toggleSpeaking;
    $("play").onclick = () => (audio.paused ? play(0) : audio.pause());
    $("copy").onclick = () => {
      navigator.clipboard.writeText(seqkd.transcript().text).then(() => say("done", "Copied."), fail);
    };
    $("save").onclick = () => {
      const link = document.createElement("a");
      const text = JSON.stringify(seqkd.transcript(), null, 1);
      link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
      link.download = `${current.name.replace(/\.[^.]*$/, "")}.json`;
      link.click();
    };
    $("plot").onclick = ({ offsetX }) => {
      if (!$("play").disabled) play(plot.time(offsetX));
    };
    for (const kind of ["play", "pause", "ended"]) {
      audio.addEventListener(kind, () => {
        $("play").textContent = audio.paused ? "Play" : "Pause";
        follow();
      });
    }
    addEventListener("dragover", (event) => {
      event.preventDefault();
      input.classList.add("over");
    });
    addEventListener("dragleave", () => input.classList.remove("over"));
    addEventListener("drop", (event) => {
      event.preventDefault();
      input.classList.remove("over");
      const [file] = event.dataTransfer.files;
      if (file) recogniseFile(file);
    });
  }

  async function main() {
    $("label").textContent = model.label;
    document.title = `${model.label}: speech recogniser`;
    $("about").textContent = model.about;
    const runtime = `ONNX Runtime Web ${seqkd.runtime.version} (MIT licence)`;
    $("made").textContent = `Written by seqkd ${model.version}; runs on ${runtime}.`;
    plot = seqkd.plotted = new seqkd.Plot($("scroller"), $("track"), $("plot"), model);
    connect();
    recogniser = await seqkd.Recogniser.open(model);
    $("choose").disabled = $("speak").disabled = false;
    say("ready", "");
  }

  main().catch((fault) => say("error", `The model cannot be loaded in this browser (${fault.message}).`));
})((globalThis.seqkd ??= {}));
