// "Download my rating": one line in the form of qc_ratings.tsv, for those without the server.
(() => {
  "use strict";
  const form = document.getElementById("rating");
  const opened = Date.now();
  const clean = (text) => text.replace(/[\t\r\n]+/g, " ").trim();
  const link = document.querySelector("a[href='#rate']");
  form.addEventListener("change", () => { link.textContent = `Rate: ${new FormData(form).get("rating") || "…"}`; });
  const seen = (box) => {  // how many pixels of its picture's part are in the window
    const part = box.closest("section").getBoundingClientRect();
    return Math.min(part.bottom, window.innerHeight) - Math.max(part.top, 0);
  };
  window.brainsegFlag = () => {  // flags the picture that fills most of the window; says which
    const box = [...document.querySelectorAll("input[name=flag]")].reduce((a, b) => (seen(b) > seen(a) ? b : a));
    if (seen(box) <= 0) return "no picture in view";
    box.click();
    return `${box.closest("section").querySelector("h2").textContent}: ${box.checked ? "flagged" : "no flag"}`;
  };
  document.addEventListener("keydown", (e) => {
    const typing = e.target.closest("input[type=text], textarea, select, dialog");
    if (e.ctrlKey || e.metaKey || e.altKey || typing || document.body.classList.contains("embedded")) return;
    const choice = [...form.elements.rating].find((r) => r.dataset.keys.includes(e.key));
    if (choice) choice.click();
    if (e.key === "g") window.brainsegFlag();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const data = new FormData(form);
    const list = (name) => data.getAll(name).join(",") || "n/a";
    const columns = JSON.parse(form.dataset.columns);
    const row = {
      time: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
      scan: form.dataset.scan,
      rater: clean(data.get("rater")) || "anonymous",
      action: "rate",
      rating: data.get("rating"),
      tags: list("tag"),
      flags: list("flag"),
      notes: clean(data.get("notes")) || "n/a",
      seconds: String(Math.round((Date.now() - opened) / 1000)),
    };
    const text = `${columns.join("\t")}\n${columns.map((c) => row[c]).join("\t")}\n`;
    const file = document.createElement("a");
    file.href = URL.createObjectURL(new Blob([text], { type: "text/tab-separated-values" }));
    file.download = `${form.dataset.scan}_rating.tsv`;
    file.click();
    setTimeout(() => URL.revokeObjectURL(file.href), 1000);
    document.getElementById("saved").textContent = `Saved as ${file.download}.`;
  });
})();
