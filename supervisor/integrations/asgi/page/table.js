// The rows of the table: each is made once, and only what differs is written.

import { RANKS, duration, isByHand, isQuiet, piecesOf, rankOf, reasonsOf, stateOf } from "./words.js";

export const SHOWN = 300; // seconds of a circuit's course: the width of its picture
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** Write a text where another one is. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Mark an element, and all in it, by a state. */
export function mark(element, state) {
  if (element.dataset.state !== state) element.dataset.state = state;
}

/** Write pieces of a sentence; those that change by the second are read out nowhere. */
export function writePieces(node, pieces, isReadOut) {
  while (node.childElementCount > pieces.length) node.lastChild.remove();
  pieces.forEach(({ text, ticks }, index) => {
    const part = node.children[index] ?? node.appendChild(document.createElement("span"));
    write(part, text);
    const hidden = ticks && !isReadOut ? "true" : null;
    if (part.ariaHidden !== hidden) part.ariaHidden = hidden;
  });
}

class Row {
  constructor(name, order) {
    this.element = document.getElementById("row").content.firstElementChild.cloneNode(true);
    const [head, state, rate, succeeded, failed, refused, inFlight, course, byHand] = this.element.cells;
    Object.assign(this, { state, rate, succeeded, failed, refused, inFlight, drawn: "" });
    this.course = course.firstElementChild;
    head.firstElementChild.textContent = name;
    [this.force, this.reset] = byHand.children;
    this.name = name;
    this.force.addEventListener("click", () => order(name, this.force.dataset.action));
    this.label(this.reset, "reset", "Reset");
    this.reset.addEventListener("click", () => order(name, "reset"));
  }

  label(button, action, text) {
    if (button.dataset.action === action) return;
    button.dataset.action = action;
    button.textContent = text;
    button.ariaLabel = `${text} ${this.name}`;
  }

  /** Show all of a circuit. */
  show(circuit, now) {
    const [word, , failure] = this.state.children;
    mark(this.element, rankOf(circuit));
    write(word, stateOf(circuit));
    write(failure, (rankOf(circuit) !== "closed" && circuit.last_failure) || "");
    write(this.rate, circuit.rate === null ? "–" : number.format(circuit.rate));
    write(this.succeeded, number.format(circuit.succeeded));
    write(this.failed, number.format(circuit.failed));
    write(this.refused.children[0], number.format(circuit.rejected));
    write(this.refused.children[1], reasonsOf(circuit.refusals));
    write(this.inFlight, number.format(circuit.in_flight));
    const isHeld = isByHand(circuit.state);
    this.label(this.force, isHeld ? "release" : "force_open", isHeld ? "Release" : "Force open");
    this.force.disabled = this.reset.disabled = !circuit.running;
    this.tick(circuit, now);
    this.draw(circuit, now);
  }

  /** Show what changes by the second. */
  tick(circuit, now) {
    writePieces(this.state.children[1], isQuiet(circuit, now) ? [] : piecesOf(circuit, now), true);
  }

  /** Draw the circuit's course; a circuit that has been in one state all the time is drawn once. */
  draw(circuit, now) {
    const parts = partsOf(circuit, now);
    const drawn = parts.map(({ x, width, state }) => `${state} ${x} ${width}`).join();
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    this.course.replaceChildren(...parts.map(rectangle));
    this.course.ariaLabel = described(parts);
  }
}

/** What has been, from left to right; there was nothing to refuse before the first that is known. */
function partsOf({ course, state }, now) {
  const begins = now - SHOWN;
  const all = course.length > 0 ? course : [{ state }];
  const parts = all.map(({ at, state: then }, index) => {
    const from = index > 0 ? Math.max(0, Math.round(at - begins)) : 0;
    const to = Math.round((all[index + 1]?.at ?? now) - begins);
    return { x: from, width: Math.max(to - from, 2), to, state: then ?? state };
  });
  return parts.filter(({ to }) => to >= 0);
}

function rectangle({ x, width, state }) {
  const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  const height = state === "closed" ? 4 : 16;
  const shape = { x, width, y: 16 - height, height };
  for (const [name, value] of Object.entries(shape)) rect.setAttribute(name, value);
  rect.dataset.state = state;
  return rect;
}

function described(parts) {
  const seconds = {};
  for (const { width, state } of parts) seconds[state] = (seconds[state] ?? 0) + width;
  const told = ([state, sum]) => `${stateOf({ state, running: true })} for ${duration(sum)}`;
  return Object.entries(seconds).map(told).join(", ");
}

/** All rows, in two groups: those that need attention, and the rest. */
export class Table {
  constructor(order) {
    this.order = order;
    this.rows = new Map();
    this.groups = { attention: document.getElementById("attention"), rest: document.getElementById("rest") };
  }

  clear() {
    for (const row of this.rows.values()) row.element.remove();
    this.rows.clear();
  }

  show(circuit, now) {
    if (!this.rows.has(circuit.name)) this.rows.set(circuit.name, new Row(circuit.name, this.order));
    this.rows.get(circuit.name).show(circuit, now);
  }

  tick(circuit, now) {
    this.rows.get(circuit.name)?.tick(circuit, now);
  }

  draw(circuit, now) {
    this.rows.get(circuit.name)?.draw(circuit, now);
  }

  remove(name) {
    this.rows.get(name)?.element.remove();
    this.rows.delete(name);
  }

  /** Put rows where they belong, and show those whose names have the text in them. */
  arrange(circuits, text) {
    const focused = document.activeElement;
    const sorted = [...circuits].sort(inOrder);
    for (const [name, group] of Object.entries(this.groups)) {
      const own = sorted.filter((each) => (rankOf(each) === "closed") === (name === "rest"));
      let before = group.firstElementChild;
      let shown = 0;
      for (const circuit of own) {
        const { element } = this.rows.get(circuit.name);
        element.hidden = !circuit.name.toLowerCase().includes(text);
        shown += element.hidden ? 0 : 1;
        if (before.nextElementSibling !== element) before.after(element);
        before = element;
      }
      group.hidden = shown === 0;
    }
    if (document.activeElement !== focused) focused.focus(); // its row has been moved
  }
}

function inOrder(one, other) {
  const rank = RANKS.indexOf(rankOf(one)) - RANKS.indexOf(rankOf(other));
  return rank || (one.name < other.name ? -1 : 1);
}
