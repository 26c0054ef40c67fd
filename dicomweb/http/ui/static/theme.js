// Runs before anything is painted, so that no page flashes in the wrong colours. Only the choice itself is stored.
(() => {
  let choice = "system";
  try {
    choice = localStorage.getItem("dicomweb.theme") ?? "system";
  } catch {
    // Storage may be forbidden; then the system decides.
  }
  if (choice === "dark" || choice === "light") document.documentElement.dataset.theme = choice;
})();
