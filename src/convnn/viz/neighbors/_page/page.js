// What the page does: one state, everything on the screen drawn from it, and the ways to change it.

const data = JSON.parse(document.getElementById("data").textContent);
const { image } = data;
const layers = await Promise.all(data.layers.map((record) => Layer.read(record, image)));
const backgrounds = await readBackgrounds(image);
const counts = layers.map((layer) => paintCounts(layer, data.heatColors));
const at = (id) => document.getElementById(id);
const VIEWS = ["neighbors", "chosen"];
const LISTED = 9; // of the places that are chosen most
const CHOOSER = "#ff8a5c";
const GONE = "#16181d"; // patches that have left
const READABLE = 20; // letters of a layer's name
const SETTLED = 250; // milliseconds without a change until the address follows and the page is read out

const picture = new Picture(at("picture"), image, 9);
const shortNames = shorten(layers.map((layer) => layer.name));
const thumbnails = layers.map((layer, index) => addCard(layer, index));
const plain = addPlainImage();
const state = { layer: 0, ...data.start, view: "neighbors", held: false, emphasis: null };
let listed = []; // places of the rows of the list
let frame = 0;
let timer = 0;

// ---- state -------------------------------------------------------------------------------------------------------

function change(part) {
  Object.assign(state, part);
  frame ||= requestAnimationFrame(render);
  clearTimeout(timer);
  timer = setTimeout(settle, SETTLED);
}

function moveTo({ row, column }) {
  change({ row: clamp(row, image.height), column: clamp(column, image.width), emphasis: null });
}

/** What answers for a pixel: in one view the nearest position that chooses, in the other the place itself. */
function placeFor(pixel) {
  const layer = layers[state.layer];
  return state.view === "neighbors" ? layer.placeOf(layer.queryAt(pixel)) : layer.placeAt(pixel);
}

/** Go on in one direction until another place answers. */
function step(rows, columns) {
  const here = placeFor(state);
  for (
    let pixel = { row: state.row + rows, column: state.column + columns };
    pixel.row >= 0 && pixel.row < image.height && pixel.column >= 0 && pixel.column < image.width;
    pixel = { row: pixel.row + rows, column: pixel.column + columns }
  ) {
    const there = placeFor(pixel);
    if (!same(here, there)) return moveTo(layers[state.layer].pixelAt(there));
  }
}

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const number = (name, fallback) => (/^\d{1,9}$/.test(given.get(name)) ? Number(given.get(name)) : fallback);
  moveTo({ row: number("row", state.row), column: number("column", state.column) });
  change({
    layer: clamp(number("layer", state.layer + 1) - 1, layers.length),
    view: VIEWS.includes(given.get("view")) ? given.get("view") : state.view,
    held: given.has("held"),
  });
}

/** When nothing has moved for a while: keep the address, and say it to those who listen. */
function settle() {
  const { layer, row, column, view, held } = state;
  const address = `#layer=${layer + 1}&row=${row}&column=${column}&view=${view}${held ? "&held=yes" : ""}`;
  if (location.hash !== address) history.replaceState(null, "", address);
  at("live").textContent = spoken();
}

// ---- drawing -----------------------------------------------------------------------------------------------------

function render() {
  frame = 0;
  const layer = layers[state.layer];
  draw(picture, state.layer);
  thumbnails.forEach((thumbnail, index) => draw(thumbnail, index));
  plain.clear(backgrounds.plain);
  plain.outline(image, state, { width: 1.2 });
  document.querySelectorAll("[name=layer]").forEach((radio, index) => select(radio, index === state.layer));
  document.querySelectorAll("[name=view]").forEach((radio) => (radio.checked = radio.value === state.view));
  at("pixel").textContent = `Pixel in row ${state.row}, column ${state.column} of the image`;
  at("held").hidden = !state.held;
  at("number").textContent = `Layer ${state.layer + 1} of ${layers.length}`;
  at("name").textContent = layer.name;
  at("map-size").textContent = describe(layer);
  (state.view === "neighbors" ? showNeighbors : showChosen)(layer);
}

