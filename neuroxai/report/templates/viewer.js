// Three linked slices of one scan with its heatmap: sliders, mouse, touch, wheel. Nothing is loaded from anywhere.
(function () {
  "use strict";
  const root = document.getElementById("viewer");
  const store = document.getElementById("viewer-data");
  if (!root || !store || typeof DecompressionStream === "undefined") return;
  const info = JSON.parse(store.textContent);
  const [X, Y, Z] = info.shape;
  const size = info.shape;
  const planes = [
    { name: "axial", normal: 2, across: 0, up: 1, marks: ["L", "R", "A", "P"] },
    { name: "coronal", normal: 1, across: 0, up: 2, marks: ["L", "R", "S", "I"] },
    { name: "sagittal", normal: 0, across: 1, up: 2, marks: ["P", "A", "S", "I"] },
  ];
  const at = info.start.slice();
  let opacity = 1;
  let threshold = 0.05;
  let factor = info.scale > 0 ? info.limit / info.scale : 1;
  let grey, heat, label;

  async function unpack(text) {
    const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  const index = (v) => v[0] + X * (v[1] + Y * v[2]);
  const world = (v) => [0, 1, 2].map((r) => info.affine[r][0] * v[0] + info.affine[r][1] * v[1] + info.affine[r][2] * v[2] + info.affine[r][3]);
  const clamp = (n, axis) => Math.min(size[axis] - 1, Math.max(0, Math.round(n)));

  function paint(plane) {
    const w = size[plane.across], h = size[plane.up];
    const image = new ImageData(w, h);
    const v = [0, 0, 0];
    v[plane.normal] = at[plane.normal];
    for (let row = 0; row < h; row++) {
      v[plane.up] = h - 1 - row;
      for (let col = 0; col < w; col++) {
        v[plane.across] = col;
        const n = index(v), share = heat[n] ? (factor * (heat[n] - 128)) / 127 : 0, base = 0.85 * grey[n];
        const strength = Math.abs(share);
        const alpha = heat[n] && strength >= threshold ? opacity * Math.min(0.95, 1.3 * strength) : 0;
        const c = 3 * (128 + Math.round(127 * share)), p = 4 * (row * w + col);
        for (let k = 0; k < 3; k++) image.data[p + k] = alpha * info.colours[c + k] + (1 - alpha) * base;
        image.data[p + 3] = 255;
      }
    }
    plane.small.width = w;
    plane.small.height = h;
    plane.small.getContext("2d").putImageData(image, 0, 0);
    const canvas = plane.canvas, context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(plane.small, 0, 0, canvas.width, canvas.height);
    const x = ((at[plane.across] + 0.5) / w) * canvas.width, y = (1 - (at[plane.up] + 0.5) / h) * canvas.height;
    context.strokeStyle = "rgba(120, 255, 190, .75)";
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x, 0); context.lineTo(x, canvas.height);
    context.moveTo(0, y); context.lineTo(canvas.width, y);
    context.stroke();
    context.fillStyle = "#fff";
    context.font = "bold 16px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.textAlign = "left"; context.fillText(plane.marks[0], 6, canvas.height / 2);
    context.textAlign = "right"; context.fillText(plane.marks[1], canvas.width - 6, canvas.height / 2);
    context.textAlign = "center"; context.fillText(plane.marks[2], canvas.width / 2, 12);
    context.fillText(plane.marks[3], canvas.width / 2, canvas.height - 12);
    const mm = world(at)[plane.normal].toFixed(0);
    canvas.setAttribute("aria-label", `${plane.name} slice at ${"xyz"[plane.normal]} = ${mm} mm`);
  }

  function show() {
    planes.forEach(paint);
    const n = index(at), mm = world(at).map((value) => value.toFixed(0).replace("-", "\u2212"));
    const name = label ? info.names[String(label[n])] || "no region" : "";
    const value = heat[n] ? ((heat[n] - 128) / 127) * info.limit : 0;
    root.querySelector("output").textContent =
      `x ${mm[0]}, y ${mm[1]}, z ${mm[2]} mm` + (name ? `: ${name}` : "") + `; relevance ${value.toPrecision(2).replace("-", "\u2212")}`;
    root.querySelectorAll("input[data-axis]").forEach((slider) => {
      const axis = Number(slider.dataset.axis);
      slider.value = at[axis];
      slider.setAttribute("aria-valuetext", `${world(at)[axis].toFixed(0)} mm`);
    });
  }

  function build() {
    const row = root.querySelector(".planes");
    planes.forEach((plane) => {
      plane.small = document.createElement("canvas");
      const canvas = document.createElement("canvas");
      const wide = size[plane.across] * info.spacing[plane.across], tall = size[plane.up] * info.spacing[plane.up];
      canvas.width = 400;
      canvas.height = Math.round((400 * tall) / wide);
      canvas.setAttribute("role", "img");
      const move = (event) => {
        const box = canvas.getBoundingClientRect();
        at[plane.across] = clamp(((event.clientX - box.left) / box.width) * size[plane.across] - 0.5, plane.across);
        at[plane.up] = clamp((1 - (event.clientY - box.top) / box.height) * size[plane.up] - 0.5, plane.up);
        show();
      };
      canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); move(event); });
      canvas.addEventListener("pointermove", (event) => { if (event.buttons) move(event); });
      canvas.addEventListener("wheel", (event) => {
        event.preventDefault();
        at[plane.normal] = clamp(at[plane.normal] + (event.deltaY > 0 ? -1 : 1), plane.normal);
        show();
      }, { passive: false });
      plane.canvas = canvas;
      row.appendChild(canvas);
    });
    root.querySelectorAll("input[data-axis]").forEach((slider) => {
      const axis = Number(slider.dataset.axis);
      slider.max = size[axis] - 1;
      slider.addEventListener("input", () => { at[axis] = Number(slider.value); show(); });
    });
    root.querySelector("#viewer-opacity").addEventListener("input", (event) => { opacity = event.target.value / 100; show(); });
    root.querySelector("#viewer-threshold").addEventListener("input", (event) => { threshold = event.target.value / 100; show(); });
    const stretch = root.querySelector("#viewer-stretch");
    stretch.addEventListener("change", () => { factor = stretch.checked || !info.scale ? 1 : info.limit / info.scale; show(); });
    stretch.closest("label").hidden = !(info.limit < info.scale);
    document.querySelectorAll("[data-region]").forEach((cell) => {
      const place = info.places[cell.dataset.region];
      if (!place) return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "link";
      button.textContent = cell.textContent;
      button.title = "Show in the viewer";
      button.addEventListener("click", () => {
        place.forEach((value, axis) => { at[axis] = value; });
        show();
        root.scrollIntoView({ block: "nearest" });
      });
      cell.replaceChildren(button);
    });
  }

  Promise.all([unpack(info.scan), unpack(info.relevance), info.labels ? unpack(info.labels) : null]).then((parts) => {
    [grey, heat, label] = parts;
    build();
    show();
    root.hidden = false;
  });
})();
