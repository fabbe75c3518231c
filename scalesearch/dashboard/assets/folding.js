// Plain data that came by column (dashboard/folding.py), as the lists and objects they were.

function unfoldRecords({ k: keys, c: columns, m: masks }) {
  const values = columns.map(unfold);
  const rows = Array.from({ length: (masks[0] ?? values[0]).length }, () => []);
  keys.forEach((key, place) => {
    let next = 0;
    rows.forEach((row, index) => {
      if (masks[place] === null || masks[place][index] === "1") row.push([key, values[place][next++]]);
    });
  });
  return rows.map(Object.fromEntries); // a key may be any text, "__proto__" too
}

function unfoldLists({ n: lengths, l: folded }) {
  const items = unfold(folded);
  let start = 0;
  return lengths.map((length) => items.slice(start, (start += length)));
}

function unfold(folded) {
  if (Array.isArray(folded)) return folded;
  if (folded.k) return unfoldRecords(folded);
  if (folded.n) return unfoldLists(folded);
  const columns = folded.t.map(unfold);
  return columns[0].map((_, row) => columns.map((column) => column[row]));
}
