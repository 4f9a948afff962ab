// Uploads a trace in parts (tus 1.0), each with its checksum; one that broke off is resumed when the same file is chosen again.
// Without this script the browser sends the form as a whole.
"use strict";

const form = document.querySelector("[data-upload]");
if (form) {
  const PART_BYTES = 4 * 1024 * 1024;
  const HASHED_BYTES = 1024 * 1024;
  const TRIES = 6;
  const told = form.querySelector("[data-told]");
  const complaint = form.querySelector("[data-complaint]");
  const progress = form.querySelector("[data-progress]");
  const bar = progress.querySelector("progress");
  const send = form.querySelector("button[type=submit]");
  const stop = form.querySelector("[data-stop]");
  const number = new Intl.NumberFormat("en");
  // A page has the key under a mask that stands before it (services/dashboard/masks.py).
  const masked = atob(form.elements.form_key.value.slice(1).replaceAll("-", "+").replaceAll("_", "/"));
  const half = masked.length / 2;
  const key = Array.from(masked.slice(half), (each, place) =>
    String.fromCharCode(each.charCodeAt(0) ^ masked.charCodeAt(place))).join("");
  let stopped = null;

  const base64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const said = (text) => base64(new TextEncoder().encode(text));
  const wait = (ms) => new Promise((done) => { setTimeout(done, ms); });

  const tell = (text, done, total) => {
    told.textContent = text;
    bar.max = Math.max(total, 1);
    bar.value = done;
  };

  class Refused extends Error {}

  // An answer, or the reason why there is none. What a busy service refuses is asked again.
  const ask = async (method, address, options = {}) => {
    for (let tries = 1; ; tries += 1) {
      let answer = null;
      try {
        const headers = { "tus-resumable": "1.0.0", "x-csrf-token": key, ...options.headers };
        answer = await fetch(address, { method, body: options.body, headers, signal: stopped.signal });
      } catch (error) {
        if (error.name === "AbortError" || options.isOnce || tries >= TRIES) throw error;
      }
      if (answer && answer.ok) return answer;
      const isBusy = !answer || answer.status === 429 || answer.status >= 500;
      if (!isBusy || options.isOnce || tries >= TRIES) {
        const problem = await answer.json().catch(() => ({}));
        throw new Refused(problem.detail || `the service answered ${answer.status}`);
      }
      await wait(500 * 2 ** tries);
    }
  };

  const digestOf = async (file) => {
    const sum = new Sha256();
    for (let place = 0; place < file.size; place += HASHED_BYTES) {
      stopped.signal.throwIfAborted();
      sum.update(new Uint8Array(await file.slice(place, place + HASHED_BYTES).arrayBuffer()));
      const done = Math.min(place + HASHED_BYTES, file.size);
      tell(`Reading ${file.name}: ${number.format(done)} of ${number.format(file.size)} bytes`, done, file.size);
    }
    return hex(sum.digest());
  };

  // The address of an upload of this file that is open, or of a new one.
  const uploadOf = async (file, digest) => {
    const open = await (await ask("GET", `/api/v1/uploads?digest=${digest}`)).json();
    const mine = open.items.find((each) => each.state === "open" && each.size_bytes === file.size);
    if (mine) return `/api/v1/uploads/${mine.id}`;
    const words = { name: form.elements.name.value.trim(), tags: form.elements.tags.value.trim(), note: form.elements.note.value.trim(), sha256: digest };
    const metadata = Object.entries(words).filter(([, value]) => value).map(([name, value]) => `${name} ${said(value)}`).join(",");
    const made = await ask("POST", "/api/v1/uploads", { headers: { "upload-length": String(file.size), "upload-metadata": metadata } });
    return made.headers.get("location");
  };

  const offsetOf = async (address) => Number((await ask("HEAD", address)).headers.get("upload-offset"));

  const push = async (file, address) => {
    let offset = await offsetOf(address);
    let broken = 0;
    for (;;) {
      tell(`Sent ${number.format(offset)} of ${number.format(file.size)} bytes`, offset, file.size);
      const part = new Uint8Array(await file.slice(offset, offset + PART_BYTES).arrayBuffer());
      const headers = {
        "content-type": "application/offset+octet-stream",
        "upload-offset": String(offset),
        "upload-checksum": `sha256 ${base64(new Sha256().update(part).digest())}`,
      };
      try {
        const answer = await ask("PATCH", address, { headers, body: part, isOnce: true });
        const trace = answer.headers.get("refault-trace");
        if (trace) return trace;
        offset = Number(answer.headers.get("upload-offset"));
        broken = 0;
      } catch (error) {
        broken += 1;
        if (error instanceof Refused || error.name === "AbortError" || broken >= TRIES) throw error;
        await wait(500 * 2 ** broken);
        // What was safe before the connection broke is not sent again.
        offset = await offsetOf(address);
      }
    }
  };

  const upload = async (file) => {
    const digest = await digestOf(file);
    const known = await (await ask("GET", `/api/v1/traces?q=${digest}&limit=1`)).json();
    if (known.items.length) return `/traces/${digest}?uploaded=present`;
    await push(file, await uploadOf(file, digest));
    return `/traces/${digest}?uploaded=new`;
  };

  form.addEventListener("submit", async (event) => {
    const file = form.elements.file.files[0];
    if (!file) return;
    event.preventDefault();
    stopped = new AbortController();
    complaint.hidden = true;
    progress.hidden = false;
    send.disabled = true;
    stop.hidden = false;
    try {
      window.location.assign(await upload(file));
    } catch (error) {
      const isStopped = error.name === "AbortError";
      told.textContent = isStopped ? "Stopped. Choose the same file again to go on where it ended." : "";
      complaint.hidden = isStopped;
      complaint.textContent = error instanceof Refused
        ? error.message
        : "The connection broke. Choose the same file again to go on where it ended.";
      progress.hidden = true;
      send.disabled = false;
      stop.hidden = true;
    }
  });
  stop.addEventListener("click", () => stopped?.abort());
}
