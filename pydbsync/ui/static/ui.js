// Keeps the page true: asks for its parts again and again, and says so when nobody answers.
"use strict";
(() => {
  const contact = document.getElementById("contact");
  const main = document.querySelector("main");
  const failing = new Map(); // part → time of its last answer
  const clock = (time) => new Date(time).toLocaleTimeString([], { hour12: false });
  const loadedAt = Date.now();

  function tell() {
    const oldest = Math.min(...failing.values());
    contact.hidden = failing.size === 0;
    main.classList.toggle("old", failing.size > 0);
    if (failing.size > 0) {
      contact.textContent =
        `No answer from pydbsync ui since ${clock(oldest)}. What stands below is of that time and may not be true any more.`;
      document.title = "no answer · pydbsync";
    }
  }

  function isInUse(part) {
    const selection = document.getSelection();
    const isSelected = selection && !selection.isCollapsed && part.contains(selection.anchorNode);
    return isSelected || part.querySelector("input:focus, textarea:focus, select:focus") !== null;
  }

  function show(part, html) {
    const open = [...part.querySelectorAll("details[open]")].map((each) => each.id);
    const focused = document.activeElement && part.contains(document.activeElement) ? keyOf(document.activeElement) : "";
    part.innerHTML = html;
    for (const each of part.querySelectorAll("details")) if (open.includes(each.id)) each.open = true;
    if (focused) [...part.querySelectorAll("a, button, summary")].find((each) => keyOf(each) === focused)?.focus({ preventScroll: true });
    const title = part.querySelector("[data-title]");
    if (title) document.title = title.dataset.title;
  }

  function keyOf(element) {
    const form = element.closest("form");
    const fields = form ? [...form.querySelectorAll("input[type=hidden]")].map((each) => each.name === "csrf" ? "" : each.value).join() : "";
    const group = element.closest("details")?.id ?? "";
    return [element.tagName, element.getAttribute("href"), element.textContent, fields, group].join("|");
  }

  async function ask(part, state) {
    try {
      const answer = await fetch(part.dataset.poll, { cache: "no-store", signal: AbortSignal.timeout(20000) });
      if (answer.status === 401) { location.assign("/login?next=" + encodeURIComponent(location.pathname)); return; }
      const html = await answer.text();
      if (!answer.ok) throw new Error(String(answer.status));
      state.answeredAt = Date.now();
      failing.delete(part);
      if (!isInUse(part)) show(part, html);
      tell();
    } catch {
      failing.set(part, state.answeredAt);
      tell();
    }
  }

  for (const part of document.querySelectorAll("[data-poll]")) {
    const state = { answeredAt: loadedAt };
    const everyMs = 1000 * Number(part.dataset.every);
    const again = async () => {
      const isIdle = part.id === "job" && !part.querySelector("[data-busy]");
      if (!document.hidden && !isIdle) await ask(part, state);
      setTimeout(again, everyMs);
    };
    setTimeout(again, everyMs);
    document.addEventListener("visibilitychange", () => { if (!document.hidden && part.id !== "job") ask(part, state); });
  }
})();
