// What the page knows: the layers, unpacked, and the questions one can ask a layer.

/** The bytes that zlib packed and base64 wrote. */
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

/** The choices of one layer: places are rows and columns on its map, which may be smaller than the image. */
class Layer {
  static async read(record, image) {
    return new Layer(record, image, await unpack(record.packed));
  }

  constructor({ name, height, width, outside, heads, gone, window, queries, slots }, image, buffer) {
    Object.assign(this, { name, height, width, outside, heads, window, queries, slots, image });
    this.gone = gone && gone.map(([row, column]) => ({ row, column })); // null where nobody leaves
    this.reach = (window - 1) / 2;
    let start = 0;
    const take = (Kind, length) => {
      const table = new Kind(buffer, start, length);
      start += table.byteLength;
      return table;
    };
    this.queryRows = take(Int16Array, queries);
    this.queryColumns = take(Int16Array, queries);
    this.rows = take(Int16Array, queries * slots);
    this.columns = take(Int16Array, queries * slots);
    this.scores = take(Float32Array, queries * slots);
    this.#survey();
  }

  /** The place on the map under a pixel of the image. */
  placeAt(pixel) {
    return {
      row: Math.floor((pixel.row * this.height) / this.image.height),
      column: Math.floor((pixel.column * this.width) / this.image.width),
    };
  }

  /** The pixel in the middle of a place. */
  pixelAt({ row, column }) {
    return {
      row: Math.floor(((row + 0.5) * this.image.height) / this.height),
      column: Math.floor(((column + 0.5) * this.image.width) / this.width),
    };
  }

  /** The query nearest to a pixel of the image, middle to middle; of several the first. */
  queryAt(pixel) {
    const { height, width, image } = this;
    let nearest = 0;
    let least = Infinity;
    for (let query = 0; query < this.queries; query++) {
      // 2 height and 2 width times the distance in pixels of the image: whole numbers
      const rows = (2 * this.queryRows[query] + 1) * image.height - (2 * pixel.row + 1) * height;
      const columns = (2 * this.queryColumns[query] + 1) * image.width - (2 * pixel.column + 1) * width;
      const distance = (rows * width) ** 2 + (columns * height) ** 2;
      if (distance < least) [nearest, least] = [query, distance];
    }
    return nearest;
  }

  placeOf(query) {
    return { row: this.queryRows[query], column: this.queryColumns[query] };
  }

  /** Whether a query is among those it chose. */
  choosesItself(query) {
    if (this.gone) return false; // its own place stands for nobody
    const own = this.placeOf(query);
    const slots = Array.from({ length: this.slots }, (_, slot) => query * this.slots + slot);
    return slots.some((slot) => this.rows[slot] === own.row && this.columns[slot] === own.column);
  }

  contains({ row, column }) {
    return row >= 0 && row < this.height && column >= 0 && column < this.width;
  }

  /** Whom a query chose except itself, best first, each once: of several heads by its best score. */
  choices(query) {
    const own = this.placeOf(query);
    const found = [];
    for (let slot = query * this.slots; slot < (query + 1) * this.slots; slot++) {
      const place = { row: this.rows[slot], column: this.columns[slot], score: this.scores[slot] };
      if (!same(place, own) && !found.some((other) => same(place, other))) found.push(place);
    }
    return found;
  }

  /** Distance of two places in pixels of the map and of the image; NaN where one of them is no place. */
  distance(from, to) {
    if (this.outside !== "padding" && !this.contains(to)) return { onMap: NaN, onImage: NaN };
    const [rows, columns] = [to.row - from.row, to.column - from.column];
    const onImage = Math.hypot((rows * this.image.height) / this.height, (columns * this.image.width) / this.width);
    return { onMap: Math.hypot(rows, columns), onImage };
  }

  /** Of a query: how many others it chose, how far they lie, how many in the window and outside of the map. */
  facts(query, others = this.choices(query)) {
    const own = this.placeOf(query);
    const facts = { others: others.length, placed: 0, onMap: 0, onImage: 0, farthest: 0, inWindow: 0, outside: 0 };
    for (const other of others) {
      const { onMap, onImage } = this.distance(own, other);
      facts.outside += !this.contains(other);
      if (Number.isNaN(onMap)) continue;
      facts.placed++;
      facts.onMap += onMap;
      facts.onImage += onImage;
      facts.farthest = Math.max(facts.farthest, onMap);
      facts.inWindow += Math.max(Math.abs(other.row - own.row), Math.abs(other.column - own.column)) <= this.reach;
    }
    return facts;
  }

  /** How many other queries chose a place. */
  chosen({ row, column }) {
    return this.counts[row * this.width + column];
  }

  /** The places of the queries that chose a place, itself left out. */
  choosers(place) {
    const found = new Set();
    for (let slot = 0; slot < this.rows.length; slot++) {
      if (this.rows[slot] === place.row && this.columns[slot] === place.column) found.add(Math.floor(slot / this.slots));
    }
    return Array.from(found, (query) => this.placeOf(query)).filter((chooser) => !same(chooser, place));
  }

  /** Places of the map that are chosen most, with their counts. */
  mostChosen(length) {
    const order = Array.from(this.counts.keys()).sort((one, other) => this.counts[other] - this.counts[one]);
    return order.slice(0, length).map((index) => ({
      row: Math.floor(index / this.width),
      column: index % this.width,
      count: this.counts[index],
    }));
  }

  /** Once for the whole map: the sum of all facts, and how often each place is chosen. */
  #survey() {
    this.counts = new Uint32Array(this.height * this.width);
    this.total = { others: 0, placed: 0, onMap: 0, onImage: 0, farthest: 0, inWindow: 0, outside: 0 };
    this.mostOthers = 1;
    for (let query = 0; query < this.queries; query++) {
      const others = this.choices(query);
      const { farthest, ...sums } = this.facts(query, others);
      for (const [name, value] of Object.entries(sums)) this.total[name] += value;
      this.total.farthest = Math.max(this.total.farthest, farthest);
      this.mostOthers = Math.max(this.mostOthers, others.length);
      for (const { row, column } of others.filter((other) => this.contains(other))) {
        this.counts[row * this.width + column]++;
      }
    }
    this.mostOften = this.counts.reduce((most, count) => Math.max(most, count), 0);
    this.meanOften = this.counts.reduce((sum, count) => sum + count, 0) / this.counts.length;
    this.never = this.counts.reduce((sum, count) => sum + (count === 0), 0);
  }
}

function same(one, other) {
  return one.row === other.row && one.column === other.column;
}
