"use strict";
// The page keeps the photographs; the server is sent them with every question, and keeps none.

const facts = JSON.parse(document.getElementById("facts").textContent);
const chosen = { left: null, right: null }; // {name, data (base64)}
const LEFT = /(^|[^a-z])(left|os|l)([^a-z]|$)|左/i;
const RIGHT = /(^|[^a-z])(right|od|r)([^a-z]|$)|右/i;
let asked = 0; // what is answered later than it is asked anew is not shown

const $ = (selector, inside = document) => inside.querySelector(selector);

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "style") Object.assign(element.style, value);
    else if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

function say(text, failed = false) {
  const status = $("#status");
  status.textContent = text;
  status.classList.toggle("failed", failed);
}

async function post(path, what) {
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(what),
    });
  } catch {
    throw new Error("The server cannot be reached.");
  }
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  throw new Error(error || `The server answered ${response.status}.`);
}

function photographs() {
  return ["left", "right"]
    .filter((eye) => chosen[eye])
    .map((eye) => ({ eye, data: chosen[eye].data }));
}

// Choosing.

function read(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Error(`${file.name} cannot be read.`));
    reader.readAsDataURL(file);
  });
}

function show(eye) {
  const slot = $(`.slot[data-eye=${eye}]`);
  const image = $("img", slot);
  const given = chosen[eye];
  slot.classList.toggle("full", Boolean(given));
  $(".remove", slot).hidden = !given;
  $(".empty", slot).textContent = given ? given.name : "Drop a photograph here, or choose one";
  image.hidden = true;
  if (given) {
    image.onload = () => (image.hidden = false); // not of files that browsers do not know
    image.src = given.url;
  } else {
    image.removeAttribute("src");
    $("input", slot).value = "";
  }
}

async function put(eye, file) {
  if (chosen[eye]) URL.revokeObjectURL(chosen[eye].url);
  chosen[eye] = file && {
    name: file.name,
    data: await read(file),
    url: URL.createObjectURL(file),
  };
  show(eye);
}

async function take(files, eye) {
  try {
    const given = [...files].slice(0, 2);
    if (given.length === 1) {
      await put(eye, given[0]);
    } else {
      // Two at once: by their names, else the first is the right one, as one looks at them.
      const swapped = LEFT.test(given[0].name) || RIGHT.test(given[1].name);
      await put("right", given[swapped ? 1 : 0]);
      await put("left", given[swapped ? 0 : 1]);
    }
    await ask();
  } catch (error) {
    say(error.message, true);
  }
}

for (const slot of document.querySelectorAll(".slot")) {
  const eye = slot.dataset.eye;
  const input = $("input", slot);
  input.addEventListener("change", () => input.files.length && take(input.files, eye));
  $(".remove", slot).addEventListener("click", async () => {
    await put(eye, null);
    $("input", slot).focus();
    await ask();
  });
  for (const name of ["dragenter", "dragover"]) {
    slot.addEventListener(name, (event) => {
      event.preventDefault();
      slot.classList.add("over");
    });
  }
  slot.addEventListener("dragleave", () => slot.classList.remove("over"));
  slot.addEventListener("drop", (event) => {
    event.preventDefault();
    slot.classList.remove("over");
    if (event.dataTransfer.files.length) take(event.dataTransfer.files, eye);
  });
}
for (const name of ["dragover", "drop"]) {
  document.addEventListener(name, (event) => event.preventDefault());
}
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", async () => {
    const number = Number(button.dataset.example);
    const response = await fetch(`examples/${number}.jpg`);
    const eye = number % 2 ? "right" : "left"; // as they are drawn
    const other = eye === "left" ? "right" : "left";
    const file = new File([await response.blob()], `drawn example ${number + 1}.jpg`);
    await put(other, null);
    await take([file], eye);
  });
}

// Answers.

async function ask() {
  const mine = ++asked;
  const given = photographs();
  if (!given.length) {
    $("#answers").replaceChildren();
    $("#save").hidden = true;
    say("");
    return;
  }
  say(given.length > 1 ? "Looking at the photographs …" : "Looking at the photograph …");
  try {
    const { answers } = await (await post("answer", { photographs: given })).json();
    if (mine !== asked) return;
    say("");
    $("#answers").replaceChildren(...answers.map((answer) => card(answer, mine)));
    $("#save").hidden = false;
  } catch (error) {
    if (mine !== asked) return;
    $("#answers").replaceChildren();
    $("#save").hidden = true;
    say(error.message, true);
  }
}

