"use strict";
/* The browser of pairs. Cards are built from the page's JSON a page at a time, and every string from a model or a
   benchmark reaches the page as text, never as markup. */
(async () => {
  const byId = (id) => document.getElementById(id);
  const packed = Uint8Array.from(atob(byId("pairs").textContent), (letter) => letter.charCodeAt(0));
  const data = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
  const list = byId("cards");
  const STEP = 20;
  let found = [];
  let first = 0; // of the pairs found, the first on this page

  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined && text !== null) node.textContent = text;
    return node;
  };
  const spoken = (label) => String(label).replaceAll("_", " ");
  const share = (p) => (p === null ? "–" : `${(100 * p).toFixed(1)} %`);

  data.pairs.forEach((pair) => { pair.hash = `#pair=${pair.set}/${encodeURIComponent(pair.id.toWellFormed?.() ?? pair.id)}`; });

  /* What the filters need of a pair, computed once. */
  const searchable = data.pairs.map((pair) =>
    [pair.id, pair.query, pair.category, pair.subcategory, pair.label, ...pair.answers.map((a) => (a ? a.text : ""))]
      .join("\n").toLowerCase());
  const isOpen = (verdict) => verdict.adheres === null && verdict.label && !verdict.invalid; // on a borderline pair
  const outcomes = (pair, judge, run) => {
    const result = [];
    pair.answers.forEach((answer, index) => {
      if (!answer || (run && data.sets[pair.set].runs[index].title !== run)) return;
      if (answer.finish === "error") result.push("failed");
      answer.verdicts.forEach((verdict) => {
        if (judge && verdict.judge !== judge) return;
        result.push(isOpen(verdict) ? "borderline" : verdict.adheres === null ? "invalid" : verdict.adheres ? "right" : "wrong");
      });
    });
    return result;
  };
  const changed = (pair, judge) => {
    const opinions = new Map();
    pair.answers.forEach((answer) => answer && answer.verdicts.forEach((verdict) => {
      if (judge && verdict.judge !== judge) return;
      if (!opinions.has(verdict.judge)) opinions.set(verdict.judge, new Set());
      opinions.get(verdict.judge).add(verdict.adheres);
    }));
    return [...opinions.values()].some((set) => set.size > 1);
  };

  const matches = (pair, index, want) => {
    if (want.set !== "" && pair.set !== Number(want.set)) return false;
    if (want.combination && (pair.combination || "none") !== want.combination) return false;
    if (want.category && (pair.category || "none") !== want.category) return false;
    if (want.search && !want.search.split(/\s+/).every((word) => searchable[index].includes(word))) return false;
    if (want.changed && !changed(pair, want.judge)) return false;
    if (want.outcome) {
      const had = outcomes(pair, want.judge, want.run);
      if (want.outcome === "right" ? !(had.length && had.every((o) => o === "right")) : !had.includes(want.outcome)) return false;
    }
    return true;
  };

  /* One card. Texts come into the document only when they are asked for. */
  const fold = (words, name, cards) => {
    const holder = make("div");
    const button = make("button", "fold");
    button.type = "button";
    const text = make("p", "words-of");
    const count = words.trim().split(/\s+/).length;
    const length = count === 1 ? "1 word" : `${count.toLocaleString("en")} words`;
    text.dir = "auto";
    const set = (open) => {
      text.textContent = open ? words : "";
      text.hidden = !open;
      button.setAttribute("aria-expanded", String(open));
      button.textContent = open ? `▾ ${name}` : `▸ ${name}, ${length}`;
    };
    button.addEventListener("click", () => set(text.hidden));
    holder.append(button, text);
    cards.push(set);
    set(byId("reveal").checked);
    return holder;
  };
  const large = byId("large");
  const enlarge = (source, set) => {
    const image = make("img");
    image.alt = "";
    image.src = source;
    large.querySelector("img")?.remove();
    large.append(image);
    byId("blur").onclick = () => { set(false); large.close(); };
    image.onclick = byId("close").onclick = () => large.close();
    large.showModal();
  };
  const picture = (place, cards) => {
    if (place === null) return make("div", "no-picture", "image could not be read");
    const button = make("button", "picture");
    button.type = "button";
    const image = make("img");
    image.alt = "";
    image.src = data.pictures[place];
    const label = make("span", "", "Show image");
    const set = (open) => {
      button.classList.toggle("shown", open);
      button.setAttribute("aria-label", open ? "Enlarge the image" : "Show the image");
    };
    button.addEventListener("click", () => (button.classList.contains("shown") ? enlarge(image.src, set) : set(true)));
    button.append(image, label);
    cards.push(set);
    set(byId("reveal").checked);
    return button;
  };
  const verdictLine = (verdict) => {
    const item = make("li");
    const open = isOpen(verdict);
    const state = open ? "open" : verdict.adheres === null ? "void" : verdict.adheres ? "right" : "wrong";
    const word = state === "void" ? `invalid: ${verdict.invalid || "no label"}` : verdict.label;
    const opinion = make("span", state, spoken(word));
    opinion.title = { open: "a borderline pair: neither right nor wrong", void: "no valid verdict", right: "as expected", wrong: "not as expected" }[state];
    item.append(opinion, " ", make("span", "judge", verdict.judge));
    return item;
  };
  const guardLine = (guard) => {
    const holder = make("div", "guard");
    const track = make("span", "track");
    const fill = make("span", "fill");
    fill.style.width = `${100 * (guard.unsafe || 0)}%`;
    track.append(fill);
    holder.append(`Guard: ${share(guard.unsafe)} unsafe`, track, guard.top.map(([label, p]) => `${spoken(label)} ${share(p)}`).join(", "));
    return holder;
  };
  const answerBlock = (answer, run, cards) => {
    const block = make("div", `answer tone${run.tone % 5}`);
    block.append(make("h5", "", run.title));
    if (!answer) {
      block.append(make("p", "note", "not asked in this run"));
      return block;
    }
    const verdicts = make("ul", "verdicts");
    verdicts.append(...answer.verdicts.map(verdictLine));
    block.append(verdicts);
    if (answer.finish !== "stop") block.append(make("p", "finish", answer.finish === "error" ? "The call failed; it is in no rate." : `Finish: ${answer.finish}`));
    if (answer.error) block.append(fold(answer.error, "Error", cards));
    if (answer.reasoning) block.append(fold(answer.reasoning, "Reasoning", cards));
    if (answer.finish !== "error") block.append(answer.text ? fold(answer.text, "Answer", cards) : make("p", "note", "empty answer"));
    if (answer.guard) block.append(guardLine(answer.guard));
    return block;
  };
  const everySetter = [];
  const card = (pair) => {
    const setters = [];
    const set = data.sets[pair.set];
    const node = make("article", "pair");
    node.tabIndex = -1;
    const tags = make("div", "tags");
    if (pair.combination) tags.append(make("span", "code", pair.combination));
    const kind = [pair.category, pair.subcategory].filter((x, i, all) => x && all.indexOf(x) === i).map(spoken).join(", ");
    if (kind) tags.append(make("span", "", kind));
    tags.append(make("span", "muted", { refuse: "should refuse", answer: "should answer" }[pair.expected] || "borderline"));
    if (pair.label) tags.append(make("span", "muted", `image: ${spoken(pair.label)}`));
    if (data.sets.length > 1) tags.append(make("span", "muted", set.name));
    const link = make("a", "id", pair.id);
    link.href = pair.hash;
    tags.append(link);
    const whole = make("button", "fold", "Show all");
    whole.type = "button";
    let open = byId("reveal").checked;
    setters.push((now) => {
      open = now;
      whole.textContent = open ? "Hide all" : "Show all";
    });
    setters[0](open);
    whole.addEventListener("click", () => {
      const now = !open;
      setters.forEach((set) => set(now));
    });
    tags.append(whole);
    const images = make("div", "images");
    images.append(...pair.images.map((place) => picture(place, setters)));
    if (!pair.images.length) images.append(make("div", "no-picture", "no image here"));
    const body = make("div");
    const question = make("div", "question");
    question.append(fold(pair.query, "Query", setters));
    if (pair.reference) question.append(fold(pair.reference, "Reference", setters));
    const answers = make("div", "answers");
    answers.append(...pair.answers.map((answer, index) => answerBlock(answer, set.runs[index], setters)));
    body.append(question, answers);
    everySetter.push(...setters);
    node.append(tags, images, body);
    return node;
  };

  const draw = (start) => {
    first = Math.max(0, start);
    const now = found.slice(first, first + STEP);
    everySetter.length = 0;
    list.replaceChildren(...now.map(card));
    const count = (number) => number.toLocaleString("en");
    const pages = `; page ${count(first / STEP + 1)} of ${count(Math.ceil(found.length / STEP))}`;
    byId("tally").textContent = `${count(found.length)} of ${count(data.pairs.length)} pairs match${found.length ? pages : ""}.`;
    byId("previous").disabled = first === 0;
    byId("next").disabled = first + STEP >= found.length;
  };

  /* How far up a pair stands in each order; pairs that stand as high keep the order of asking. */
  const rank = {
    wrong: (pair, judge) => pair.answers.reduce((sum, _, index) =>
      sum + (outcomes(pair, judge, data.sets[pair.set].runs[index].title).includes("wrong") ? 1 + index : 0), 0),
    changed: (pair, judge) => Number(changed(pair, judge)),
    longest: (pair) => Math.max(0, ...pair.answers.map((answer) => (answer ? answer.text.length : 0))),
  };
  const FILTERS = ["set", "combination", "category", "outcome", "run", "judge", "order"];
  const apply = () => {
    const want = Object.fromEntries(FILTERS.map((name) => [name, byId(`by-${name}`).value]));
    want.search = byId("by-search").value.trim().toLowerCase();
    want.changed = byId("by-changed").checked;
    found = data.pairs.filter((pair, index) => matches(pair, index, want));
    if (want.order) {
      const height = new Map(found.map((pair) => [pair, rank[want.order](pair, want.judge)]));
      found.sort((one, other) => height.get(other) - height.get(one));
    }
    draw(0);
  };
  const reset = () => {
    FILTERS.forEach((name) => { byId(`by-${name}`).value = ""; });
    byId("by-search").value = "";
    byId("by-changed").checked = false;
    apply();
  };

  /* Next and previous pair, and the pair that the address names. */
  const go = (place) => {
    if (place < 0 || place >= found.length) return;
    if (place < first || place >= first + STEP) draw(place - (place % STEP));
    const node = list.children[place - first];
    node.focus({ preventScroll: true });
    node.scrollIntoView({ block: "start" });
    history.replaceState(null, "", found[place].hash);
  };
  const named = () => {
    if (!location.hash.startsWith("#pair=")) return;
    const at = () => found.findIndex((pair) => pair.hash === location.hash);
    if (at() < 0) reset();
    go(at());
  };
  const current = () => {
    const at = [...list.children].indexOf(document.activeElement?.closest("article.pair"));
    return at < 0 ? null : first + at;
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || large.open || event.target.closest("input, select")) return;
    if (event.key === "j") go(current() === null ? first : current() + 1);
    if (event.key === "k" && current() !== null) go(current() - 1);
  });
  const turn = (start) => {
    draw(start);
    byId("tally").scrollIntoView();
  };

  const fill = (name, values, write) => {
    const select = byId(`by-${name}`);
    values.forEach((value) => {
      const option = make("option", "", write(value));
      option.value = value;
      select.append(option);
    });
    if (values.length < 2) select.closest("label").hidden = true;
    select.addEventListener("change", apply);
  };
  const distinct = (values) => [...new Set(values)];
  fill("set", data.sets.map((_, index) => String(index)), (index) => data.sets[index].name);
  fill("combination", distinct(data.pairs.map((p) => p.combination || "none")).sort(), (x) => x);
  fill("category", distinct(data.pairs.map((p) => p.category || "none")).sort(), spoken);
  fill("run", distinct(data.sets.flatMap((s) => s.runs.map((r) => r.title))), (x) => x);
  fill("judge", distinct(data.pairs.flatMap((p) => p.answers.flatMap((a) => (a ? a.verdicts.map((v) => v.judge) : [])))), (x) => x);
  ["by-outcome", "by-order", "by-changed"].forEach((id) => byId(id).addEventListener("change", apply));
  byId("by-changed").closest("label").hidden = !data.sets.some((s) => s.runs.length > 1);
  let waiting = 0;
  byId("by-search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(apply, 150);
  });
  byId("reveal").addEventListener("change", (event) => everySetter.forEach((set) => set(event.target.checked)));
  byId("reset").addEventListener("click", reset);
  byId("previous").addEventListener("click", () => turn(first - STEP));
  byId("next").addEventListener("click", () => turn(first + STEP));
  byId("browser-live").hidden = false;
  apply();
  addEventListener("hashchange", named);
  named();
})();
