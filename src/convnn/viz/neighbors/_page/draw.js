// What the page draws: an image with a strip around it for the padding, and marks on both.

const FRAME = 0.07; // width of the strip, as a share of the longer side
const DIMMED = 0.3; // under the marks: this share of the image's colours and as much of its gray

/** A canvas of its own with one pixel for each of an image, from a function of place and RGBA array. */
function paint(width, height, color) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  for (let index = 0; index < width * height; index++) pixels.data.set(color(index), 4 * index);
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** The image as it is and darkened. */
async function readBackgrounds({ source, width, height }) {
  const image = Object.assign(new Image(), { src: source });
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d").drawImage(image, 0, 0);
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const dimmed = paint(width, height, (index) => {
    const rgb = data.subarray(4 * index, 4 * index + 3);
    const gray = (rgb[0] + rgb[1] + rgb[2]) / 3;
    return [...Array.from(rgb, (value) => DIMMED * (value + gray)), 255];
  });
  return { plain: canvas, dimmed };
}

/** Stretches the colours of the counts until the mean, if it is below half of the most, is in the middle. */
function heatExponent({ meanOften, mostOften }) {
  return meanOften < mostOften / 2 ? Math.log(0.5) / Math.log(meanOften / mostOften) : 1;
}

/** How often each place of a layer is chosen, in colours. */
function paintCounts(layer, colors) {
  const exponent = heatExponent(layer);
  const rgb = colors.map((color) => [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16)));
  return paint(layer.width, layer.height, (index) => {
    const share = (layer.counts[index] / Math.max(layer.mostOften, 1)) ** exponent;
    return [...rgb[Math.round(share * (rgb.length - 1))], 255];
  });
}

/** A canvas on the page that shows the image, or a map of it, with marks at least `smallest` CSS pixels wide. */
class Picture {
  constructor(canvas, image, smallest) {
    Object.assign(this, { canvas, image, smallest });
    this.frame = FRAME * Math.max(image.width, image.height);
    this.width = image.width + 2 * this.frame;
    this.height = image.height + 2 * this.frame;
    canvas.style.aspectRatio = `${this.width} / ${this.height}`;
    canvas.style.setProperty("--proportion", this.width / this.height);
  }

  /** The pixel of the image under a pointer, or the nearest. */
  pixelUnder({ clientX, clientY }) {
    const bounds = this.canvas.getBoundingClientRect();
    const column = ((clientX - bounds.left) / bounds.width) * this.width - this.frame;
    const row = ((clientY - bounds.top) / bounds.height) * this.height - this.frame;
    return { row: clamp(Math.floor(row), this.image.height), column: clamp(Math.floor(column), this.image.width) };
  }

  /** Start over with a background over the whole image. */
  clear(background) {
    const { canvas, image, frame } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const sharpness = window.devicePixelRatio || 1;
    Object.assign(canvas, { width: Math.round(width * sharpness), height: Math.round(height * sharpness) });
    this.unit = width / this.width;
    this.context = canvas.getContext("2d");
    this.context.setTransform(canvas.width / width, 0, 0, canvas.height / height, 0, 0);
    this.context.imageSmoothingEnabled = false;
    const [left, top] = [frame * this.unit, frame * this.unit];
    this.context.drawImage(background, left, top, image.width * this.unit, image.height * this.unit);
  }

  /** A place of a map: filled with a colour. */
  mark(map, place, color) {
    const box = this.#box(map, place);
    this.context.globalAlpha = 0.75;
    this.context.fillStyle = color;
    this.context.fillRect(...box);
    this.context.globalAlpha = 1;
    this.context.lineWidth = 1;
    this.context.strokeStyle = color;
    this.context.strokeRect(box[0] + 0.5, box[1] + 0.5, box[2] - 1, box[3] - 1);
  }

  /** A place of a map: a frame that is seen on any background. */
  outline(map, place, { color = "#ffffff", width = 2, dash = [] } = {}) {
    const box = this.#box(map, place);
    this.context.setLineDash(dash);
    for (const [stroke, lineWidth] of [["#16181d", width + 2], [color, width]]) {
      Object.assign(this.context, { strokeStyle: stroke, lineWidth });
      this.context.strokeRect(...box);
    }
    this.context.setLineDash([]);
  }

  /** Left, top, width and height in CSS pixels of a place on a map of any size; padding is the strip. */
  #box(map, { row, column }) {
    const [top, bottom] = this.#span(row, map.height, this.image.height);
    const [left, right] = this.#span(column, map.width, this.image.width);
    return [left, top, right - left, bottom - top].map((value, axis) => (value + (axis < 2 ? this.frame : 0)) * this.unit);
  }

  #span(place, count, side) {
    if (place < 0) return [-this.frame, 0];
    if (place >= count) return [side, side + this.frame];
    const center = ((place + 0.5) * side) / count;
    const half = Math.max((0.46 * side) / count, this.smallest / this.unit / 2);
    return [center - half, center + half];
  }
}

/** The colour of a rank, 0 the best of `count`. */
function rankColor(colors, rank, count) {
  return colors[Math.round((rank / Math.max(count - 1, 1)) * (colors.length - 1))];
}

/** An index of a list of `count`, the nearest. */
function clamp(index, count) {
  return Math.min(Math.max(index, 0), count - 1);
}
