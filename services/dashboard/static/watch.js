// Live progress of a batch or of a kernel. Without this script the page reloads every few seconds.
"use strict";

// Thousands of cells: only those that changed are exchanged, and the table stays as it is.
// A row that did not change comes empty. False where the two tables do not have the same rows and
// columns.
const exchangeCells = (now, next) => {
  const rows = now.querySelectorAll(".matrix tbody tr");
  const others = next.querySelectorAll(".matrix tbody tr");
  const head = now.querySelector(".matrix thead");
  if (!rows.length || rows.length !== others.length) return false;
  if (!head.isEqualNode(next.querySelector(".matrix thead"))) return false;
  // What stands beside the table, such as the legend of its signs, is exchanged as a whole.
  const beside = (part) => [...part.children].filter((each) => !each.querySelector(".matrix"));
  const [mine, theirs] = [beside(now), beside(next)];
  if (mine.length !== theirs.length) return false;
  rows.forEach((row, number) => {
    if (!others[number].cells.length || row.isEqualNode(others[number])) return;
    row.dataset.row = others[number].dataset.row;
    [...row.cells].forEach((cell, place) => {
      const other = others[number].cells[place];
      if (other && !cell.isEqualNode(other)) cell.replaceWith(other.cloneNode(true));
    });
  });
  mine.forEach((each, place) => {
    if (!each.isEqualNode(theirs[place])) each.replaceWith(theirs[place].cloneNode(true));
  });
  return true;
};

const replace = (next) => {
  const now = document.querySelector(`[data-part="${CSS.escape(next.dataset.part)}"]`);
  if (!now) return;
  // The key of a form is written in another way each time; what is there is as good.
  const keys = now.querySelectorAll("[name=form_key]");
  next.querySelectorAll("[name=form_key]").forEach((each, place) => {
    if (keys[place]) each.setAttribute("value", keys[place].getAttribute("value"));
  });
  if (now.isEqualNode(next)) return;
  // Keep opened and scrolled elements as they are.
  const details = now.querySelectorAll("details");
  next.querySelectorAll("details").forEach((each, place) => {
    each.open = Boolean(details[place]?.open);
  });
  if (exchangeCells(now, next)) return;
  // A table of other columns, of which some rows were left out: it is asked for as a whole.
  if (next.querySelector("tr[data-row]:empty")) {
    now.querySelectorAll("[data-row]").forEach((row) => row.removeAttribute("data-row"));
    document.dispatchEvent(new Event("refault:whole"));
    return;
  }
  const scrolled = [...now.querySelectorAll(".scroll")].map((each) => [each.scrollLeft, each.scrollTop]);
  now.replaceWith(next);
  next.querySelectorAll(".scroll").forEach((each, place) => {
    [each.scrollLeft, each.scrollTop] = scrolled[place] ?? [0, 0];
  });
};

const live = document.querySelector("[data-events]");
if (live && window.EventSource) {
  const PAUSE_MS = 1000;
  const RELOAD_MS = 5000;
  // As many as an address may name (batch_pages.py).
  const ROWS_MAX = 600;
  const number = new Intl.NumberFormat("en");
  const source = new EventSource(live.dataset.events);
  let finished = Number(live.dataset.finished);
  let isOver = false;
  let isFetching = false;
  let isWanted = false;
  let compiled = "[]";

  // Fetches the changed parts, one request at a time with a pause after each; the next has what changed meanwhile.
  const refresh = async () => {
    isFetching = true;
    isWanted = false;
    const began = performance.now();
    try {
      const sections = [...document.querySelectorAll("[data-version]")];
      const address = new URL(live.dataset.parts, window.location.href);
      address.searchParams.set("have", sections.map((each) => each.dataset.version).join("."));
      const rows = [...document.querySelectorAll(".matrix tr[data-row]")];
      if (rows.length <= ROWS_MAX) address.searchParams.set("rows", rows.map((each) => each.dataset.row).join("."));
      const answer = await fetch(address);
      if (answer.redirected) {
        // The login has ended: redirect to the login form.
        window.location.reload();
        return;
      }
      isWanted ||= !answer.ok;
      if (answer.ok) {
        const parts = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const part of parts.querySelectorAll("[data-part]")) replace(part);
        // Audits have no stream of events: once the runs are over, they are asked for.
        isWanted ||= isOver && live.querySelector("[data-audits][data-open]") !== null;
      }
    } catch {
      isWanted = true;
    }
    // Poll a page less often if the service needs long for it.
    const pause = Math.max(PAUSE_MS, 4 * (performance.now() - began));
    setTimeout(() => {
      isFetching = false;
      if (isWanted) refresh();
    }, pause);
  };

  const want = () => {
    isWanted = true;
    if (!isFetching) refresh();
  };

  document.addEventListener("refault:whole", want);

  const show = (message) => {
    const told = JSON.parse(message.data);
    const progress = told.progress;
    if (progress.finished !== finished) {
      finished = progress.finished;
      want();
    }
    const runs = document.querySelector("[data-runs]");
    if (!runs) return;
    // What workers compile meanwhile is asked for with the other parts, which have the words.
    const starting = JSON.stringify(told.starting ?? []);
    if (starting !== compiled) want();
    compiled = starting;
    runs.textContent = `${progress.finished} of ${progress.total} runs finished`;
    if (progress.events_total) {
      const bar = document.querySelector(".progress progress");
      bar.max = progress.events_total;
      bar.value = progress.events_done;
      document.querySelector("[data-replayed]").textContent =
        `${number.format(progress.events_done)} of ${number.format(progress.events_total)} events replayed`;
    }
  };

  source.addEventListener("step", show);
  source.addEventListener("progress", show);
  // Refused: too many streams, or the login has ended. Fall back to reloading.
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(() => window.location.reload(), RELOAD_MS);
  });
  source.addEventListener("finished", () => {
    source.close();
    isOver = true;
    want();
  });
}

const polled = document.querySelector("[data-poll]");
if (polled) {
  const POLL_MS = 2000;
  // What was fetched last: a part that is the same again stays, with what is selected in it.
  const seen = new Map();
  // A kernel has no stream of events: its parts are fetched until nothing of it is open.
  const poll = async () => {
    try {
      const answer = await fetch(polled.dataset.poll);
      if (answer.redirected) {
        // The login has ended: redirect to the login form.
        window.location.reload();
        return;
      }
      if (answer.ok) {
        const parts = new DOMParser().parseFromString(await answer.text(), "text/html");
        const isOpen = parts.querySelector("[data-open]") !== null;
        for (const part of parts.querySelectorAll("[data-part]")) {
          const text = part.outerHTML;
          if (seen.get(part.dataset.part) !== text) replace(part);
          seen.set(part.dataset.part, text);
        }
        document.dispatchEvent(new Event("refault:parts"));
        if (!isOpen) return;
      }
    } catch {
      // The service is away: ask again.
    }
    setTimeout(poll, POLL_MS);
  };
  setTimeout(poll, POLL_MS);
}
