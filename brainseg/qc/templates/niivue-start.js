// NiiVue, where the build put it into the page: unpacked and started when asked for. It gets the
// full-size files on the review server, and the slice browser's voxels from a file.
(() => {
  "use strict";
  const note = document.getElementById("gl-note"), button = document.getElementById("gl-start");
  const frame = document.getElementById("gl-frame"), canvas = document.getElementById("gl");
  if (!document.createElement("canvas").getContext("webgl2")) {
    button.hidden = true;
    note.textContent = "This browser offers no WebGL 2, so there is no rendering here; everything else is whole.";
    return;
  }

  async function unpack() {
    const packed = Uint8Array.from(atob(document.getElementById("niivue").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    return window.niivue;
  }

  function nifti(voxels, facts) {  // a NIfTI-1 file of 8-bit voxels, as base64
    const bytes = new Uint8Array(352 + voxels.length), view = new DataView(bytes.buffer);
    view.setInt32(0, 348, true);
    [3, ...facts.shape, 1, 1, 1, 1].forEach((n, i) => view.setInt16(40 + 2 * i, n, true));
    view.setInt16(70, 2, true); view.setInt16(72, 8, true);
    [1, 0, 0, 0].forEach((n, i) => view.setFloat32(76 + 4 * i, i ? facts.size[i - 1] : n, true));
    view.setFloat32(108, 352, true); view.setFloat32(112, 1, true);
    bytes[123] = 2;
    view.setInt16(254, 1, true);
    facts.affine.forEach((row, r) => {
      const offset = row[3] + row.slice(0, 3).reduce((sum, a, i) => sum + a * facts.start[i], 0);
      [...row.slice(0, 3).map((a, i) => a * facts.step[i]), offset].forEach((v, c) => view.setFloat32(280 + 16 * r + 4 * c, v, true));
    });
    bytes.set([110, 43, 49, 0], 344);
    bytes.set(voxels, 352);
    let text = "";
    for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
    return btoa(text);
  }

  function colours(facts) {
    const column = (c) => facts.colours.map((rgb) => rgb[c]);
    return { R: column(0), G: column(1), B: column(2), A: facts.colours.map((_, i) => (i ? 160 : 0)), I: facts.colours.map((_, i) => i), labels: facts.names };
  }

  async function fill(viewer, NVImage, facts) {
    if (location.protocol.startsWith("http")) {
      for (const extension of [".nii.gz", ".nii"]) try {
        await viewer.loadVolumes([{ url: facts.files.scan + extension }, { url: facts.files.labels + extension, opacity: 0.6 }]);
        return "the full-size files";
      } catch { /* not on this server: the browser's 8-bit voxels will do */ }
    }
    const { scan, labels } = window.brainsegVoxels;
    viewer.addVolume(await NVImage.loadFromBase64({ base64: nifti(scan, facts), name: "scan.nii" }));
    viewer.addVolume(await NVImage.loadFromBase64({ base64: nifti(labels, facts), name: "labels.nii", opacity: 0.6 }));
    return "the slice browser's voxels";
  }

  button.addEventListener("click", async () => {
    button.hidden = true; frame.hidden = false;
    note.textContent = "Starting NiiVue…";
    try {
      const facts = window.brainsegVoxels.facts;
      const { Niivue, NVImage } = await unpack();
      const viewer = new Niivue({ backColor: [0, 0, 0, 1], show3Dcrosshair: true, multiplanarShowRender: 1, crosshairWidth: 0.5, crosshairColor: [0.49, 0.77, 1, 0.8], isRadiologicalConvention: false, loadingText: "", logLevel: "error" });
      await viewer.attachToCanvas(canvas);
      const source = await fill(viewer, NVImage, facts);
      viewer.volumes[1].setColormapLabel(colours(facts));
      viewer.setSliceType(viewer.sliceTypeMultiplanar);
      viewer.updateGLVolume();
      note.textContent = `Drawn by NiiVue from ${source}; drag with the right button to zoom.`;
      document.body.dataset.niivue = "ready";
    } catch (error) {
      frame.hidden = true;
      note.textContent = `NiiVue did not start here (${error.message}); everything else is whole.`;
    }
  });
})();