/** Check the radio button of a layer, and scroll its list, not the page, until one sees it. */
function select(radio, checked) {
  if (checked && !radio.checked) {
    const [list, card] = [at("layers"), radio.parentElement];
    const left = card.offsetLeft - (list.clientWidth - card.offsetWidth) / 2;
    const top = card.offsetTop - (list.clientHeight - card.offsetHeight) / 2;
    list.scrollTo({ left, top });
  }
  radio.checked = checked;
}

function draw(target, index) {
  const layer = layers[index];
  if (state.view === "neighbors") {
    target.clear(layer.gone ? backgrounds.plain : backgrounds.dimmed);
    for (const place of layer.gone ?? []) target.mark(layer, place, GONE);
    const query = layer.queryAt(state);
    const marks = layer.choices(query).map((place, rank) => [place, rankColor(data.rankColors, rank, layer.mostOthers)]);
    for (const [place, color] of marks.reverse()) target.mark(layer, place, color); // the best on top
    target.outline(layer, layer.placeOf(query));
  } else {
    target.clear(counts[index]);
    const place = layer.placeAt(state);
    const choosers = target === picture ? layer.choosers(place) : [];
    for (const chooser of choosers) target.outline(layer, chooser, { color: CHOOSER, width: 1.5 });
    target.outline(layer, place);
  }
  if (target === picture && state.emphasis) target.outline(layer, state.emphasis, { width: 3 });
}

function showNeighbors(layer) {
  const query = layer.queryAt(state);
  const own = layer.placeOf(query);
  const facts = layer.facts(query);
  const { total } = layer;
  const mean = (facts, distance) => `${number(facts[distance] / facts.placed)} px`;
  showFacts([
    ["Mean distance, map", mean(facts, "onMap"), mean(total, "onMap")],
    ["Mean distance, image", mean(facts, "onImage"), mean(total, "onImage")],
    ["Farthest, map", `${number(facts.farthest)} px`, `${number(total.farthest)} px`],
    [`In the ${layer.window} × ${layer.window} window`, share(facts, "inWindow"), percent(total, "inWindow")],
    [layer.outside === "padding" ? "In the padding" : "Class token", share(facts, "outside"), percent(total, "outside")],
  ]);
  const verb = layer.gone ? "leaves, and passes its features to" : "chooses";
  at("list-title").textContent = `Row ${own.row}, column ${own.column} of the map ${verb} ${whom(layer, query)}`;
  const rows = layer.choices(query).map((place, rank) => {
    const color = rankColor(data.rankColors, rank, layer.mostOthers);
    const { onMap } = layer.distance(own, place);
    return { place, cells: [chip(color, rank + 1), named(layer, place), number(onMap), score(place.score)] };
  });
  showList(["rank", "row, column", "distance", "score"], rows);
  const count = layer.mostOthers;
  const colors = Array.from({ length: count }, (_, rank) => rankColor(data.rankColors, rank, count));
  const [first, last] = layer.gone ? ["largest share", "smallest share"] : ["most similar", "least similar"];
  showScale(colors, count > 1 ? [`1 ${first}`, `${count} ${last}`] : ["1"]);
  const strip = layer.outside === "padding" ? "the padding" : "the class token";
  at("meaning").textContent = layer.gone
    ? `White frame: a patch that leaves here. Coloured: those that receive its features. Dark: the ${layer.gone.length} that have left.`
    : `White frame: the position that chooses. The strip around the image: ${strip}.`;
}

