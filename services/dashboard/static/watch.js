// Live progress of a batch. The page works without: it then reloads itself every few seconds.
"use strict";

const box = document.querySelector("[data-events]");
if (box && window.EventSource) {
  const bar = box.querySelector("progress");
  const runs = box.querySelector("[data-runs]");
  const events = box.querySelector("[data-replayed]");
  const number = new Intl.NumberFormat("en");
  const source = new EventSource(box.dataset.events);

  const show = (message) => {
    const progress = JSON.parse(message.data).progress;
    if (progress.finished > Number(box.dataset.finished)) {
      // There are new results: the table below has them after a reload.
      source.close();
      window.location.reload();
      return;
    }
    runs.textContent = `${progress.finished} of ${progress.total} runs finished`;
    if (progress.events_total) {
      bar.max = progress.events_total;
      bar.value = progress.events_done;
      events.textContent =
        `${number.format(progress.events_done)} of ${number.format(progress.events_total)} events replayed`;
    }
  };

  source.addEventListener("step", show);
  source.addEventListener("progress", show);
  source.addEventListener("finished", () => {
    source.close();
    window.location.reload();
  });
}
