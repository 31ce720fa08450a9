// The slice browser: three linked planes drawn from two sheets of axial slices, and one slice
// enlarged. All voxels are the scan's own. No WebGL.
(() => {
  "use strict";
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const shape = facts.shape, [I, J, K] = shape;
  const body = document.body;
  const readout = document.getElementById("readout");
  const slider = document.getElementById("opacity");
  const toggle = document.getElementById("toggle");
  const dialog = document.getElementById("enlarged"), caption = document.getElementById("enlarged-readout");
  const cross = shape.map((n) => n >> 1);
  // Which axes run across and up in each plane; both count from the lower left corner.
  const WAYS = { 2: [0, 1], 1: [0, 2], 0: [1, 2] };
  const NAMES = ["Sagittal", "Coronal", "Axial"];
  const planes = [2, 1, 0].map((axis) => view(axis, document.getElementById(`plane-${axis}`)));
  const large = view(2, document.getElementById("enlarged-slice"));
  let scan, labels;

  function view(axis, canvas) {
    return { axis, across: WAYS[axis][0], up: WAYS[axis][1], canvas, pen: canvas.getContext("2d"), layers: [0, 1].map(() => document.createElement("canvas")) };
  }
  const millimetres = (axis) => shape[axis] * facts.size[axis];

  function unfold(image) {  // sheet of slices -> voxels, i fastest, then j (bottom up), then k
    const sheet = document.createElement("canvas");
    sheet.width = image.naturalWidth; sheet.height = image.naturalHeight;
    const pen = sheet.getContext("2d", { willReadFrequently: true });
    pen.drawImage(image, 0, 0);
    const out = new Uint8Array(I * J * K);
    let n = 0;
    for (let k = 0; k < K; k++) {  // slice by slice: a whole sheet of a fine scan is too much memory
      const pixels = pen.getImageData((k % facts.columns) * I, Math.floor(k / facts.columns) * J, I, J).data;
      for (let j = J - 1; j >= 0; j--) {
        let p = 4 * j * I;
        for (let i = 0; i < I; i++, p += 4) out[n++] = pixels[p];
      }
    }
    return out;
  }

  const at = (v) => v[0] + I * (v[1] + J * v[2]);
  const clamp = (value, axis) => Math.max(0, Math.min(shape[axis] - 1, Math.round(value)));

  // Edges between voxels inside and outside the mask: the mask as it is, voxel by voxel.
  function outline(plane, width, height, inside) {
    const { pen, canvas } = plane, sx = canvas.width / width, sy = canvas.height / height;
    pen.beginPath();
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
      const here = inside[y * width + x];
      if (x && here !== inside[y * width + x - 1]) { pen.moveTo(x * sx, y * sy); pen.lineTo(x * sx, (y + 1) * sy); }
      if (y && here !== inside[(y - 1) * width + x]) { pen.moveTo(x * sx, y * sy); pen.lineTo((x + 1) * sx, y * sy); }
    }
    pen.strokeStyle = facts.mask; pen.lineWidth = Math.max(1, Math.min(2.5, sx / 3)); pen.stroke();
  }

  function draw(plane, crossed = true) {
    const width = shape[plane.across], height = shape[plane.up], { pen, canvas } = plane;
    const layers = [new ImageData(width, height), new ImageData(width, height)];
    const inside = new Uint8Array(width * height), v = [...cross];
    let p = 0;
    for (let y = height - 1; y >= 0; y--) {
      v[plane.up] = y;
      for (let x = 0; x < width; x++, p += 4) {
        v[plane.across] = x;
        const n = at(v), label = labels[n], colour = facts.colours[label];
        inside[p >> 2] = label ? 1 : 0;
        for (let c = 0; c < 3; c++) { layers[0].data[p + c] = scan[n]; layers[1].data[p + c] = colour[c]; }
        layers[0].data[p + 3] = 255; layers[1].data[p + 3] = label ? 255 : 0;
      }
    }
    plane.layers.forEach((layer, n) => {
      layer.width = width; layer.height = height;
      layer.getContext("2d").putImageData(layers[n], 0, 0);
    });
    pen.imageSmoothingEnabled = true; pen.imageSmoothingQuality = "high";
    pen.drawImage(plane.layers[0], 0, 0, canvas.width, canvas.height);
    if (!body.classList.contains("bare")) {
      pen.imageSmoothingEnabled = false;  // a label has an edge
      pen.globalAlpha = Number(slider.value) / 100;
      pen.drawImage(plane.layers[1], 0, 0, canvas.width, canvas.height);
      pen.globalAlpha = 1;
      outline(plane, width, height, inside);
    }
    if (crossed) {
      const x = (cross[plane.across] + 0.5) * canvas.width / width;
      const y = canvas.height - (cross[plane.up] + 0.5) * canvas.height / height;
      pen.strokeStyle = "rgba(124, 196, 255, .75)"; pen.lineWidth = 1;
      pen.beginPath(); pen.moveTo(x, 0); pen.lineTo(x, canvas.height);
      pen.moveTo(0, y); pen.lineTo(canvas.width, y); pen.stroke();
    }
    pen.fillStyle = "#e7eaee"; pen.font = "13px system-ui, sans-serif";
    const edge = plane.axis ? ["L", "R"] : ["P", "A"];
    pen.fillText(edge[0], 5, canvas.height / 2 - 6);
    pen.fillText(edge[1], canvas.width - 14, canvas.height / 2 - 6);
  }

  function drawAll() {
    if (!scan) return;
    planes.forEach((plane) => draw(plane));
    if (dialog.open) draw(large, false);
  }

  const place = (v) => facts.affine.map((r) => r[3] + v.reduce((sum, x, a) => sum + r[a] * (facts.start[a] + x * facts.step[a]), 0));

  function told(v) {
    const n = at(v);
    return `${facts.names[labels[n]]} · ${place(v).map((x) => x.toFixed(0)).join(", ")} mm · grey ${Math.round(scan[n] / 2.55)} %`;
  }

  function pointed(plane, event) {
    const frame = plane.canvas.getBoundingClientRect();
    const v = [...cross];
    v[plane.across] = clamp((event.clientX - frame.left) / frame.width * shape[plane.across] - 0.5, plane.across);
    v[plane.up] = clamp((frame.bottom - event.clientY) / frame.height * shape[plane.up] - 0.5, plane.up);
    return v;
  }

  function move(v) {
    v.forEach((x, a) => { cross[a] = clamp(x, a); });
    drawAll();
    readout.textContent = told(cross);
    if (dialog.open) entitle();
  }

  const STEPS = { ArrowUp: 1, ArrowRight: 1, PageUp: 10, ArrowDown: -1, ArrowLeft: -1, PageDown: -10 };
  function step(plane, d) { const v = [...cross]; v[plane.axis] += d; move(v); }

  function scrolls(plane, element) {
    element.addEventListener("wheel", (e) => { e.preventDefault(); step(plane, e.deltaY < 0 ? 1 : -1); }, { passive: false });
    element.addEventListener("keydown", (e) => {
      if (STEPS[e.key]) { e.preventDefault(); e.stopPropagation(); step(plane, STEPS[e.key]); }
    });
  }

  function prepare(plane) {
    const canvas = plane.canvas, zoom = Math.min(2.6, 1290 / (2 * millimetres(0) + millimetres(1)));
    canvas.width = Math.round(millimetres(plane.across) * zoom);
    canvas.height = Math.round(millimetres(plane.up) * zoom);
    canvas.addEventListener("pointerdown", (e) => { canvas.setPointerCapture(e.pointerId); canvas.focus(); move(pointed(plane, e)); });
    canvas.addEventListener("pointermove", (e) => { if (e.buttons) move(pointed(plane, e)); else readout.textContent = told(pointed(plane, e)); });
    canvas.addEventListener("dblclick", () => enlarge(plane.axis));
    canvas.addEventListener("keydown", (e) => { if (e.key === "Enter") { e.preventDefault(); enlarge(plane.axis); } });
    scrolls(plane, canvas);
  }

  function entitle() {
    const millimetre = place(cross)[large.axis].toFixed(0);
    caption.textContent = `${NAMES[large.axis]} slice at ${"xyz"[large.axis]} ${millimetre} mm, ${shape[large.across]} × ${shape[large.up]} voxels of ${facts.size[large.across].toPrecision(3)} × ${facts.size[large.up].toPrecision(3)} mm${facts.step.every((s) => s === 1) ? "" : ", every second voxel of the scan"}`;
  }

  // One slice, as large as the window allows and never smaller than the scan's own voxels.
  function enlarge(axis) {
    Object.assign(large, { axis, across: WAYS[axis][0], up: WAYS[axis][1] });
    dialog.showModal();
    const wide = millimetres(large.across), high = millimetres(large.up), ratio = window.devicePixelRatio || 1;
    const room = [document.documentElement.clientWidth * 0.94 - 24, window.innerHeight * 0.94 - 110];
    const fit = Math.min(room[0] / wide, room[1] / high);
    const own = 1 / (ratio * Math.min(facts.size[large.across], facts.size[large.up]));
    const scale = Math.max(fit, own);
    large.canvas.style.width = `${wide * scale}px`; large.canvas.style.height = `${high * scale}px`;
    large.canvas.width = Math.round(wide * scale * ratio); large.canvas.height = Math.round(high * scale * ratio);
    draw(large, false);
    entitle();
  }

  // A click on a slice of a static picture enlarges it, and takes the browser to that place.
  function follow(stack, event) {
    const shown = stack.querySelector("img").getBoundingClientRect(), map = JSON.parse(stack.dataset.map);
    const x = (event.clientX - shown.left) / shown.width * map.width;
    const y = (event.clientY - shown.top) / shown.height * map.height;
    for (const [axis, index, left, top, width, height] of map.cells) {
      if (x < left || x >= left + width || y < top || y >= top + height) continue;
      const [across, up] = WAYS[axis], v = [0, 0, 0];
      v[axis] = index;
      v[across] = map.box[across][0] + (x - left) / width * (map.box[across][1] - map.box[across][0]) - 0.5;
      v[up] = map.box[up][1] - 1 - (y - top) / height * (map.box[up][1] - map.box[up][0]) + 0.5;
      move(v.map((value, a) => (value - facts.start[a]) / facts.step[a]));
      enlarge(axis);
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
    scrolls(large, dialog);
    large.canvas.addEventListener("pointermove", (e) => { caption.textContent = told(pointed(large, e)); });
    large.canvas.addEventListener("pointerleave", entitle);
    document.querySelectorAll("#enlarged button[data-step]").forEach((b) => b.addEventListener("click", () => step(large, Number(b.dataset.step))));
    document.getElementById("enlarged-close").addEventListener("click", () => dialog.close());
    document.getElementById("enlarged-browse").addEventListener("click", () => { dialog.close(); document.getElementById("browser").scrollIntoView({ block: "start" }); });
    document.querySelectorAll(".stack").forEach((s) => s.addEventListener("click", (e) => follow(s, e)));
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
  [toggle, document.getElementById("enlarged-overlay")].forEach((b) => b.addEventListener("click", () => bare(!body.classList.contains("bare"))));
  document.getElementById("flicker").addEventListener("click", (e) => {
    const on = body.classList.toggle("flicker");
    e.currentTarget.setAttribute("aria-pressed", String(on));
  });
  const typing = (e) => e.target.closest("input:not([type=range]):not([type=radio]):not([type=checkbox]), textarea, select");
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || typing(e)) return;
    if (e.key === "t") bare(!body.classList.contains("bare"));
    if (e.key === "?" && !dialog.open) document.getElementById("keys").showModal();
  });
  document.querySelector("#keys button").addEventListener("click", () => document.getElementById("keys").close());
  window.brainsegOverlay = (on) => bare(on === undefined ? !body.classList.contains("bare") : !on);
  start();
})();
