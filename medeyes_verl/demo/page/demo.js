"use strict";
// Sends the picture and the question, draws each turn as it comes. A policy's words only ever become text nodes.

const SVG = "http://www.w3.org/2000/svg";
const element = (id) => document.getElementById(id);
let settings;
let useExample = false;
let gazes = 0;

function make(name, parent, properties = {}, words = "") {
  const node = document.createElement(name);
  Object.assign(node, properties);
  node.append(words);
  parent.append(node);
  return node;
}

function draw(name, parent, attributes, words = "") {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(words);
  parent.append(node);
  return node;
}

function showPictures(pictures) {
  element("pictures").replaceChildren();
  pictures.forEach(({ url, width, height }, place) => {
    const view = draw("svg", element("pictures"), {
      class: "view", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `image ${place + 1}`,
    });
    draw("image", view, { href: url, width, height });
  });
}

function showTurn(turn) {
  const item = make("li", element("turns"));
  let heading = "answer";
  if (turn.box) {
    gazes += 1;
    heading = `gaze ${gazes}`;
    const colour = settings.colours[(gazes - 1) % settings.colours.length];
    const view = element("pictures").children[turn.image - 1];
    const [x, y, right, bottom] = turn.box;
    const unit = Math.max(view.viewBox.baseVal.width, view.viewBox.baseVal.height) / 20;
    const left = x + (gazes - 1) * unit * 0.4;
    draw("rect", view, { class: "box", stroke: colour, x, y, width: right - x, height: bottom - y });
    draw("rect", view, { fill: colour, x: left, y, width: 1.5 * unit, height: 1.5 * unit });
    draw("text", view, { x: left + 0.75 * unit, y: y + 1.15 * unit, "font-size": 1.2 * unit }, String(gazes));
    view.setAttribute("aria-label", `${view.getAttribute("aria-label")}; gaze ${gazes} at ${turn.box.map(Math.round).join(", ")}`);
    const crop = make("img", item, { src: turn.crop, alt: `crop of gaze ${gazes}` });
    crop.style.borderColor = colour;
  } else if (turn.call) {
    heading = turn.call;
    if (turn.crop) make("img", item, { src: turn.crop, alt: `image after ${turn.call}` });
  } else if (turn.note) heading = "no gaze";
  const words = make("div", item);
  make("b", words, {}, heading);
  make("div", words, {}, turn.reasoning ? `“${turn.reasoning}”` : "no reasoning");
  if (turn.note) make("div", words, { className: "note" }, turn.note);
  make("pre", words, {}, turn.text);
}

function showEnd(record) {
  const item = make("li", element("turns"));
  const words = make("div", item);
  make("div", words, { className: "answer" }, record.answer ?? `no answer (${record.finish.replace("_", " ")})`);
  if (useExample) make("div", words, {}, `truth: ${settings.example.truth}`);
  if (record.faults.length) make("div", words, { className: "note" }, `faults: ${record.faults.join(", ").replaceAll("_", " ")}`);
}

async function* jsonLines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}

async function look(event) {
  event.preventDefault();
  const file = element("picture").files[0];
  const status = element("status");
  status.className = "";
  if (!useExample && !file) { status.textContent = "Choose an image first."; return; }
  if (!useExample && file.size > settings.most_bytes) { status.textContent = "The image is too large."; return; }
  element("go").disabled = true;
  element("turns").replaceChildren();
  gazes = 0;
  status.textContent = "looking …";
  try {
    const query = new URLSearchParams({ question: element("question").value, example: useExample ? "1" : "0" });
    const response = await fetch(`/play?${query}`, {
      method: "POST", headers: { "x-medeyes-demo": "1" }, body: useExample ? "" : file,
    });
    if (!response.ok) throw new Error(await response.text());
    for await (const line of jsonLines(response)) {
      if (line.kind === "pictures") showPictures(line.pictures);
      else if (line.kind === "turn") showTurn(line);
      else if (line.kind === "end") showEnd(line);
      else throw new Error(line.message);
    }
    status.textContent = "";
  } catch (error) {
    status.className = "error";
    status.textContent = error.message;
  } finally {
    element("go").disabled = false;
  }
}

async function begin() {
  settings = await (await fetch("/start")).json();
  element("disclaimer").textContent = settings.disclaimer;
  element("policy").textContent = settings.policy;
  element("destination").textContent = settings.destination;
  element("example").hidden = !settings.example;
  element("example").addEventListener("click", () => {
    useExample = true;
    element("picture").value = "";
    element("question").value = settings.example.question;
    element("status").textContent = "The example is taken.";
  });
  element("picture").addEventListener("change", () => { useExample = false; element("status").textContent = ""; });
  element("ask").addEventListener("submit", look);
  // nothing can be chosen or sent before the page has said where it goes
  element("picture").disabled = element("go").disabled = false;
}

begin();
