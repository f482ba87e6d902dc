// What the page says: text from figures, and nothing of the document.

const STATES = {
  open: "open",
  forced_open: "forced open",
  half_open: "half-open",
  forced_closed: "forced closed",
  disabled: "disabled",
  metrics_only: "only measuring",
  closed: "closed",
};

const UNTIL_RELEASED = {
  forced_open: "refuses every call until it is released",
  forced_closed: "admits every call until it is released",
  disabled: "admits every call and counts nothing until it is released",
  metrics_only: "admits every call until it is released",
};

const GIVEN_UP = { allow: "its calls pass unguarded", refuse: "it refuses every call" };

const BY_FLEET = " by the fleet";

/** The states in the order in which they need attention. */
export const RANKS = ["given_up", ...Object.keys(STATES)];

/** When a circuit that refuses every call will let one through; null if that is not known. */
export function probeOf(state, at, retryAfter) {
  const refuses = state === "open" || state === "forced_open";
  return refuses && retryAfter !== null ? at + retryAfter : null;
}

/** Whether there is nothing to be said of a circuit. */
export function isQuiet(circuit, now) {
  return rankOf(circuit) === "closed" && !isPausing(circuit, now);
}

function isPausing(circuit, now) {
  return circuit.running && circuit.starts !== null && circuit.starts > now;
}

export function rankOf(circuit) {
  return circuit.running ? circuit.state : "given_up";
}

export function isByHand(state) {
  return state in UNTIL_RELEASED;
}

export function stateOf(circuit) {
  return circuit.running ? STATES[circuit.state] : "given up";
}

/** Seconds as people read them: whole ones, and of longer times what matters. */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 120) return `${whole} s`;
  if (whole < 7200) return `${Math.floor(whole / 60)} min`;
  if (whole < 172800) return `${Math.floor(whole / 3600)} h`;
  return `${Math.floor(whole / 86400)} d`;
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** What is to be said of one circuit, in pieces; those with seconds in them change by the second. */
export function piecesOf(circuit, now) {
  const pieces = [];
  if (circuit.running && circuit.origin === "fleet") pieces.push({ text: BY_FLEET });
  if (circuit.since !== null) {
    pieces.push({ text: ` for ${duration(Math.floor(now - circuit.since))}`, ticks: true });
  }
  if (!circuit.running) {
    pieces.push({ text: circuit.verdict in GIVEN_UP ? `, ${GIVEN_UP[circuit.verdict]}` : "" });
  } else if (circuit.state === "open") {
    const failures = circuit.failures ?? circuit.failure_count;
    if (failures > 0) pieces.push({ text: ` after ${count(failures, "failure")}` });
    pieces.push({ text: `, next probe ${until(circuit.probe, now)}`, ticks: true });
  } else if (circuit.state === "forced_open" && circuit.probe !== null) {
    pieces.push({ text: `, refuses every call, next probe ${until(circuit.probe, now)}`, ticks: true });
  } else if (circuit.state === "half_open") {
    pieces.push({ text: ", probes decide" });
  } else if (isByHand(circuit.state)) {
    pieces.push({ text: `, ${UNTIL_RELEASED[circuit.state]}` });
    const would = circuit.would_be;
    if (would !== circuit.state && would !== "closed") {
      pieces.push({ text: `; would be ${STATES[would]}` });
    }
  }
  if (isPausing(circuit, now)) {
    pieces.push({ text: `; its actor starts again ${until(circuit.starts, now)}`, ticks: true });
  }
  return pieces;
}

function until(time, now) {
  if (time === null) return "at a time not known";
  return time > now ? `in ${duration(Math.ceil(time - now))}` : "now";
}

/** The sentence that heads the page: how things stand. */
export function sentence(circuits, now) {
  const troubled = circuits.filter((circuit) => rankOf(circuit) !== "closed");
  const all = circuits.length;
  if (all === 0) return [{ text: "No circuits yet" }];
  if (troubled.length === 0) {
    return [{ text: all === 1 ? `${circuits[0].name}: closed` : `All ${count(all, "circuit")} closed` }];
  }
  if (troubled.length === 1) {
    const [circuit] = troubled;
    return [{ text: `${circuit.name}: ${stateOf(circuit)}` }, ...piecesOf(circuit, now)];
  }
  const sorts = RANKS.map((rank) => troubled.filter((circuit) => rankOf(circuit) === rank));
  const counts = sorts.filter((some) => some.length > 0);
  const list = counts.map((some) => `${some.length.toLocaleString("en")} ${stateOf(some[0])}`);
  const pieces = [{ text: `${troubled.length} of ${count(all, "circuit")} not closed: ${list.join(", ")}` }];
  const probes = troubled.filter((circuit) => circuit.running).map((circuit) => circuit.probe);
  const known = probes.filter((probe) => probe !== null);
  if (known.length > 0) {
    pieces.push({ text: `; next probe ${until(Math.min(...known), now)}`, ticks: true });
  }
  return pieces;
}

/** How it stands with those that circuits are shared with, if they are. */
export function link(fleet) {
  if (fleet === null) return "";
  return fleet.linked ? `; the fleet has ${count(fleet.members, "supervisor")}` : "; the fleet is lost: each circuit decides alone";
}

/** Refusals by reason, most frequent first. */
export function reasonsOf(refusals) {
  const some = Object.entries(refusals).filter(([, number]) => number > 0);
  const sorted = some.sort(([, one], [, other]) => other - one);
  const word = (reason) => STATES[reason] ?? reason.replaceAll("_", " ");
  return sorted.map(([reason, number]) => `${number.toLocaleString("en")} ${word(reason)}`).join(", ");
}

/** What an event says of its circuit. */
export function told(event) {
  switch (event.type) {
    case "StateChanged": {
      const failures = event.to_state === "open" && event.failure_count > 0;
      const after = failures ? ` after ${count(event.failure_count, "failure")}` : "";
      const by = event.origin === "fleet" ? BY_FLEET : "";
      const would = event.metrics_only ? "would be " : "";
      return `${would}${STATES[event.to_state]}${by}${after}, was ${STATES[event.from_state]}`;
    }
    case "CircuitStarted":
      return "started";
    case "CircuitReconfigured":
      return "goes by another policy";
    case "CircuitRestarted":
      return event.pause > 0
        ? `its actor crashed, and starts again in ${duration(Math.ceil(event.pause))}`
        : "its actor crashed, and was started again";
    case "CircuitGivenUp":
      return `given up, ${GIVEN_UP[event.verdict] ?? "and its supervisor ends"}`;
    case "InnerGaveUp":
      return `${event.inner_circuit} of a supervisor inside was given up, ${GIVEN_UP[event.verdict] ?? "and that one ends"}`;
    case "CircuitRetired":
      return event.reason === "full" ? "retired, to make room" : "retired, since nobody called it";
    case "FleetJoined":
      return `the fleet is reached, of ${count(event.members, "supervisor")}`;
    case "FleetLost":
      return "the fleet is lost: each circuit decides alone";
    default:
      return "stopped";
  }
}
