// The slice browser: three linked planes drawn from two sheets of axial slices. No WebGL.
(() => {
  "use strict";
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const [I, J, K] = facts.shape;
  const body = document.body;
  const readout = document.getElementById("readout");
  const slider = document.getElementById("opacity");
  const toggle = document.getElementById("toggle");
  const cross = [I >> 1, J >> 1, K >> 1];
  // Which axes run across and up in each plane; both count from the lower left corner.
  const planes = [{ axis: 2, across: 0, up: 1 }, { axis: 1, across: 0, up: 2 }, { axis: 0, across: 1, up: 2 }];
  const zoom = Math.min(2.6, 1180 / (I + I + J));
  let scan, labels;

  function unfold(image) {  // sheet of slices -> voxels, i fastest, then j (bottom up), then k
    const sheet = document.createElement("canvas");
    sheet.width = image.naturalWidth; sheet.height = image.naturalHeight;
    const pen = sheet.getContext("2d", { willReadFrequently: true });
    pen.drawImage(image, 0, 0);
    const pixels = pen.getImageData(0, 0, sheet.width, sheet.height).data;
    const out = new Uint8Array(I * J * K);
    let n = 0;
    for (let k = 0; k < K; k++) {
      const left = (k % facts.columns) * I, top = Math.floor(k / facts.columns) * J;
      for (let j = J - 1; j >= 0; j--) {
        let p = 4 * ((top + j) * sheet.width + left);
        for (let i = 0; i < I; i++, p += 4) out[n++] = pixels[p];
      }
    }
    return out;
  }

  const at = (v) => v[0] + I * (v[1] + J * v[2]);
  const clamp = (value, axis) => Math.max(0, Math.min(facts.shape[axis] - 1, Math.round(value)));

  function draw(plane) {
    const width = facts.shape[plane.across], height = facts.shape[plane.up];
    const shown = !body.classList.contains("bare");
    const share = shown ? Number(slider.value) / 100 : 0;
    const picture = new ImageData(width, height);
    const v = [...cross];
    let p = 0;
    for (let y = height - 1; y >= 0; y--) {
      v[plane.up] = y;
      for (let x = 0; x < width; x++, p += 4) {
        v[plane.across] = x;
        const n = at(v), grey = scan[n], label = labels[n];
        const mix = label ? share : 0, colour = facts.colours[label];
        for (let c = 0; c < 3; c++) picture.data[p + c] = grey * (1 - mix) + colour[c] * mix;
        picture.data[p + 3] = 255;
      }
    }
    plane.small.putImageData(picture, 0, 0);
    const pen = plane.pen, canvas = plane.canvas;
    pen.imageSmoothingEnabled = true; pen.imageSmoothingQuality = "high";
    pen.drawImage(plane.small.canvas, 0, 0, canvas.width, canvas.height);
    const x = (cross[plane.across] + 0.5) * canvas.width / width;
    const y = canvas.height - (cross[plane.up] + 0.5) * canvas.height / height;
    pen.strokeStyle = "rgba(124, 196, 255, .75)"; pen.lineWidth = 1;
    pen.beginPath(); pen.moveTo(x, 0); pen.lineTo(x, canvas.height);
    pen.moveTo(0, y); pen.lineTo(canvas.width, y); pen.stroke();
    pen.fillStyle = "#e7eaee"; pen.font = "13px system-ui, sans-serif";
    const edge = plane.axis ? ["L", "R"] : ["P", "A"];
    pen.fillText(edge[0], 5, canvas.height / 2 - 6);
    pen.fillText(edge[1], canvas.width - 14, canvas.height / 2 - 6);
  }

  const drawAll = () => { if (scan) planes.forEach(draw); };

  function tell(v) {
    const n = at(v), label = labels[n];
    const voxel = v.map((x, a) => facts.start[a] + (x + 0.5) * facts.step[a] - 0.5);
    const mm = facts.affine.map((r) => r[0] * voxel[0] + r[1] * voxel[1] + r[2] * voxel[2] + r[3]);
    readout.textContent = `${facts.names[label]} · ${mm.map((x) => x.toFixed(0)).join(", ")} mm · ` +
      `grey ${Math.round(scan[n] / 2.55)} %`;
  }

  function pointed(plane, event) {
    const frame = plane.canvas.getBoundingClientRect();
    const v = [...cross];
    v[plane.across] = clamp((event.clientX - frame.left) / frame.width * facts.shape[plane.across] - 0.5, plane.across);
    v[plane.up] = clamp((frame.bottom - event.clientY) / frame.height * facts.shape[plane.up] - 0.5, plane.up);
    return v;
  }

  function move(v) { v.forEach((x, a) => { cross[a] = clamp(x, a); }); drawAll(); tell(cross); }

  function prepare(plane) {
    const canvas = plane.canvas = document.getElementById(`plane-${plane.axis}`);
    canvas.width = Math.round(facts.shape[plane.across] * zoom);
    canvas.height = Math.round(facts.shape[plane.up] * zoom);
    plane.pen = canvas.getContext("2d");
    const small = document.createElement("canvas");
    small.width = facts.shape[plane.across]; small.height = facts.shape[plane.up];
    plane.small = small.getContext("2d");
    const step = (d) => { const v = [...cross]; v[plane.axis] += d; move(v); };
    canvas.addEventListener("pointerdown", (e) => { canvas.setPointerCapture(e.pointerId); canvas.focus(); move(pointed(plane, e)); });
    canvas.addEventListener("pointermove", (e) => { if (e.buttons) move(pointed(plane, e)); else tell(pointed(plane, e)); });
    canvas.addEventListener("wheel", (e) => { e.preventDefault(); step(e.deltaY < 0 ? 1 : -1); }, { passive: false });
    canvas.addEventListener("keydown", (e) => {
      const by = { ArrowUp: 1, ArrowRight: 1, PageUp: 10, ArrowDown: -1, ArrowLeft: -1, PageDown: -10 }[e.key];
      if (by) { e.preventDefault(); e.stopPropagation(); step(by); }
    });
  }

  // A click on any static mosaic takes the browser to that place.
  function follow(stack, event) {
    const shown = stack.getBoundingClientRect(), map = JSON.parse(stack.dataset.map);
    const x = (event.clientX - shown.left) / shown.width * map.width;
    const y = (event.clientY - shown.top) / shown.height * map.height;
    for (const [axis, index, left, top, width, height] of map.cells) {
      if (x < left || x >= left + width || y < top || y >= top + height) continue;
      const plane = planes.find((p) => p.axis === axis), v = [0, 0, 0];
      const [across, up] = [plane.across, plane.up];
      v[axis] = index;
      v[across] = map.box[across][0] + (x - left) / width * (map.box[across][1] - map.box[across][0]) - 0.5;
      v[up] = map.box[up][1] - 1 - (y - top) / height * (map.box[up][1] - map.box[up][0]) + 0.5;
      move(v.map((value, a) => (value + 0.5 - facts.start[a]) / facts.step[a] - 0.5));
      document.getElementById("browser").scrollIntoView({ block: "start" });
    }
  }

  function bare(on) {
    body.classList.toggle("bare", on);
    toggle.setAttribute("aria-pressed", String(!on));
    drawAll();
  }

  async function start() {
    const images = [document.getElementById("sheet-scan"), document.getElementById("sheet-labels")];
    await Promise.all(images.map((image) => image.decode()));
    [scan, labels] = images.map(unfold);
    planes.forEach(prepare);
    window.brainsegVoxels = { scan, labels, facts };
    drawAll();
    readout.textContent = "Move over a picture to read the label; drag to move, scroll to change the slice.";
    body.dataset.browser = "ready";
    document.dispatchEvent(new Event("brainseg-ready"));
  }

  slider.addEventListener("input", () => {
    document.documentElement.style.setProperty("--overlay-opacity", slider.value / 100);
    drawAll();
  });
  toggle.addEventListener("click", () => bare(!body.classList.contains("bare")));
  document.getElementById("flicker").addEventListener("click", (e) => {
    const on = body.classList.toggle("flicker");
    e.currentTarget.setAttribute("aria-pressed", String(on));
  });
  document.querySelectorAll(".stack").forEach((s) => s.addEventListener("click", (e) => follow(s, e)));
  const typing = (e) => e.target.closest("input:not([type=range]):not([type=radio]):not([type=checkbox]), textarea, select");
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || typing(e)) return;
    if (e.key === "t") bare(!body.classList.contains("bare"));
    if (e.key === "?") document.getElementById("keys").showModal();
  });
  document.querySelector("#keys button").addEventListener("click", () => document.getElementById("keys").close());
  window.brainsegOverlay = (on) => bare(on === undefined ? !body.classList.contains("bare") : !on);
  start();
})();
