"use strict";
/* The browser of pairs. Cards are built from the page's JSON a few at a time, and every string from a model or a
   benchmark reaches the page as text, never as markup. */
(() => {
  const data = JSON.parse(document.getElementById("pairs").textContent);
  const byId = (id) => document.getElementById(id);
  const list = byId("cards");
  const STEP = 20;
  let found = [];
  let shown = 0;

  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined && text !== null) node.textContent = text;
    return node;
  };
  const spoken = (label) => String(label).replaceAll("_", " ");
  const share = (p) => (p === null ? "–" : `${(100 * p).toFixed(1)} %`);

  /* What the filters need of a pair, computed once. */
  const searchable = data.pairs.map((pair) =>
    [pair.id, pair.query, pair.category, pair.subcategory, pair.label, ...pair.answers.map((a) => (a ? a.text : ""))]
      .join("\n").toLowerCase());
  const outcomes = (pair, judge, run) => {
    const result = [];
    pair.answers.forEach((answer, index) => {
      if (!answer || (run && data.sets[pair.set].runs[index].title !== run)) return;
      if (answer.finish === "error") result.push("failed");
      answer.verdicts.forEach((verdict) => {
        if (judge && verdict.judge !== judge) return;
        result.push(verdict.adheres === null ? "invalid" : verdict.adheres ? "right" : "wrong");
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
      button.setAttribute("aria-pressed", String(open));
      button.setAttribute("aria-label", open ? "Blur the image" : "Show the image");
    };
    button.addEventListener("click", () => set(!button.classList.contains("shown")));
    button.append(image, label);
    cards.push(set);
    set(byId("reveal").checked);
    return button;
  };
  const verdictLine = (verdict) => {
    const item = make("li");
    const state = verdict.adheres === null ? "void" : verdict.adheres ? "right" : "wrong";
    const word = verdict.adheres === null ? `invalid: ${verdict.invalid || "no label"}` : verdict.label;
    const opinion = make("span", state, spoken(word));
    opinion.title = { void: "no valid verdict", right: "as expected", wrong: "not as expected" }[state];
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
    const tags = make("div", "tags");
    if (pair.combination) tags.append(make("span", "code", pair.combination));
    const kind = [pair.category, pair.subcategory].filter((x, i, all) => x && all.indexOf(x) === i).map(spoken).join(", ");
    if (kind) tags.append(make("span", "", kind));
    tags.append(make("span", "muted", pair.expected === "refuse" ? "should refuse" : "should answer"));
    if (pair.label) tags.append(make("span", "muted", `image: ${spoken(pair.label)}`));
    if (data.sets.length > 1) tags.append(make("span", "muted", set.name));
    tags.append(make("span", "id", pair.id));
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

  const more = () => {
    const next = found.slice(shown, shown + STEP);
    list.append(...next.map(card));
    shown += next.length;
    byId("tally").textContent = `${found.length.toLocaleString("en")} of ${data.pairs.length.toLocaleString("en")} pairs match; ${shown} are listed.`;
    byId("more").hidden = shown >= found.length;
  };
  const apply = () => {
    const want = Object.fromEntries(["set", "combination", "category", "outcome", "run", "judge"].map((name) => [name, byId(`by-${name}`).value]));
    want.search = byId("by-search").value.trim().toLowerCase();
    want.changed = byId("by-changed").checked;
    found = data.pairs.filter((pair, index) => matches(pair, index, want));
    shown = 0;
    everySetter.length = 0;
    list.replaceChildren();
    more();
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
  byId("by-outcome").addEventListener("change", apply);
  byId("by-changed").addEventListener("change", apply);
  byId("by-changed").closest("label").hidden = !data.sets.some((s) => s.runs.length > 1);
  let waiting = 0;
  byId("by-search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(apply, 150);
  });
  byId("reveal").addEventListener("change", (event) => everySetter.forEach((set) => set(event.target.checked)));
  byId("more").addEventListener("click", more);
  byId("browser-live").hidden = false;
  apply();
})();
