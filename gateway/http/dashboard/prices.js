// What requests cost, as the visitor says; kept in this browser.

import { S3_STANDARD } from "./figures.js";

const KEY = "nbdgateway-prices";

/** The two inputs; `changed` is called when prices are. */
export class Prices {
  constructor(put, get, standard, changed) {
    this.inputs = { put, get };
    this.now = { ...S3_STANDARD };
    try {
      const kept = JSON.parse(localStorage.getItem(KEY)) ?? {};
      for (const verb of ["put", "get"]) if (isPrice(kept[verb])) this.now[verb] = kept[verb];
    } catch {
      // Nothing was kept, or it is no JSON.
    }
    this.#show();
    for (const [verb, input] of Object.entries(this.inputs)) {
      input.addEventListener("input", () => {
        if (input.value === "" || !isPrice(input.valueAsNumber)) return;
        this.now[verb] = input.valueAsNumber;
        this.#keep();
        changed();
      });
      input.addEventListener("blur", () => this.#show());
    }
    standard.addEventListener("click", () => {
      this.now = { ...S3_STANDARD };
      this.#keep();
      this.#show();
      changed();
    });
  }

  #show() {
    for (const [verb, input] of Object.entries(this.inputs)) input.value = this.now[verb];
  }

  #keep() {
    localStorage.setItem(KEY, JSON.stringify(this.now));
  }
}

function isPrice(value) {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}