function card(answer, mine) {
  const article = $("#answer").content.cloneNode(true).firstElementChild;
  const eyes = answer.pictures.map((picture) => picture.eye);
  $("h2", article).textContent = `${eyes.join(" and ")} eye${eyes.length > 1 ? "s" : ""}`;
  const why = $(".why", article);
  why.hidden = !answer.why;
  if (answer.why) {
    const after = answer.rows.length ? ". What follows means little." : "";
    why.append(make("b", {}, "Not gradable: "), answer.why + after);
  }
  const poor = $(".poor", article);
  poor.hidden = !answer.poor;
  if (answer.poor) poor.append(make("b", {}, "Poor photograph: "), answer.poor);
  const unlike = $(".unlike", article);
  unlike.hidden = !answer.unlike;
  if (answer.unlike) unlike.append(make("b", {}, "Unfamiliar photograph: "), answer.unlike);
  const said = $(".called", article);
  if (answer.rows.length && !answer.why) {
    if (answer.called.length) said.append("Called: ", make("b", {}, answer.called.join(", ")));
    else said.append("Nothing called");
    if (answer.at_odds) said.append(`: ${answer.at_odds}`);
  }
  for (const note of answer.notes) said.after(make("p", { className: "note" }, note));
  $(".pictures", article).append(...answer.pictures.map(figure));
  $("tbody", article).append(...answer.rows.map((row) => line(row, answer)));
  if (!answer.rows.length) $("table", article).hidden = true;
  if (answer.rows.length && facts.methods.length) controls(article, answer, mine);
  else $(".controls", article).hidden = true;
  return article;
}

function figure({ eye, url }) {
  const shown = url
    ? make("div", { className: "frame" }, make("img", { src: url, alt: `${eye} eye` }))
    : make("div", { className: "none" }, "no picture");
  return make("figure", { "data-eye": eye }, shown, make("figcaption", {}, `${eye} eye`));
}

function line(row, answer) {
  const percent = (value) => `${(100 * value).toFixed(1)}%`;
  const rail = make("div", { className: "rail" }, make("i", { style: { width: percent(row.probability) } }));
  const bounded = row.threshold !== null && !facts.grade;
  if (bounded) rail.append(make("b", { style: { left: percent(row.threshold) } }));
  const cell = (text, name = "") => make("td", { className: name }, text);
  return make(
    "tr",
    { className: row.called ? "yes" : "" },
    cell(row.label),
    cell(row.probability.toFixed(3), "figure"),
    cell(rail, "bar"),
    cell(bounded ? row.threshold.toFixed(3) : "–", "figure"),
    cell(answer.why ? "–" : row.called ? "yes" : "no"),
    cell(row.n ? `${row.had} of ${row.n}` : "–", "figure meant"),
  );
}

// Maps.

function options(select, entries) {
  select.replaceChildren(...entries.map(([value, text]) => make("option", { value }, text)));
  select.parentElement.hidden = entries.length < 2;
}

function controls(article, answer, mine) {
  const [label, method, layer, filter] = ["label", "method", "layer", "filter"].map((name) =>
    $(`select.${name}`, article),
  );
  const slider = $("input[type=range]", article);
  const note = $(".map-note", article);
  const ranked = [...answer.rows].sort((a, b) => b.probability - a.probability);
  const first = ranked.find((row) => row.called) || ranked[0];
  options(label, answer.rows.map((row) => [row.name, row.label]));
  label.value = first.name;
  options(method, facts.methods.map((entry) => [entry.method, entry.method.replaceAll("_", " ")]));
  options(filter, facts.filters);
  const layers = () => {
    const known = facts.methods.find((entry) => entry.method === method.value);
    options(layer, [["", "all, fused"], ...known.layers.map((name) => [name, name])]);
    layer.parentElement.hidden = !known.layers.length;
  };
  layers();

  const opacity = () => {
    for (const over of article.querySelectorAll(".over")) over.style.opacity = slider.value / 100;
  };
  slider.addEventListener("input", opacity);

  let turn = 0;
  const draw = async () => {
    const own = ++turn;
    const eyes = answer.pictures.map((picture) => picture.eye);
    note.textContent = "Making the map …";
    try {
      const response = await post("map", {
        photographs: photographs().filter((x) => eyes.includes(x.eye)),
        label: label.value,
        method: method.value,
        layer: layer.value,
        filter: filter.value || "median",
      });
      const { maps, nothing } = await response.json();
      if (own !== turn || mine !== asked) return;
      for (const frame of article.querySelectorAll(".frame")) {
        const eye = frame.closest("figure").dataset.eye;
        $(".over", frame)?.remove();
        if (maps[eye]) frame.append(make("img", { className: "over", src: maps[eye], alt: "" }));
      }
      opacity();
      const known = facts.methods.find((entry) => entry.method === method.value);
      const same = known.same ? " This method shows the same for every disease." : "";
      note.textContent = nothing
        ? "Nothing in the photograph speaks for it."
        : `Yellow: where the score of “${label.selectedOptions[0].text}” comes from.${same}`;
    } catch (error) {
      if (own === turn) note.textContent = error.message;
    }
  };
  for (const select of [label, layer, filter]) select.addEventListener("change", draw);
  method.addEventListener("change", () => {
    layers();
    draw();
  });
  article.chosen = () => ({
    method: method.value,
    layer: layer.value,
    filter: filter.value || "median",
  });
  draw();
}

$("#case").addEventListener("click", async () => {
  say("Writing the case report …");
  try {
    const article = [...document.querySelectorAll("article")].find((x) => x.chosen);
    const what = { photographs: photographs(), ...(article ? article.chosen() : {}) };
    const file = await (await post("case", what)).blob();
    const link = make("a", { href: URL.createObjectURL(file), download: "case.html" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    say("The case report is downloaded.");
  } catch (error) {
    say(error.message, true);
  }
});