function showChosen(layer) {
  const place = layer.placeAt(state);
  showFacts([
    ["Chosen by others", times(layer.chosen(place)), `mean ${number(layer.meanOften)}`],
    ["Most often", "", times(layer.mostOften)],
    ["Never chosen", "", `${layer.never} of ${layer.counts.length}`],
    [layer.outside === "padding" ? "In the padding" : "Class token", "", percent(layer.total, "outside")],
  ]);
  at("list-title").textContent = "Chosen most often";
  const rows = layer.mostChosen(LISTED).map((hub, rank) => ({
    place: hub,
    cells: [`${rank + 1}`, named(layer, hub), `${hub.count}`],
  }));
  showList(["", "row, column", "times"], rows);
  const middle = layer.mostOften * 0.5 ** (1 / heatExponent(layer));
  showScale(data.heatColors, ["never", `${number(middle)} times`, times(layer.mostOften)]);
  at("meaning").textContent = "White frame: the place under the cursor. Orange: who chose it.";
}

// ---- words -------------------------------------------------------------------------------------------------------

/** Long names without the parts between dots that all of them begin or end with. */
function shorten(names) {
  if (names.every((name) => name.length <= READABLE)) return names;
  const parts = names.map((name) => name.split("."));
  const shortest = Math.min(...parts.map((each) => each.length));
  const alike = (place) => parts.every((each) => each.at(place) === parts[0].at(place));
  let [first, last] = [0, 0];
  while (first < shortest - 1 && alike(first)) first++;
  while (first + last < shortest - 1 && alike(-1 - last)) last++;
  return parts.map((each) => each.slice(first, each.length - last).join("."));
}

function number(value) {
  return Number.isFinite(value) ? value.toFixed(1) : "–";
}

function score(value) {
  if (!Number.isFinite(value)) return `${value}`;
  return value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5) ? value.toExponential(2) : value.toPrecision(4);
}

function share(facts, name) {
  return `${facts[name]} of ${facts.others}`;
}

function percent(facts, name) {
  return facts.others ? `${Math.round((100 * facts[name]) / facts.others)} %` : "–";
}

function times(count) {
  return count === 1 ? "once" : `${count} times`;
}

function named(layer, place) {
  if (layer.contains(place)) return `${place.row}, ${place.column}`;
  return layer.outside === "padding" ? `${place.row}, ${place.column} padding` : layer.outside;
}

function describe(layer) {
  const perHead = layer.slots / layer.heads;
  const heads = layer.heads > 1 ? ` in each of ${layer.heads} heads, shown together` : "";
  if (layer.gone) return `Map of ${layer.height} × ${layer.width} patches, of which ${layer.queries} leave here.`;
  const asking = layer.queries < layer.height * layer.width ? `, of which ${layer.queries} choose` : "";
  return `Map of ${layer.height} × ${layer.width} positions${asking}; K = ${perHead}${heads}.`;
}

/** Such as "itself and 8 others". */
function whom(layer, query) {
  const count = layer.choices(query).length;
  const others = `${count || "no"} ${count === 1 ? "other" : "others"}`;
  return layer.choosesItself(query) ? `itself and ${others}` : others;
}

/** The state in a sentence or two. */
function spoken() {
  const layer = layers[state.layer];
  const head = `Layer ${state.layer + 1} of ${layers.length}, ${layer.name}.`;
  if (state.view === "chosen") {
    const place = layer.placeAt(state);
    return `${head} Row ${place.row}, column ${place.column} is chosen ${times(layer.chosen(place))} by others.`;
  }
  const query = layer.queryAt(state);
  const own = layer.placeOf(query);
  const facts = layer.facts(query);
  const places = layer.choices(query).map((place) =>
    layer.contains(place) ? `row ${place.row} column ${place.column}` : layer.outside,
  );
  const distance = facts.placed ? ` Mean distance ${number(facts.onMap / facts.placed)} pixels.` : "";
  const listed = places.length ? `: ${places.join(", ")}` : "";
  return `${head} Row ${own.row}, column ${own.column} chooses ${whom(layer, query)}${listed}.${distance}`;
}

// ---- elements ----------------------------------------------------------------------------------------------------

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function chip(color, rank) {
  const square = element("span", { className: "chip" });
  square.style.background = color;
  return element("span", {}, square, `${rank}`);
}

function showFacts(rows) {
  const cells = ([name, ...values]) => [
    element("th", { scope: "row" }, name),
    ...values.map((value) => element("td", {}, value)),
  ];
  at("facts").tBodies[0].replaceChildren(...rows.map((row) => element("tr", {}, ...cells(row))));
}

