// The outline of a mask: the edges between pixels that are in and pixels that are not.

/** Commands of an SVG path in pixels, 0 at the left and upper edge of the first; `isIn(place)` tells of each pixel. */
export function outlineOf(isIn, rows, columns) {
  const commands = [];
  const within = (row, column) =>
    row >= 0 && row < rows && column >= 0 && column < columns && Boolean(isIn(row * columns + column));
  // Runs of edges along a line become one stroke each.
  const runs = (lines, length, differs, stroke) => {
    for (let line = 0; line <= lines; line += 1)
      for (let place = 0; place < length; place += 1) {
        if (!differs(line, place)) continue;
        const from = place;
        while (place + 1 < length && differs(line, place + 1)) place += 1;
        commands.push(stroke(line, from, place + 1));
      }
  };
  runs(
    rows,
    columns,
    (row, column) => within(row - 1, column) !== within(row, column),
    (row, from, to) => `M${from} ${row}H${to}`,
  );
  runs(
    columns,
    rows,
    (column, row) => within(row, column - 1) !== within(row, column),
    (column, from, to) => `M${column} ${from}V${to}`,
  );
  return commands.join("");
}
