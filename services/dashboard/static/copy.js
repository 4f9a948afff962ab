// Copies the value of a field or a command. Without this script it can be selected by hand.
"use strict";

const enable = () => {
  for (const button of document.querySelectorAll("[data-copy][hidden]")) {
    const field = document.getElementById(button.dataset.copy);
    const told = button.parentElement.querySelector("[data-copied]");
    button.hidden = false;
    button.addEventListener("click", async () => {
      if (field.select) field.select();
      else window.getSelection().selectAllChildren(field);
      try {
        // Available over HTTPS and on localhost only.
        await navigator.clipboard.writeText(field.value ?? field.textContent);
        told.textContent = "Copied";
      } catch {
        told.textContent = document.execCommand("copy") ? "Copied" : "Selected: copy it with Ctrl-C";
      }
    });
  }
};

enable();
// Parts of the page were fetched anew.
document.addEventListener("refault:parts", enable);
