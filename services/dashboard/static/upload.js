// Uploads a trace in parts (tus 1.0), each with its checksum; one that broke off is resumed when the same file is chosen again.
// Without this script the browser sends the form as a whole.
"use strict";

const form = document.querySelector("[data-upload]");
if (form) {
  const PART_BYTES = 4 * 1024 * 1024;
  const HASHED_BYTES = 1024 * 1024;
  const TRIES = 6;
  // What an answer that says when to ask again is waited for, at most.
  const PATIENCE_MS = 60_000;
  // The longest Upload-Metadata that the service reads (services/api/uploads/protocol.py).
  const METADATA_MAX = 16 * 1024;
  const told = form.querySelector("[data-told]");
  const complaint = form.querySelector("[data-complaint]");
  const progress = form.querySelector("[data-progress]");
  const bar = progress.querySelector("progress");
  const send = form.querySelector("button[type=submit]");
  const stop = form.querySelector("[data-stop]");
  const number = new Intl.NumberFormat("en");
  const BROKEN = "The connection broke.";
  // A page has the key under a mask that stands before it (services/dashboard/masks.py).
  const masked = atob(form.elements.form_key.value.slice(1).replaceAll("-", "+").replaceAll("_", "/"));
  const half = masked.length / 2;
  const key = Array.from(masked.slice(half), (each, place) =>
    String.fromCharCode(each.charCodeAt(0) ^ masked.charCodeAt(place))).join("");
  let stopped = null;

  const base64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const said = (text) => base64(new TextEncoder().encode(text));
  const wait = (ms) => new Promise((done, fail) => {
    const timer = setTimeout(done, ms);
    stopped.signal.addEventListener("abort", () => {
      clearTimeout(timer);
      fail(stopped.signal.reason);
    }, { once: true });
  });

  const sentence = (text) => (/[.!?]$/.test(text) ? text : `${text}.`);

  const tell = (text, done, total) => {
    told.textContent = text;
    bar.max = Math.max(total, 1);
    bar.value = done;
  };

  // An answer that stands: the same request would get it again.
  class Refused extends Error {}

  // No answer yet, as the service is busy or gone; `pauseMs` is when to ask again, if it said so.
  class Busy extends Error {
    constructor(text, pauseMs = null) {
      super(text);
      this.pauseMs = pauseMs;
    }
  }

  const pauseOf = (answer) => {
    const told = answer.headers.get("retry-after");
    const ms = /^[0-9]{1,6}$/.test(told ?? "") ? Number(told) * 1000 : NaN;
    return Number.isNaN(ms) ? null : Math.min(ms, PATIENCE_MS);
  };

  // One answer; throws Refused, Busy, or AbortError.
  const once = async (method, address, options = {}) => {
    let answer;
    try {
      const headers = { "tus-resumable": "1.0.0", "x-csrf-token": key, ...options.headers };
      answer = await fetch(address, { method, body: options.body, headers, signal: stopped.signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Busy(BROKEN);
    }
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({}));
    const text = problem.detail || `The service answered ${answer.status}.`;
    if (answer.status === 429 || answer.status >= 500) throw new Busy(text, pauseOf(answer));
    throw new Refused(text);
  };

  // Waits before the next try; throws the error where it is none to try again after, or the last.
  const pause = async (error, tries) => {
    if (!(error instanceof Busy) || tries >= TRIES) throw error;
    await wait(error.pauseMs ?? 500 * 2 ** tries);
  };

  // An answer, or the reason why there is none. What a busy service refuses is asked again.
  const ask = async (method, address, options) => {
    for (let tries = 1; ; tries += 1) {
      try {
        return await once(method, address, options);
      } catch (error) {
        await pause(error, tries);
      }
    }
  };

  const words = () => Object.fromEntries(["name", "tags", "note"].map((name) => [name, form.elements[name].value.trim()]));
  const metadataOf = (digest) => Object.entries({ ...words(), sha256: digest })
    .filter(([, value]) => value).map(([name, value]) => `${name} ${said(value)}`).join(",");

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
    const headers = { "upload-length": String(file.size), "upload-metadata": metadataOf(digest) };
    const made = await ask("POST", "/api/v1/uploads", { headers });
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
        const answer = await once("PATCH", address, { headers, body: part });
        const trace = answer.headers.get("refault-trace");
        if (trace) return trace;
        offset = Number(answer.headers.get("upload-offset"));
        broken = 0;
      } catch (error) {
        broken += 1;
        await pause(error, broken);
        // What was safe before the connection broke is not sent again.
        offset = await offsetOf(address);
      }
    }
  };

  const upload = async (file) => {
    // Said before the file is read: the digest is as long as any other.
    if (metadataOf("0".repeat(64)).length > METADATA_MAX) {
      throw new Refused("Name, tags and note are too long to be sent with a trace: shorten the note, or add it on the page of the trace.");
    }
    const digest = await digestOf(file);
    // The search finds notes that name the digest, too.
    const known = await (await ask("GET", `/api/v1/traces?q=${digest}`)).json();
    if (known.items.some((each) => each.digest === digest)) return `/traces/${digest}?uploaded=present`;
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
      complaint.textContent = error instanceof Refused ? error.message : `${sentence(error.message)} Choose the same file again to go on where it ended.`;
      progress.hidden = true;
      send.disabled = false;
      stop.hidden = true;
    }
  });
  stop.addEventListener("click", () => stopped?.abort());
}
