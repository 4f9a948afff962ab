// Keeps the first page fresh: its parts are fetched again, and replaced where they differ.
// Without this script the page reloads while something runs.
"use strict";

const live = document.querySelector("[data-live]");
if (live) {
  const BUSY_MS = 2000;
  const IDLE_MS = 10000;
  const shown = new Map();
  const isOpen = () => live.querySelector("[data-open]") !== null;

  // A part somebody is at work in is replaced later.
  const isUsed = (part) => part.contains(document.activeElement);

  const take = (text) => {
    const parts = new DOMParser().parseFromString(text, "text/html");
    let before = null;
    for (const next of parts.querySelectorAll("[data-part]")) {
      const now = live.querySelector(`[data-part="${CSS.escape(next.dataset.part)}"]`);
      const told = next.outerHTML;
      if (!now) {
        if (before) before.after(next);
        else live.prepend(next);
        before = next;
      } else if (shown.get(next.dataset.part) !== told && !now.isEqualNode(next) && !isUsed(now)) {
        const scrolled = now.querySelector(".scroll")?.scrollLeft ?? 0;
        now.replaceWith(next);
        const scroll = next.querySelector(".scroll");
        if (scroll) scroll.scrollLeft = scrolled;
        shown.set(next.dataset.part, told);
        before = next;
      } else {
        before = now;
      }
    }
  };

  const poll = async () => {
    const began = performance.now();
    if (!document.hidden) {
      try {
        const answer = await fetch(live.dataset.live);
        if (answer.redirected) {
          // The login has ended: redirect to the login form.
          window.location.reload();
          return;
        }
        if (answer.ok) take(await answer.text());
      } catch {
        // The service is away: ask again.
      }
    }
    // A busy service is asked less often.
    setTimeout(poll, Math.max(isOpen() ? BUSY_MS : IDLE_MS, 4 * (performance.now() - began)));
  };
  setTimeout(poll, isOpen() ? BUSY_MS : IDLE_MS);
}
