// Tables and lists that change in place, so that focus and selection stay where they are.
// Whatever comes from the wire gets into the page here, as text and as nothing else.

/** Write only what is different: screen readers are told of every change. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** An element with a text and classes. */
export function made(tag, text = "", classes = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (classes) element.className = classes;
  return element;
}

/** The rows of one table; the first cell of each is its header. */
export class Rows {
  /** `chosen` is called with a key when its row's button is pressed; without it there are none. */
  constructor(body, chosen = null) {
    this.body = body;
    this.chosen = chosen;
    this.rows = new Map();
    this.numeric = [...body.parentElement.tHead.rows[0].cells].map((cell) =>
      cell.classList.contains("n"));
  }

  /** `rows` are pairs of a unique key and the texts of all cells. */
  show(rows) {
    const wanted = new Set(rows.map(([key]) => key));
    for (const [key, { row }] of this.rows) {
      if (!wanted.has(key)) {
        row.remove();
        this.rows.delete(key);
      }
    }
    rows.forEach(([key, texts], index) => {
      if (!this.rows.has(key)) this.rows.set(key, this.#make(key, texts.length));
      const { row, cells } = this.rows.get(key);
      if (this.body.rows[index] !== row) this.body.insertBefore(row, this.body.rows[index] ?? null);
      texts.forEach((text, column) => write(cells[column], text));
    });
  }

  /** Say which row's button is pressed. */
  press(pressed) {
    for (const [key, { cells }] of this.rows) cells[0].ariaPressed = String(key === pressed);
  }

  #make(key, columns) {
    const row = document.createElement("tr");
    const cells = [];
    for (let column = 0; column < columns; column += 1) {
      const cell = made(column ? "td" : "th", "", this.numeric[column] ? "n" : "long");
      if (!column) cell.scope = "row";
      row.append(cell);
      cells.push(cell);
    }
    if (this.chosen) {
      const button = made("button");
      button.type = "button";
      button.addEventListener("click", () => this.chosen(key));
      cells[0].append(button);
      cells[0] = button;
    }
    return { row, cells };
  }
}

/** A list of terms, each with what it is now. */
export class Terms {
  constructor(list) {
    this.list = list;
    this.terms = new Map();
  }

  /** `terms` are pairs of texts. */
  show(terms) {
    const names = terms.map(([name]) => name);
    if (names.join("\n") !== [...this.terms.keys()].join("\n")) {
      this.terms = new Map(names.map((name) => [name, made("dd")]));
      this.list.replaceChildren(...[...this.terms].map(([name, value]) => {
        const pair = made("div");
        pair.append(made("dt", name), value);
        return pair;
      }));
    }
    for (const [name, text] of terms) write(this.terms.get(name), text);
  }
}
