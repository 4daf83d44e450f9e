// A disk as a picture: one square for each cell of /v1/exports/NAME/map.

import { sum } from "./figures.js";
import { write } from "./rows.js";
import * as words from "./words.js";

/** How many cells are asked for. */
export const CELLS = 1024;

/** Least width of a square in CSS pixels, and columns at most. */
const [LEAST, MOST_COLUMNS] = [8, 64];

/** How much of its color even one byte gets, of 1. */
const LEAST_COLOR = 0.3;

export class DiskMap {
  /** `elements` has the canvas, the outputs `data`, `zero`, `hole`, and `cell` for one square. */
  constructor(elements) {
    this.elements = elements;
    this.map = null;
    this.changed = new Set();
    this.pointed = null;
    const { canvas } = elements;
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    canvas.addEventListener("pointermove", (event) => this.#point(this.#cellAt(event)));
    canvas.addEventListener("pointerdown", (event) => this.#point(this.#cellAt(event)));
    canvas.addEventListener("pointerleave", () => this.#point(null));
    canvas.addEventListener("keydown", (event) => this.#step(event));
    canvas.addEventListener("blur", () => this.#point(null));
  }

  /** Show an answer of the gateway; cells that differ from the one before are marked. */
  show(map) {
    const before = this.map;
    this.changed.clear();
    if (before?.export === map.export && before.cell === map.cell && before.size === map.size) {
      map.data.forEach((data, index) => {
        if (data !== before.data[index] || map.hole[index] !== before.hole[index]) {
          this.changed.add(index);
        }
      });
    } else {
      this.pointed = null;
    }
    this.map = map;
    this.draw();
    this.#tell();
    const totals = ["data", "zero", "hole"].map((kind) => [kind, words.bytes(sum(map[kind]))]);
    for (const [kind, text] of totals) write(this.elements[kind], text);
    const label = totals.map(([kind, text]) => `${text} ${kind}`).join(", ");
    this.elements.canvas.ariaLabel =
      `Disk map of ${map.export}, ${words.bytes(map.size)}: ${label}. Arrow keys go through its cells.`;
  }

  /** There is nothing to show, and why. */
  clear(why) {
    this.map = null;
    this.changed.clear();
    this.pointed = null;
    this.draw();
    for (const kind of ["data", "zero", "hole"]) write(this.elements[kind], "");
    write(this.elements.cell, why);
    this.elements.canvas.ariaLabel = why;
  }

  /** Draw what is there in the size and the colors of now. */
  draw() {
    const { canvas } = this.elements;
    canvas.hidden = !this.map || !this.map.data.length;
    if (canvas.hidden) return;
    const { columns, side, rows } = this.#grid();
    const sharp = devicePixelRatio || 1;
    canvas.style.height = `${rows * side}px`;
    canvas.width = Math.round(columns * side * sharp);
    canvas.height = Math.round(rows * side * sharp);
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    const color = (name) => style.getPropertyValue(`--${name}`).trim();
    pen.scale(sharp, sharp);
    this.map.data.forEach((data, index) => {
      const [x, y] = [(index % columns) * side, Math.floor(index / columns) * side];
      const square = [x + 0.5, y + 0.5, side - 1, side - 1];
      const zero = this.map.zero[index];
      const whole = data + zero + this.map.hole[index];
      pen.fillStyle = color("hole");
      pen.fillRect(...square);
      for (const [name, part] of [["zero", zero], ["data", data]]) {
        if (!part) continue;
        pen.globalAlpha = LEAST_COLOR + (1 - LEAST_COLOR) * (part / whole);
        pen.fillStyle = color(name);
        pen.fillRect(...square);
        pen.globalAlpha = 1;
      }
      if (this.changed.has(index) || index === this.pointed) {
        pen.strokeStyle = color(index === this.pointed ? "text" : "changed");
        pen.lineWidth = 2;
        pen.strokeRect(x + 1.5, y + 1.5, side - 3, side - 3);
      }
    });
  }

  #grid() {
    const width = this.elements.canvas.clientWidth || 1;
    // Powers of two, so that a column is always the same part of the disk.
    let columns = MOST_COLUMNS;
    while (columns > 8 && width / columns < LEAST) columns /= 2;
    return { columns, side: width / columns, rows: Math.ceil(this.map.data.length / columns) };
  }

  #cellAt(event) {
    if (!this.map) return null;
    const { columns, side } = this.#grid();
    const cell = Math.floor(event.offsetY / side) * columns
      + Math.min(Math.floor(event.offsetX / side), columns - 1);
    return cell >= 0 && cell < this.map.data.length ? cell : null;
  }

  #step(event) {
    if (!this.map) return;
    const { columns } = this.#grid();
    const last = this.map.data.length - 1;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    let cell = { Home: 0, End: last }[event.key];
    if (by !== undefined) cell = this.pointed === null ? 0 : this.pointed + by;
    if (cell === undefined) return;
    event.preventDefault();
    if (cell >= 0 && cell <= last) this.#point(cell);
  }

  #point(cell) {
    if (this.pointed === cell) return;
    this.pointed = cell;
    this.draw();
    this.#tell();
  }

  #tell() {
    const { cell: output } = this.elements;
    if (!this.map || this.pointed === null) {
      write(output, this.map ? `One square is ${words.bytes(this.map.cell)}.` : "");
      return;
    }
    const start = this.pointed * this.map.cell;
    const end = Math.min(start + this.map.cell, this.map.size);
    const parts = ["data", "zero", "hole"].filter((kind) => this.map[kind][this.pointed]).map(
      (kind) => `${words.bytes(this.map[kind][this.pointed])} ${kind}`);
    write(output, `${words.count(start)} to ${words.count(end)}: ${parts.join(", ")}`);
  }
}
