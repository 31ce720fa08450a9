// The study page: strip plots that link to reports, a sortable table, pictures in chunks.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const told = document.getElementById("told"), tiles = document.getElementById("tiles");
  const body = document.querySelector("table.sort tbody");
  const canvases = [...document.querySelectorAll("canvas[data-strip]")];
  let lit = -1, page = 0, printing = false;
  // Light on dark on the screen, ink on paper; blue and orange-brown differ in both.
  const INKS = {
    screen: { dot: "rgba(124,196,255,.55)", odd: "#ffd23f", line: "#ffffff", text: "#b5bfca" },
    paper: { dot: "rgba(20,80,140,.55)", odd: "#b35900", line: "#000000", text: "#333333" },
  };
  const PAPER = 300;  // CSS pixels of a strip on paper, whatever the window was

  // A jitter that is the same on every visit.
  const jitter = (n) => { const x = Math.sin(n * 12.9898 + 4.1) * 43758.5453; return x - Math.floor(x); };

  function quartiles(values) {
    const x = values.filter((v) => v !== null).sort((a, b) => a - b);
    const at = (p) => { const i = p * (x.length - 1), f = Math.floor(i); return x[f] + (i - f) * ((x[f + 1] ?? x[f]) - x[f]); };
    return { low: x[0], q1: at(0.25), median: at(0.5), q3: at(0.75), high: x[x.length - 1] };
  }

  data.strips.forEach((s) => { s.q = quartiles(s.values); s.odd = new Set(s.odd); });

  function draw(canvas) {
    const strip = data.strips[canvas.dataset.strip], q = strip.q;
    const ratio = printing ? 3 : window.devicePixelRatio || 1, height = 54;
    const width = printing ? PAPER : canvas.clientWidth, ink = INKS[printing ? "paper" : "screen"];
    canvas.width = width * ratio; canvas.height = height * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const span = q.high - q.low || Math.abs(q.high) || 1, low = q.high === q.low ? q.low - span / 2 : q.low;
    const x = (v) => 10 + (v - low) / span * (width - 20);
    const reach = 1.5 * (q.q3 - q.q1);
    strip.points = [];
    const dot = (n, radius, colour) => {
      const v = strip.values[n];
      if (v === null) return;
      const px = x(v), py = 8 + 22 * jitter(n);
      pen.fillStyle = colour; pen.beginPath(); pen.arc(px, py, radius, 0, 7); pen.fill();
      strip.points[n] = [px, py];
    };
    strip.values.forEach((_, n) => { if (!strip.odd.has(n)) dot(n, 2.2, ink.dot); });
    strip.odd.forEach((n) => dot(n, 3.4, ink.odd));
    pen.strokeStyle = ink.line; pen.lineWidth = 1.2;
    pen.beginPath();
    pen.moveTo(x(Math.max(q.low, q.q1 - reach)), 19); pen.lineTo(x(q.q1), 19);
    pen.moveTo(x(q.q3), 19); pen.lineTo(x(Math.min(q.high, q.q3 + reach)), 19); pen.stroke();
    pen.strokeRect(x(q.q1), 8, Math.max(1, x(q.q3) - x(q.q1)), 22);
    pen.lineWidth = 2; pen.beginPath(); pen.moveTo(x(q.median), 8); pen.lineTo(x(q.median), 30); pen.stroke();
    if (lit >= 0) dot(lit, 5.5, ink.line);
    pen.fillStyle = ink.text; pen.font = "11px system-ui, sans-serif";
    pen.textAlign = "left"; pen.fillText(Number(q.low.toPrecision(4)), 4, 49);
    pen.textAlign = "right"; pen.fillText(Number(q.high.toPrecision(4)), width - 4, 49);
    if (x(q.median) > 84 && x(q.median) < width - 84) {  // else it would lie on one of the ends
      pen.textAlign = "center"; pen.fillText(Number(q.median.toPrecision(4)), x(q.median), 49);
    }
  }

  const visible = new Set();
  const watcher = new IntersectionObserver((entries) => entries.forEach((e) => {
    if (e.isIntersecting) { visible.add(e.target); draw(e.target); } else visible.delete(e.target);
  }));

  function nearest(canvas, event) {
    const box = canvas.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
    let best = -1, far = 144;
    (data.strips[canvas.dataset.strip].points || []).forEach((p, n) => {
      const d = (p[0] - px) ** 2 + (p[1] - py) ** 2;
      if (d < far) { far = d; best = n; }
    });
    return best;
  }

  function light(n, strip) {
    if (n !== lit) { lit = n; visible.forEach(draw); }
    told.textContent = n < 0 ? "\u00a0" : `${data.scans[n].scan}: ${strip.values[n]} ${data.signs[data.scans[n].verdict] || ""} ${data.scans[n].rating}`;
  }

  canvases.forEach((canvas) => {
    const strip = data.strips[canvas.dataset.strip];
    watcher.observe(canvas);
    canvas.addEventListener("pointermove", (e) => light(nearest(canvas, e), strip));
    canvas.addEventListener("pointerleave", () => light(-1, strip));
    canvas.addEventListener("click", (e) => {
      const n = nearest(canvas, e);
      if (n >= 0 && data.scans[n].report) location.href = data.scans[n].report;
    });
  });
  window.addEventListener("resize", () => visible.forEach(draw));
  // Paper shows what the window did not: every strip, and every picture of this part of the study.
  window.addEventListener("beforeprint", () => {
    printing = true;
    canvases.forEach(draw);
    tiles.querySelectorAll("img").forEach((image) => { image.loading = "eager"; });
  });
  window.addEventListener("afterprint", () => { printing = false; visible.forEach(draw); });

  const rows = () => [...body.rows].filter((r) => !r.hidden);

  function sheet() {
    const shown = rows(), pages = Math.max(1, Math.ceil(shown.length / data.chunk));
    page = Math.max(0, Math.min(page, pages - 1));
    const part = shown.slice(page * data.chunk, (page + 1) * data.chunk);
    tiles.replaceChildren(...part.map((row) => {
      const scan = data.scans[row.dataset.n], figure = document.createElement("figure");
      const link = document.createElement(scan.report ? "a" : "span"), caption = document.createElement("figcaption");
      if (scan.report) link.href = scan.report;
      if (scan.contact) {
        const image = document.createElement("img");
        image.loading = "lazy"; image.src = scan.contact; image.alt = `Slices of ${scan.scan}`;
        link.append(image);
      }
      const sign = document.createElement("span");
      sign.className = scan.verdict; sign.textContent = `${data.signs[scan.verdict] || ""} `;
      caption.append(sign, scan.scan, scan.rating ? ` · ${scan.rating}` : "");
      link.append(caption); figure.append(link);
      return figure;
    }));
    document.getElementById("range").textContent = shown.length ? `${page * data.chunk + 1} to ${page * data.chunk + part.length} of ${shown.length}` : "none";
    document.getElementById("earlier").disabled = page === 0;
    document.getElementById("later").disabled = page >= pages - 1;
  }

  const LEVELS = { fail: 2, look: 1, uncertain: 1, pass: 0 };
  const value = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const word = text.split(" ").pop();
    if (column === 1 || column === 2) return LEVELS[word] ?? -1;
    const number = Number(text);
    return column === 0 || Number.isNaN(number) ? (text === "–" ? null : text) : number;
  };
  document.querySelectorAll("table.sort th").forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending" && (column > 0 || head.hasAttribute("aria-sort"));
      document.querySelectorAll("table.sort th").forEach((h) => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = [...body.rows].map((row) => [value(row, column), row]);
      keyed.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null);  // missing ones last
        return (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1);
      });
      body.append(...keyed.map(([, row]) => row));
      page = 0; sheet();
    });
  });
  document.getElementById("find").addEventListener("input", (e) => {
    const wanted = e.target.value.toLowerCase();
    [...body.rows].forEach((row) => { row.hidden = !data.scans[row.dataset.n].scan.toLowerCase().includes(wanted); });
    page = 0; sheet();
  });
  document.getElementById("earlier").addEventListener("click", () => { page -= 1; sheet(); });
  document.getElementById("later").addEventListener("click", () => { page += 1; sheet(); });
  sheet();
  document.body.dataset.ready = "yes";
})();
