const PRESETS = [
  { name: "Brain", centre: 40, width: 80 },
  { name: "Subdural", centre: 75, width: 215 },
  { name: "Stroke", centre: 35, width: 35 },
  { name: "Bone", centre: 600, width: 2800 },
];
const AT_ONCE = 4;

function made(name, attributes, text) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

class Viewer {
  constructor(place, data) {
    this.token = data.token;
    this.stacks = data.stacks;
    this.bar = made("div", { class: "bar" });
    this.stage = made("div", {
      class: "stage",
      tabindex: "0",
      role: "application",
      "aria-label": "Images. Arrow keys change the image, 1 to 4 the window, 0 goes back to the first window.",
    });
    this.canvas = made("canvas", {});
    this.where = made("div", { class: "note where" });
    this.shown = made("div", { class: "note window" });
    this.value = made("div", { class: "note value" });
    this.stage.append(this.canvas, this.where, this.shown, this.value);
    this.slider = made("input", { type: "range", min: "1", "aria-label": "Image" });
    place.replaceChildren(this.bar, this.stage, this.slider);
    this.listen();
    this.choose(0);
  }

  choose(number) {
    this.number = number;
    this.stack = this.stacks[number];
    this.values = new Array(this.stack.images);
    this.centre = this.stack.centre;
    this.width = this.stack.width;
    this.canvas.width = this.stack.columns;
    this.canvas.height = this.stack.rows;
    this.canvas.style.aspectRatio = `${this.stack.columns} / ${this.stack.rows * this.stack.aspect}`;
    this.slider.max = String(this.stack.images);
    this.buttons();
    this.go(Math.floor(this.stack.images / 2));
    this.load();
  }

  buttons() {
    const parts = [];
    if (this.stacks.length > 1) {
      const picker = made("select", { "aria-label": "Series" });
      this.stacks.forEach((one, place) => picker.append(made("option", { value: String(place) }, one.label)));
      picker.value = String(this.number);
      picker.addEventListener("change", () => this.choose(Number(picker.value)));
      parts.push(picker);
    }
    if (this.stack.hounsfield) {
      this.presets = PRESETS.map((preset) => {
        const button = made("button", { type: "button" }, preset.name);
        button.addEventListener("click", () => this.window(preset.centre, preset.width));
        parts.push(button);
        return button;
      });
    } else {
      this.presets = [];
    }
    this.bar.replaceChildren(...parts);
  }

  async load() {
    const { number, stack, values } = this;
    const middle = this.at;
    const order = [...Array(stack.images).keys()].sort((a, b) => Math.abs(a - middle) - Math.abs(b - middle));
    const worker = async () => {
      while (order.length && this.values === values) {
        const image = order.shift();
        if (!values[image]) await this.fetch(number, image, values);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  }

  async fetch(number, image, values) {
    try {
      const answer = await fetch(`/reading/${this.token}/${number}/${image}`, { credentials: "same-origin" });
      if (!answer.ok) throw new Error(String(answer.status));
      values[image] = new Int16Array(await answer.arrayBuffer());
    } catch {
      values[image] = null;
    }
    if (values === this.values && image === this.at) this.draw();
  }

  go(image) {
    this.at = Math.max(0, Math.min(this.stack.images - 1, image));
    this.slider.value = String(this.at + 1);
    this.slider.setAttribute("aria-valuetext", `Image ${this.at + 1} of ${this.stack.images}`);
    this.draw();
  }

  window(centre, width) {
    this.centre = centre;
    this.width = Math.max(1, width);
    this.draw();
  }

  draw() {
    const values = this.values[this.at];
    this.where.textContent = `Image ${this.at + 1} of ${this.stack.images}`;
    this.shown.textContent = `C ${Math.round(this.centre)}  W ${Math.round(this.width)}`;
    this.presets.forEach((button, place) => {
      const same = PRESETS[place].centre === this.centre && PRESETS[place].width === this.width;
      button.setAttribute("aria-pressed", String(same));
    });
    const context = this.canvas.getContext("2d");
    if (!values) {
      context.clearRect(0, 0, this.canvas.width, this.canvas.height);
      this.value.textContent = values === null ? "This image could not be fetched. Load the page again." : "Loading";
      this.stage.dataset.drawn = "";
      return;
    }
    this.value.textContent = "";
    const picture = context.createImageData(this.stack.columns, this.stack.rows);
    const pixels = new Uint32Array(picture.data.buffer);
    const low = this.centre - this.width / 2;
    const scale = 255 / this.width;
    for (let at = 0; at < pixels.length; at += 1) {
      let grey = (values[at] - low) * scale;
      grey = grey < 0 ? 0 : grey > 255 ? 255 : grey;
      if (this.stack.inverted) grey = 255 - grey;
      pixels[at] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
    }
    context.putImageData(picture, 0, 0);
    this.stage.dataset.drawn = String(this.at + 1);
  }

  listen() {
    const keys = {
      ArrowDown: 1, ArrowRight: 1, PageDown: 5, ArrowUp: -1, ArrowLeft: -1, PageUp: -5, Home: -1e6, End: 1e6,
    };
    this.stage.addEventListener("keydown", (event) => {
      if (event.key in keys) this.go(this.at + keys[event.key]);
      else if (event.key === "0") this.window(this.stack.centre, this.stack.width);
      else if (this.presets.length && PRESETS[Number(event.key) - 1]) {
        const preset = PRESETS[Number(event.key) - 1];
        this.window(preset.centre, preset.width);
      } else return;
      event.preventDefault();
      event.stopPropagation();
    });
    this.stage.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        this.go(this.at + Math.sign(event.deltaY));
      },
      { passive: false },
    );
    let held = null;
    this.stage.addEventListener("pointerdown", (event) => {
      this.stage.focus();
      this.stage.setPointerCapture(event.pointerId);
      held = { x: event.clientX, y: event.clientY, centre: this.centre, width: this.width };
    });
    this.stage.addEventListener("pointermove", (event) => {
      if (held) {
        const step = Math.max(1, held.width / 200);
        this.window(held.centre + (event.clientY - held.y) * step, held.width + (event.clientX - held.x) * step);
        return;
      }
      const box = this.canvas.getBoundingClientRect();
      const column = Math.floor(((event.clientX - box.left) / box.width) * this.stack.columns);
      const row = Math.floor(((event.clientY - box.top) / box.height) * this.stack.rows);
      const values = this.values[this.at];
      const inside = column >= 0 && column < this.stack.columns && row >= 0 && row < this.stack.rows;
      if (values) {
        const unit = this.stack.hounsfield ? " HU" : "";
        this.value.textContent = inside ? `${values[row * this.stack.columns + column]}${unit}` : "";
      }
    });
    this.stage.addEventListener("pointerup", () => { held = null; });
    this.stage.addEventListener("pointercancel", () => { held = null; });
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value) - 1));
  }
}

export default function (component) {
  const { data, parentElement } = component;
  const place = parentElement.querySelector(".viewer");
  if (place.viewer?.token === data.token) return;
  place.viewer = new Viewer(place, data);
}
