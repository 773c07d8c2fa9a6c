// Three linked planes through one scan with its heatmap: mouse, touch, wheel, keyboard. Nothing is loaded from anywhere.
(function () {
  "use strict";
  const root = document.getElementById("viewer");
  const store = document.getElementById("viewer-data");
  if (!root || !store || typeof DecompressionStream === "undefined") return;
  const info = JSON.parse(store.textContent);
  const PLANES = [
    { name: "axial", normal: 2, across: 0, up: 1, marks: ["L", "R", "A", "P"] },
    { name: "coronal", normal: 1, across: 0, up: 2, marks: ["L", "R", "S", "I"] },
    { name: "sagittal", normal: 0, across: 1, up: 2, marks: ["P", "A", "S", "I"] },
  ];
  const WIDTH = 440; // pixels of a canvas
  const find = (query) => root.querySelector(query);
  const inBox = (mm, axis) => Math.min(info.box[axis][1], Math.max(info.box[axis][0], mm));
  const rows = (matrix, v) => matrix.map((row) => row[0] * v[0] + row[1] * v[1] + row[2] * v[2] + row[3]);
  const figure = (value) => (value ? value.toPrecision(2) : "0").replace(/-/g, "\u2212");
  const whole = (mm) => mm.toFixed(0).replace(/^-0$/, "0").replace("-", "\u2212");

  // colours from -1 to 1: those of the page's other pictures, and more by choice
  const between = (stops) => Array.from({ length: 257 * 3 }, (_, n) => {
    const place = (Math.floor(n / 3) / 256) * (stops.length - 1), k = Math.min(stops.length - 2, Math.floor(place)), c = n % 3;
    return stops[k][c] + (place - k) * (stops[k + 1][c] - stops[k][c]);
  });
  const COLOURS = {
    "Blue and orange": info.colours,
    "Cold and hot": between([[255, 255, 255], [0, 255, 255], [0, 0, 255], [0, 0, 0], [255, 0, 0], [255, 255, 0], [255, 255, 255]]),
    "Green and purple": between([[170, 255, 170], [30, 160, 60], [0, 0, 0], [130, 40, 180], [240, 180, 255]]),
  };

  // what the reader chose; `at` in millimetres along the planes' axes
  const view = { at: frameOf(info.start), zoom: 1, opacity: 1, threshold: 0.05, cluster: 0, dark: 0, bright: 1, smooth: true, contour: false, regions: false,
    positive: true, negative: true, stretch: false, picture: Object.keys(info.pictures)[0], colours: info.colours };
  const canvases = [];

  async function unpack(volume) {
    if (!volume) return null;
    const packed = Uint8Array.from(atob(volume.data), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    volume.values = new Uint8Array(await new Response(stream).arrayBuffer());
    return volume;
  }

  function frameOf(world) { // the planes' axes have length 1, but need not be at right angles
    const m = info.to_world, det = (a, b, c) => a[0] * (b[1] * c[2] - b[2] * c[1]) - b[0] * (a[1] * c[2] - a[2] * c[1]) + c[0] * (a[1] * b[2] - a[2] * b[1]);
    const column = (k) => [m[0][k], m[1][k], m[2][k]], right = world.map((mm, k) => mm - m[k][3]);
    const all = det(column(0), column(1), column(2));
    return [det(right, column(1), column(2)) / all, det(column(0), right, column(2)) / all, det(column(0), column(1), right) / all];
  }

  // Values of a volume at the pixels of a plane: `smooth` between voxels, else of the nearest; `empty` outside its grid.
  function sample(volume, plane, smooth, empty) {
    const { w, h, low, top, scale } = plane, [X, Y, Z] = volume.shape, values = volume.values;
    const out = new Float32Array(w * h), corner = view.at.slice(), m = volume.matrix;
    corner[plane.across] = low + 0.5 / scale;
    corner[plane.up] = top - 0.5 / scale;
    const start = rows(m, corner);
    const along = m.map((row) => row[plane.across] / scale), down = m.map((row) => -row[plane.up] / scale);
    for (let row = 0; row < h; row++) {
      let x = start[0] + row * down[0], y = start[1] + row * down[1], z = start[2] + row * down[2];
      for (let col = 0, n = row * w; col < w; col++, n++, x += along[0], y += along[1], z += along[2]) {
        if (x < -0.5 || y < -0.5 || z < -0.5 || x > X - 0.5 || y > Y - 0.5 || z > Z - 0.5) { out[n] = empty; continue; }
        if (!smooth) {
          out[n] = values[Math.min(X - 1, Math.round(x)) + X * (Math.min(Y - 1, Math.round(y)) + Y * Math.min(Z - 1, Math.round(z)))];
          continue;
        }
        const cx = Math.max(0, x), cy = Math.max(0, y), cz = Math.max(0, z);
        const i = Math.min(X - 1, cx | 0), j = Math.min(Y - 1, cy | 0), k = Math.min(Z - 1, cz | 0);
        const fx = i + 1 < X ? cx - i : 0, fy = j + 1 < Y ? cy - j : 0, fz = k + 1 < Z ? cz - k : 0;
        const at = i + X * (j + Y * k), dx = fx ? 1 : 0, dy = fy ? X : 0, dz = fz ? X * Y : 0;
        const a = values[at] * (1 - fx) + values[at + dx] * fx, b = values[at + dy] * (1 - fx) + values[at + dy + dx] * fx;
        const c = values[at + dz] * (1 - fx) + values[at + dz + dx] * fx, d = values[at + dz + dy] * (1 - fx) + values[at + dz + dy + dx] * fx;
        out[n] = (a * (1 - fy) + b * fy) * (1 - fz) + (c * (1 - fy) + d * fy) * fz;
      }
    }
    return out;
  }

  const factor = () => (view.stretch || !(info.scale > 0) ? 1 : info.limit / info.scale);
  function shown(share) { // 0 for what the reader hides
    const cut = Math.max(-1, Math.min(1, share));
    return Math.abs(cut) >= view.threshold && (cut > 0 ? view.positive : view.negative) ? cut : 0;
  }

  // Voxels of clusters smaller than so many millilitres are emptied; a cluster's voxels share faces, threshold and sign.
  function cluster(volume) {
    if (!volume) return;
    volume.kept = null;
    if (!view.cluster) return;
    const [X, Y, Z] = volume.shape, values = volume.values, m = volume.matrix, sides = [[1, 0, X], [X, 1, Y], [X * Y, 2, Z]];
    const det = m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
    const least = view.cluster * 1000 * Math.abs(det); // voxels
    const signs = Int8Array.from({ length: 256 }, (_, code) => Math.sign(shown(((code - 128) / 127) * factor())));
    const seen = new Uint8Array(values.length), queue = new Int32Array(values.length);
    volume.kept = values.slice();
    for (let first = 0; first < values.length; first++) {
      if (seen[first] || !signs[values[first]]) continue;
      let end = 0;
      queue[end++] = first;
      seen[first] = 1;
      for (let next = 0; next < end; next++) {
        const at = queue[next], place = [at % X, Math.floor(at / X) % Y, Math.floor(at / (X * Y))];
        for (const [step, axis, size] of sides) {
          for (const way of [-1, 1]) {
            const other = at + way * step, along = place[axis] + way;
            if (along < 0 || along >= size || seen[other] || signs[values[other]] !== signs[values[first]]) continue;
            seen[other] = 1;
            queue[end++] = other;
          }
        }
      }
      if (end < least) for (let n = 0; n < end; n++) volume.kept[queue[n]] = 128;
    }
  }

  function paint(plane) {
    const { canvas, w, h } = plane, context = canvas.getContext("2d"), image = new ImageData(w, h), data = image.data;
    aim(plane);
    const picture = info.pictures[view.picture];
    const span = 255 * Math.max(0.01, view.bright - view.dark); // of the window of greys
    const grey = picture ? sample(picture, plane, view.smooth, 0).map((code) => 255 * Math.max(0, Math.min(1, (code - 255 * view.dark) / span))) : new Float32Array(w * h);
    const label = view.regions && info.labels ? sample(info.labels, plane, false, 0) : null;
    const shares = sample({ ...plane.volume, values: plane.volume.kept || plane.volume.values }, plane, view.smooth, 128).map((code) => shown(((code - 128) / 127) * factor()));
    // the pixels beside n that are of the picture; a pixel is an edge where one of them differs
    const edge = (values, n, differs) => (n % w && differs(values[n - 1])) || (n % w < w - 1 && differs(values[n + 1])) ||
      (n >= w && differs(values[n - w])) || (n + w < w * h && differs(values[n + w]));
    for (let n = 0, p = 0; n < w * h; n++, p += 4) {
      const outlined = view.contour && shares[n] && edge(shares, n, (share) => !share);
      const share = view.contour ? (outlined ? 0.75 * Math.sign(shares[n]) : 0) : shares[n];
      const alpha = share ? view.opacity * Math.min(0.95, 1.3 * Math.abs(share)) : 0;
      const c = 3 * (128 + Math.round(127 * share)), line = label && edge(label, n, (other) => other < label[n]);
      for (let k = 0; k < 3; k++) {
        const value = alpha * view.colours[c + k] + (1 - alpha) * 0.85 * grey[n];
        data[p + k] = line ? 0.5 * value + 90 : value;
      }
      data[p + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    const x = (view.at[plane.across] - plane.low) * plane.scale, y = (plane.top - view.at[plane.up]) * plane.scale;
    context.strokeStyle = "rgba(120, 255, 190, .6)";
    context.lineWidth = 1;
    context.beginPath();
    for (const [from, to] of [[[x, 0], [x, y - 9]], [[x, y + 9], [x, h]], [[0, y], [x - 9, y]], [[x + 9, y], [w, y]]]) {
      context.moveTo(...from);
      context.lineTo(...to);
    }
    context.stroke();
    context.fillStyle = "#fff";
    context.font = "bold 17px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.textAlign = "left"; context.fillText(plane.marks[0], 6, h / 2);
    context.textAlign = "right"; context.fillText(plane.marks[1], w - 6, h / 2);
    context.textAlign = "center"; context.fillText(plane.marks[2], w / 2, 13);
    context.fillText(plane.marks[3], w / 2, h - 13);
    const mm = whole(rows(info.to_world, view.at)[plane.normal]);
    canvas.setAttribute("aria-label", `${plane.of}, ${plane.name} slice at ${"xyz"[plane.normal]} = ${mm} mm; arrow keys move, page keys change the slice, plus and minus zoom`);
  }

  function aim(plane) { // which part of the plane the canvas shows
    const size = (axis) => info.box[axis][1] - info.box[axis][0];
    plane.scale = (plane.w / size(plane.across)) * view.zoom;
    const from = (axis, pixels) => { // around the crosshair, but not beyond the box
      const shown = pixels / plane.scale, low = view.at[axis] - shown / 2;
      return Math.max(info.box[axis][0], Math.min(info.box[axis][1] - shown, low));
    };
    plane.low = from(plane.across, plane.w);
    plane.top = from(plane.up, plane.h) + plane.h / plane.scale;
  }

  function valueAt(volume, at, empty) {
    const v = rows(volume.matrix, at).map(Math.round), [X, Y, Z] = volume.shape;
    return v[0] < 0 || v[1] < 0 || v[2] < 0 || v[0] >= X || v[1] >= Y || v[2] >= Z ? empty : volume.values[v[0] + X * (v[1] + Y * v[2])];
  }

  function said(at) {
    const mm = rows(info.to_world, at).map(whole);
    const name = info.labels ? info.names[String(valueAt(info.labels, at, 0))] || "no region" : "";
    let text = `x ${mm[0]}, y ${mm[1]}, z ${mm[2]} mm` + (name ? `: ${name}` : "") +
      `; relevance ${figure(((valueAt(info.relevance, at, 128) - 128) / 127) * info.limit)}`;
    if (info.controls) text += `, controls' mean ${figure(((valueAt(info.controls, at, 128) - 128) / 127) * info.limit)}`;
    return text;
  }

  let asked = false;
  function show() { // once a frame, however many events there were
    root.querySelector("output").textContent = said(view.at);
    root.querySelectorAll("input[data-axis]").forEach((slider) => {
      const axis = Number(slider.dataset.axis);
      slider.value = view.at[axis];
      slider.setAttribute("aria-valuetext", `${whole(rows(info.to_world, view.at)[axis])} mm`);
    });
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; canvases.forEach(paint); });
  }

  function bar() { // the scale of the colours, with the threshold's marks; and which clusters it leaves
    cluster(info.relevance);
    cluster(info.controls);
    find("[data-share=cluster]").setAttribute("aria-valuetext", find(".least").textContent = `${view.cluster.toFixed(1)} ml`);
    const end = factor() ? info.limit / factor() : info.limit;
    find(".ends").replaceChildren(...[-end, 0, end].map((value) => {
      const span = document.createElement("span");
      span.textContent = value ? figure(value) : "0";
      return span;
    }));
    const canvas = find(".bar canvas"), context = canvas.getContext("2d"), w = canvas.width, h = canvas.height;
    for (let x = 0; x < w; x++) {
      const share = shown((2 * x) / (w - 1) - 1), c = 3 * (128 + Math.round(127 * share));
      const alpha = view.opacity * Math.min(0.95, 1.3 * Math.abs(share));
      context.fillStyle = `rgb(${[0, 1, 2].map((k) => Math.round(alpha * view.colours[c + k] + (1 - alpha) * 60)).join()})`;
      context.fillRect(x, 0, 1, h);
    }
    context.fillStyle = "#fff";
    for (const side of [-1, 1]) context.fillRect(((side * view.threshold + 1) / 2) * (w - 1) - 1, 0, 2, h);
  }

  function go(at) {
    view.at = at.map(inBox);
    show();
  }

  function zoomBy(times) {
    view.zoom = Math.min(8, Math.max(1, view.zoom * times));
    show();
  }

  function listen(plane) {
    const canvas = plane.canvas, fingers = new Map();
    let apart = 0;
    const point = (event) => {
      const box = canvas.getBoundingClientRect(), at = view.at.slice();
      at[plane.across] = plane.low + ((event.clientX - box.left) / box.width) * (plane.w / plane.scale);
      at[plane.up] = plane.top - ((event.clientY - box.top) / box.height) * (plane.h / plane.scale);
      return at;
    };
    const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY); };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, event);
      if (fingers.size === 2) apart = spread();
      else go(point(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (fingers.has(event.pointerId)) fingers.set(event.pointerId, event);
      if (fingers.size === 2) { // pinch
        const now = spread();
        if (apart > 0) zoomBy(now / apart);
        apart = now;
      } else if (event.buttons && view.zoom === 1) go(point(event));
      find(".under").textContent = said(point(event));
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
    canvas.addEventListener("pointerleave", () => { find(".under").textContent = ""; });
    const step = (axis, count) => { const at = view.at.slice(); at[axis] += count * info.step; go(at); };
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.ctrlKey) zoomBy(event.deltaY > 0 ? 0.8 : 1.25);
      else step(plane.normal, event.deltaY > 0 ? -1 : 1);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [plane.across, -1], ArrowRight: [plane.across, 1], ArrowUp: [plane.up, 1], ArrowDown: [plane.up, -1],
        PageUp: [plane.normal, 1], PageDown: [plane.normal, -1] };
      if (moves[event.key]) step(...moves[event.key]);
      else if (event.key === "+" || event.key === "=") zoomBy(1.25);
      else if (event.key === "-") zoomBy(0.8);
      else if (event.key === "0") zoomBy(0);
      else return;
      event.preventDefault();
    });
  }

  function add(row, volume, of) {
    PLANES.forEach((kind) => {
      const size = (axis) => info.box[axis][1] - info.box[axis][0], canvas = document.createElement("canvas");
      const plane = { ...kind, canvas, volume, of, w: WIDTH, h: Math.round((WIDTH * size(kind.up)) / size(kind.across)) };
      canvas.width = plane.w;
      canvas.height = plane.h;
      canvas.tabIndex = 0;
      canvas.setAttribute("role", "application");
      canvases.push(plane);
      listen(plane);
      row.appendChild(canvas);
    });
  }

  function build() {
    add(find(".planes"), info.relevance, "this scan");
    if (info.controls) {
      add(find(".planes.controls"), info.controls, "mean of the controls");
      find(".beside").hidden = false;
      find(".beside summary").textContent = `Mean of ${info.controls.n} controls, at the same place and on the same scale`;
    }
    root.querySelectorAll("input[data-axis]").forEach((slider) => {
      const axis = Number(slider.dataset.axis);
      const [low, high] = info.box[axis];
      [slider.min, slider.max, slider.step] = [low + info.step / 2, high - info.step / 2, info.step]; // voxels' centres
      slider.addEventListener("input", () => { const at = view.at.slice(); at[axis] = Number(slider.value); go(at); });
    });
    root.querySelectorAll("input[data-share]").forEach((slider) => slider.addEventListener("input", () => {
      view[slider.dataset.share] = slider.value / 100;
      bar();
      show();
    }));
    root.querySelectorAll("input[data-switch]").forEach((box) => box.addEventListener("change", () => {
      view[box.dataset.switch] = box.checked;
      bar();
      show();
    }));
    find("[data-switch=stretch]").closest("label").hidden = !(info.limit < info.scale);
    find("[data-switch=regions]").closest("label").hidden = !info.labels;
    root.querySelectorAll("button[data-zoom]").forEach((button) => button.addEventListener("click", () => zoomBy(Number(button.dataset.zoom))));
    const tints = find("[data-colours]");
    Object.keys(COLOURS).forEach((name) => tints.add(new Option(name)));
    tints.addEventListener("change", () => { view.colours = COLOURS[tints.value]; bar(); show(); });
    const choice = find("[data-anatomy]"), names = Object.keys(info.pictures);
    names.forEach((name) => choice.add(new Option(name)));
    choice.closest("label").hidden = names.length < 2;
    choice.addEventListener("change", () => { view.picture = choice.value; show(); });
    document.querySelectorAll("[data-region]").forEach((cell) => {
      const place = info.places[cell.dataset.region];
      if (!place) return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "link";
      button.textContent = cell.textContent;
      button.title = "Show in the viewer";
      button.addEventListener("click", () => {
        go(frameOf(place));
        root.scrollIntoView({ block: "nearest" });
      });
      cell.replaceChildren(button);
    });
  }

  const volumes = [...Object.values(info.pictures), info.relevance, info.controls, info.labels];
  Promise.all(volumes.map(unpack)).then(() => {
    build();
    bar();
    root.hidden = false;
    show();
  });
})();
