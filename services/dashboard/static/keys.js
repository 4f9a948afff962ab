// Keys: / to search, ? for the list of keys, arrows from link to link inside a table.
// Without this script everything is reached by Tab, and /help/keys has the list.
const SEARCH = 'main input[type="search"], main [role="search"] input:not([type="hidden"])';
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

const isTyping = (target) => target.closest("input, textarea, select, [contenteditable]") !== null;

const showKeys = async () => {
  let dialog = document.getElementById("keys-dialog");
  if (!dialog) {
    const answer = await fetch("/help/keys", { headers: { accept: "text/html" } });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const list = page.getElementById("keys");
    if (!list || document.getElementById("keys-dialog")) return;
    dialog = document.createElement("dialog");
    dialog.id = "keys-dialog";
    dialog.setAttribute("aria-label", "Keys");
    const close = document.createElement("button");
    close.textContent = "Close";
    close.addEventListener("click", () => dialog.close());
    list.removeAttribute("id");
    dialog.append(document.importNode(list, true), close);
    document.body.append(dialog);
  }
  if (!dialog.open) dialog.showModal();
};

const search = () => {
  const field = document.querySelector(SEARCH);
  if (!field) {
    window.location.assign("/batches");
    return;
  }
  field.focus();
  field.select();
};

// The link, button or summary of a cell; null where it leads nowhere.
const doorOf = (cell) => cell?.querySelector("a[href], button:not([disabled]), summary") ?? null;

const step = (cell, key) => {
  const rows = [...cell.closest("table").rows];
  const cells = [...cell.parentElement.cells];
  if (key === "Home" || key === "End") {
    const doors = cells.map(doorOf).filter(Boolean);
    return key === "Home" ? doors[0] : doors.at(-1);
  }
  const [down, right] = STEPS[key];
  let row = rows.indexOf(cell.parentElement) + down;
  let column = cells.indexOf(cell) + right;
  while (row >= 0 && row < rows.length && column >= 0 && column < rows[row].cells.length) {
    const door = doorOf(rows[row].cells[column]);
    if (door) return door;
    row += down;
    column += right;
  }
  return null;
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (isTyping(event.target)) return;
  if (event.key === "/") {
    event.preventDefault();
    search();
  } else if (event.key === "?") {
    event.preventDefault();
    showKeys();
  } else if (event.key in STEPS || event.key === "Home" || event.key === "End") {
    const cell = event.target.closest("td, th");
    const door = cell?.closest("table") ? step(cell, event.key) : null;
    if (!door) return;
    event.preventDefault();
    door.focus();
  }
});
