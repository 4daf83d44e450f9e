// Lines over the last two minutes, as SVG.

import { KEPT_SECONDS } from "./figures.js";

const SVG = "http://www.w3.org/2000/svg";

const [WIDTH, HEIGHT] = [240, 60];

/** One chart with a line for each class; all have one scale, from zero. */
export class Chart {
  constructor(element, classes) {
    element.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    element.setAttribute("preserveAspectRatio", "none");
    this.lines = classes.map((name) => {
      const line = document.createElementNS(SVG, "polyline");
      line.setAttribute("class", name);
      element.append(line);
      return line;
    });
  }

  /** `series` has for each line pairs of an age in seconds and a value; returns the largest. */
  draw(series) {
    const most = Math.max(0, ...series.flat().map(([, value]) => value));
    this.lines.forEach((line, index) => {
      const points = series[index].map(([age, value]) => {
        const x = WIDTH * (1 - age / KEPT_SECONDS);
        const y = HEIGHT - 2 - (most ? value / most : 0) * (HEIGHT - 4);
        return `${x.toFixed(1)},${y.toFixed(1)}`;
      });
      line.setAttribute("points", points.join(" "));
    });
    return most;
  }
}
