const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function drawBox(box, selected, choose) {
  const group = element("g", {
    class: [box.tone, box.key ? "selectable" : "", box.key && box.key === selected ? "selected" : ""].join(" "),
    "aria-label": box.label,
    role: box.key ? "button" : "img",
  });
  if (box.key) {
    group.setAttribute("tabindex", "0");
    group.setAttribute("aria-pressed", String(box.key === selected));
    group.setAttribute("data-box", box.key);
    group.addEventListener("click", () => choose(box.key));
    group.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
      choose(box.key);
    });
  }
  group.append(element("rect", { x: box.x, y: box.y, width: box.width, height: box.height, rx: 7 }));
  const centre = box.x + box.width / 2;
  const top = box.y + (box.height - 56 - 17 * box.lines.length) / 2;
  group.append(element("text", { class: "title", x: centre, y: top + 21, "text-anchor": "middle" }, box.title));
  group.append(element("text", { class: "count", x: centre, y: top + 43, "text-anchor": "middle" }, box.count));
  box.lines.forEach((line, place) => {
    const y = top + 61 + 17 * place;
    group.append(element("text", { class: "small", x: centre, y, "text-anchor": "middle" }, line));
  });
  return group;
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const { drawing, selected } = data;
  const place = parentElement.querySelector(".flow");
  const focused = parentElement.activeElement?.getAttribute?.("data-box");
  const svg = element("svg", {
    viewBox: `-2 -2 964 ${drawing.height + 4}`,
    role: "group",
    "aria-label": drawing.label,
  });
  for (const line of drawing.lines) {
    const points = [];
    for (let at = 0; at < line.length; at += 2) points.push(`${line[at]},${line[at + 1]}`);
    svg.append(element("polyline", { points: points.join(" ") }));
  }
  for (const heading of drawing.headings) {
    const width = heading.text.length * 7.6;
    svg.append(element("rect", { class: "behind", x: 480 - width / 2, y: heading.y - 15, width, height: 20 }));
    svg.append(element("text", { class: "heading", x: 480, y: heading.y, "text-anchor": "middle" }, heading.text));
  }
  for (const box of drawing.rectangles) {
    svg.append(drawBox(box, selected, (key) => setTriggerValue("selected", key)));
  }
  place.replaceChildren(svg);
  if (focused) svg.querySelector(`[data-box="${CSS.escape(focused)}"]`)?.focus();
}
