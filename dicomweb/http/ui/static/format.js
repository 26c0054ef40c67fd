// Numbers, sizes and moments as people read them; the language of the pages is English, dates are ISO 8601.

const NUMBER = new Intl.NumberFormat("en", { useGrouping: true });

/** 12345 as "12,345". */
export function count(value) {
  return NUMBER.format(value);
}

/** "1 file", "2 files". */
export function plural(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** Bytes with a decimal unit, as disks are sold: "14.9 MB". */
export function bytes(value) {
  if (value === null || value === undefined) return "unknown";
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let size = value;
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit && size < 99.95 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}

/** Seconds as "40 s", "3 min", "2 h". */
export function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

/** A moment in the reader's own time zone: "2026-11-21 08:30". */
export function moment(value, withSeconds = false) {
  const at = new Date(value);
  if (Number.isNaN(at.getTime())) return "";
  const two = (part) => String(part).padStart(2, "0");
  const clock = [at.getHours(), at.getMinutes(), ...(withSeconds ? [at.getSeconds()] : [])].map(two).join(":");
  return `${isoDate(at)} ${clock}`;
}

/** The day of a moment in the reader's own time zone: "2026-11-21". */
export function isoDate(at) {
  const two = (part) => String(part).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}