function showList(heads, rows) {
  at("list").tHead.replaceChildren(element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head))));
  const body = rows.map(({ cells }) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell))));
  listed = rows.map(({ place }) => place);
  at("list").tBodies[0].replaceChildren(...body);
}

function showScale(colors, ticks) {
  const edge = (index) => `${(100 * index) / colors.length}%`;
  const stops = colors.map((color, index) => `${color} ${edge(index)} ${edge(index + 1)}`);
  at("scale").style.background = `linear-gradient(to right, ${stops.join(", ")})`;
  at("ticks").replaceChildren(...ticks.map((tick) => element("span", {}, tick)));
}

function addCard(layer, index) {
  const canvas = element("canvas");
  const radio = element("input", { type: "radio", name: "layer", value: `${index + 1}` });
  radio.addEventListener("change", () => change({ layer: index, emphasis: null }));
  const size = element("span", { className: "size" }, `${layer.height} × ${layer.width}`);
  const name = element("span", { className: "name", title: layer.name }, element("bdi", {}, shortNames[index]));
  const caption = element("span", { className: "caption" }, element("b", {}, `${index + 1}`), " ", size, name);
  at("layers").append(element("label", { className: "card" }, radio, canvas, caption));
  return new Picture(canvas, image, 5);
}

function addPlainImage() {
  const canvas = element("canvas");
  const size = element("span", { className: "size" }, `${image.height} × ${image.width}`);
  const caption = element("span", { className: "caption" }, element("b", {}, "Image"), " ", size);
  at("layers").querySelector("legend").after(element("div", { className: "card plain" }, canvas, caption));
  return new Picture(canvas, image, 5);
}

// ---- ways to change it -------------------------------------------------------------------------------------------

const KEYS = {
  ArrowUp: () => step(-1, 0),
  ArrowDown: () => step(1, 0),
  ArrowLeft: () => step(0, -1),
  ArrowRight: () => step(0, 1),
  Home: ({ ctrlKey }) => moveTo({ row: ctrlKey ? 0 : state.row, column: 0 }),
  End: ({ ctrlKey }) => moveTo({ row: ctrlKey ? image.height - 1 : state.row, column: image.width - 1 }),
  PageUp: () => change({ layer: clamp(state.layer - 1, layers.length), emphasis: null }),
  PageDown: () => change({ layer: clamp(state.layer + 1, layers.length), emphasis: null }),
  v: () => change({ view: VIEWS[1 - VIEWS.indexOf(state.view)], emphasis: null }),
  Enter: () => change({ held: !state.held }),
  Escape: () => change({ held: false }),
};

at("map").addEventListener("keydown", (event) => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!Object.hasOwn(KEYS, key) || event.altKey || event.metaKey) return;
  event.preventDefault();
  KEYS[key](event);
});
at("picture").addEventListener("pointermove", (event) => {
  if (event.pointerType === "touch" || !state.held) moveTo(picture.pixelUnder(event));
});
at("picture").addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  moveTo(picture.pixelUnder(event));
  if (event.pointerType !== "touch") change({ held: !state.held });
});
at("list").tBodies[0].addEventListener("pointerover", (event) => {
  const place = listed[event.target.closest("tr").sectionRowIndex];
  if (!state.emphasis || !same(place, state.emphasis)) change({ emphasis: place });
});
at("list").addEventListener("pointerleave", () => change({ emphasis: null }));
for (const radio of document.querySelectorAll("[name=view]")) {
  radio.addEventListener("change", () => change({ view: radio.value, emphasis: null }));
}
addEventListener("hashchange", readAddress);
new ResizeObserver(() => change({})).observe(at("picture"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => change({}));

at("summary").textContent =
  `${image.height} × ${image.width} pixels, ${layers.length} ${layers.length === 1 ? "layer" : "layers"}`;
readAddress();
document.documentElement.dataset.ready = "";
