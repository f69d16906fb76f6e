// Fetches the page again every few seconds while asked to, and swaps the figures in. Everything works without it.
"use strict";
const keep = document.getElementById("keep"), fresh = document.getElementById("fresh");
keep.hidden = false;
setInterval(async () => {
  const figures = document.getElementById("figures");
  if (!fresh.checked || document.hidden || figures.contains(document.activeElement)) return;
  try {
    const answer = await fetch(location.pathname);
    if (!answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = page.getElementById("figures");
    if (next) figures.replaceWith(document.adoptNode(next));
  } catch { /* the service is away: the figures stay as they are */ }
}, 3000);
