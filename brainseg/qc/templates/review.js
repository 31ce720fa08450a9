// The review of a study: one report after the other, rated by keyboard. Every rating is on the
// server's disk before the page says "saved".
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const words = JSON.parse($("words").textContent);
  const RATE_KEYS = { 1: "pass", 2: "uncertain", 3: "fail", p: "pass", u: "uncertain", f: "fail" };
  const WORST = { fail: 0, look: 1, "": 2, pass: 3 };
  const tags = [...document.querySelectorAll("input[name=tag]")];
  const buttons = [...document.querySelectorAll(".rate")];
  const frames = [document.createElement("iframe"), document.createElement("iframe")];
  let scans = [], ratings = {}, list = [], at = 0, rater = document.body.dataset.rater;
  let opened = Date.now(), dirty = false, queue = Promise.resolve();

  const mine = (scan) => (ratings[rater] || {})[scan];
  const current = () => list[at];

  async function call(path, body) {
    const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
    const response = await fetch(path, options);
    const content = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error(content.error || `the server answered ${response.status}`);
    return content;
  }

  async function load() {
    const state = await call("api/state");
    scans = state.scans; ratings = state.ratings;
    agree(state.agreement);
  }

  function agree(pairs) {
    const value = (k) => (k.kappa === null ? "undefined" : k.kappa.toFixed(2));
    const said = pairs.map((k) => `${k.raters.join(" and ")}: Cohen's kappa ${value(k)} over ${k.scans} scan${k.scans > 1 ? "s" : ""}`);
    $("kappa").textContent = said.join("; ") || "Needs two raters on the same scans.";
    const own = pairs.filter((k) => k.raters.includes(rater));
    $("agreement").textContent = own.map((k) => `κ ${value(k)} with ${k.raters.find((r) => r !== rater)}`).join(", ");
    $("agreement").title = said.join("\n");
  }

  const FILTERS = {
    all: () => true,
    unrated: (s) => !mine(s.scan),
    doubtful: (s) => mine(s.scan) && mine(s.scan).rating !== "pass",
    verdict: (s) => s.verdict !== "pass",
    outliers: (s) => s.outliers > 0,
  };

  function arrange(keep) {
    list = scans.filter(FILTERS[$("filter").value]);
    if ($("order").value === "worst") {
      list.sort((a, b) => WORST[a.verdict] - WORST[b.verdict] || b.outliers - a.outliers || (a.scan < b.scan ? -1 : 1));
    }
    at = Math.max(0, list.findIndex((s) => s.scan === keep));
    show();
  }

  const url = (s) => "files/" + s.report.split("/").map(encodeURIComponent).join("/");

  function fill(frame, scan) {
    if (frame.dataset.scan === scan.scan) return;
    frame.dataset.scan = scan.scan;
    frame.title = `Report of ${scan.scan}`;
    frame.src = url(scan);
  }

  function flagsIn(frame) {
    try { return [...frame.contentDocument.querySelectorAll("input[name=flag]")]; } catch { return []; }
  }

  function shownFrame() { return frames.find((f) => f.classList.contains("shown")); }

  frames.forEach((frame) => {
    $("frames").append(frame);
    frame.addEventListener("load", () => {
      const inner = frame.contentDocument;
      if (!inner || !inner.body) return;
      inner.body.classList.add("embedded");
      inner.addEventListener("keydown", onKey, true);  // before the report's own keys
      inner.addEventListener("change", (e) => { if (e.target.name === "flag") changed(); });
      if (current() && frame.dataset.scan === current().scan) restoreFlags(frame);
    });
  });

  function restoreFlags(frame) {
    const given = mine(frame.dataset.scan);
    flagsIn(frame).forEach((box) => { box.checked = Boolean(given && given.flags.includes(box.value)); });
  }

  function show() {
    const scan = current();
    $("nothing").textContent = list.length ? "" : "No scan fits this filter.";
    frames.forEach((f) => f.classList.remove("shown"));
    const done = scans.filter((s) => mine(s.scan)).length;
    $("bar").max = scans.length; $("bar").value = done;
    $("rated").textContent = `${done} of ${scans.length} rated`;
    $("who").textContent = rater || "Rater";
    $("position").textContent = list.length ? `${at + 1} / ${list.length}` : "";
    $("scan").textContent = scan ? scan.scan : "–";
    $("verdict").hidden = !scan || !scan.verdict;
    $("reasons").textContent = "";
    if (!scan) return;
    $("verdict").textContent = words[scan.verdict] || "";
    $("verdict").className = `badge ${scan.verdict}`;
    const odd = scan.outliers ? `${scan.outliers} outlier${scan.outliers > 1 ? "s" : ""}` : "";
    $("reasons").textContent = $("reasons").title = [...scan.reasons, odd].filter(Boolean).join(" · ");
    const frame = frames.find((f) => f.dataset.scan === scan.scan) || frames[0];
    fill(frame, scan);
    frame.classList.add("shown");
    const after = list[at + 1];
    if (after) setTimeout(() => fill(frames.find((f) => f !== frame), after), 300);  // ready when it is wanted
    const given = mine(scan.scan);
    tags.forEach((t) => { t.checked = Boolean(given && given.tags.includes(t.value)); });
    $("notes").value = given ? given.notes : "";
    restoreFlags(frame);
    press(given && given.rating);
    $("saved").textContent = given ? "rated" : "";
    opened = Date.now(); dirty = false;
  }

  function press(rating) {
    buttons.forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.rating === rating)));
  }

  function changed() { dirty = true; $("saved").textContent = mine(current().scan) ? "changed" : ""; }

  function save(rating) {
    const scan = current();
    if (!scan) return queue;
    const row = {
      scan: scan.scan, rater, rating,
      tags: tags.filter((t) => t.checked).map((t) => t.value),
      flags: flagsIn(shownFrame()).filter((b) => b.checked).map((b) => b.value),
      notes: $("notes").value, seconds: (Date.now() - opened) / 1000,
    };
    dirty = false;
    press(rating);
    $("saved").textContent = "saving…";
    queue = queue.then(() => send(row));
    return queue;
  }

  async function send(row) {
    for (;;) {
      try {
        const answer = await call("api/rate", row);
        (ratings[row.rater] ||= {})[row.scan] = answer.kept;
        agree(answer.agreement);
        $("trouble").textContent = "";
        if (current() && current().scan === row.scan) $("saved").textContent = "saved";
        const done = scans.filter((s) => mine(s.scan)).length;
        $("bar").value = done; $("rated").textContent = `${done} of ${scans.length} rated`;
        return;
      } catch (error) {
        if (!(error instanceof TypeError)) { $("trouble").textContent = `Not saved: ${error.message}`; return; }
        $("trouble").textContent = "Not saved: the server does not answer. Start it again and open its new address.";
        await new Promise((resolve) => setTimeout(resolve, 2000));
      }
    }
  }

  function leave() {  // tags, notes and flags changed after the rating are kept with it
    const scan = current(), given = scan && mine(scan.scan);
    if (given && dirty) save(given.rating);
  }

  function go(by) {
    if (!list.length) return;
    leave();
    const to = at + by;
    if (to < 0 || to >= list.length) { $("saved").textContent = by > 0 ? "That was the last one." : "This is the first one."; return; }
    at = to;
    show();
  }

  async function rate(rating) {
    await save(rating);
    if ($("auto").checked) go(1);
  }

  async function undo() {
    await queue;
    const { undone } = await call("api/undo", { rater }).catch((e) => { $("trouble").textContent = e.message; return {}; });
    if (!undone) { $("saved").textContent = "Nothing to undo."; return; }
    await load();
    if (!list.some((s) => s.scan === undone.scan)) $("filter").value = "all";
    arrange(undone.scan);
    $("saved").textContent = "taken back";
  }

  function panel(by) {
    const inner = shownFrame().contentWindow;
    const tops = [...inner.document.querySelectorAll("header.top, main > section")].map((s) => s.getBoundingClientRect().top - 70);
    const jump = by > 0 ? tops.find((y) => y > 8) : tops.filter((y) => y < -8).pop();
    if (jump !== undefined) inner.scrollBy({ top: jump });
  }

  function overlay() { const inner = shownFrame().contentWindow; if (inner.brainsegOverlay) inner.brainsegOverlay(); }

  function flag() { const said = shownFrame().contentWindow.brainsegFlag(); $("saved").textContent = said; }

  const typing = (e) => e.target.closest("input[type=text], textarea, select");

  function onKey(e) {
    if (e.ctrlKey || e.metaKey || e.altKey || document.querySelector("dialog[open]")) return;
    if (typing(e)) { if (e.key === "Escape" || e.key === "Enter") e.target.blur(); return; }
    const inside = e.view !== window;
    if (inside && e.target.matches("canvas") && e.key.startsWith("Arrow")) return;  // its slices
    if (inside && e.target.closest("dialog[open]")) return;  // an enlarged slice has keys of its own
    const tag = tags.find((t) => t.dataset.key === e.key);
    if (RATE_KEYS[e.key]) rate(RATE_KEYS[e.key]);
    else if (tag) { tag.checked = !tag.checked; changed(); }
    else if (e.key === " " || e.key === "ArrowRight") go(1);
    else if (e.key === "ArrowLeft") go(-1);
    else if (e.key === "z") undo();
    else if (e.key === "n") $("notes").focus();
    else if (e.key === "g") flag();
    else if (e.key === "j") panel(1);
    else if (e.key === "k") panel(-1);
    else if (e.key === "t") { if (!inside) overlay(); return; }  // the report hears its own key
    else if (e.key === "?") { if (inside) e.stopImmediatePropagation(); $("keys").showModal(); }
    else return;
    e.preventDefault();
  }

  document.addEventListener("keydown", onKey);
  buttons.forEach((b) => b.addEventListener("click", () => rate(b.dataset.rating)));
  tags.forEach((t) => t.addEventListener("change", changed));
  $("notes").addEventListener("input", changed);
  $("notes").addEventListener("blur", leave);
  $("next").addEventListener("click", () => go(1));
  $("back").addEventListener("click", () => go(-1));
  $("undo").addEventListener("click", undo);
  $("help").addEventListener("click", async () => { await load(); $("keys").showModal(); });
  document.querySelector("[data-close]").addEventListener("click", () => $("keys").close());
  $("who").addEventListener("click", () => $("name").showModal());
  $("name").addEventListener("close", () => { rater = $("rater").value.trim() || rater || "anonymous"; arrange(current() && current().scan); });
  ["filter", "order"].forEach((id) => $(id).addEventListener("change", (e) => { e.target.blur(); leave(); arrange(current() && current().scan); }));
  window.addEventListener("beforeunload", leave);

  load().then(() => {
    $("rater").value = rater;
    arrange();
    if (!rater) $("name").showModal();
    // Begin where the rater left off.
    const open = list.findIndex((s) => !mine(s.scan));
    if (open > 0) { at = open; show(); }
    document.body.dataset.ready = "yes";
  }, (error) => { $("nothing").textContent = error.message; });
})();
