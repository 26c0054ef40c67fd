// Files out of what was dropped or chosen: folders are walked through, names keep their folders, nothing is read yet.

const PAUSE_EVERY = 250;

/** Everything of a drop. The entries must be taken at once: after the event the browser forgets them. */
export function entriesOf(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  return items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile()).filter(Boolean);
}

/** Whether something that is dragged holds files. */
export function holdsFiles(transfer) {
  return [...(transfer?.types ?? [])].includes("Files");
}

/** Walk through entries and give out {file, path}, folder by folder; what cannot be read is left out and counted. */
export async function* walk(entries, unreadable = () => {}) {
  const waiting = [...entries].reverse();
  let given = 0;
  while (waiting.length) {
    const entry = waiting.pop();
    if (entry instanceof File) {
      yield { file: entry, path: entry.webkitRelativePath || entry.name };
    } else if (entry.isFile) {
      try {
        const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
        yield { file, path: entry.fullPath.replace(/^\//, "") };
      } catch {
        unreadable(entry.fullPath);
      }
    } else if (entry.isDirectory) {
      try {
        waiting.push(...(await childrenOf(entry)).reverse());
      } catch {
        unreadable(entry.fullPath);
      }
    }
    // Ten thousand files in a row would leave no time to paint.
    if ((given += 1) % PAUSE_EVERY === 0) await new Promise((resolve) => setTimeout(resolve));
  }
}

async function childrenOf(folder) {
  const reader = folder.createReader();
  const children = [];
  for (;;) {
    // A reader gives out some hundred entries at a time, and none when it is done.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return children;
    children.push(...some);
  }
}

/** What a file is, by how it begins: "dicom", "zip" or null. A directory of a disc (DICOMDIR) is no image. */
export async function kindOf(file) {
  if (file.name.startsWith(".") || /^dicomdir$/i.test(file.name) || !file.size) return null;
  const head = new Uint8Array(await file.slice(0, 512).arrayBuffer());
  const letters = (from, to) => String.fromCharCode(...head.subarray(from, to));
  if (letters(128, 132) === "DICM") return letters(132, 512).includes("1.2.840.10008.1.3.10") ? null : "dicom";
  if (letters(0, 4) === "PK\u0003\u0004") return "zip";
  // Without preamble: an element of group 0002 or 0008 with a low number, then a VR or a short length.
  const begins = (head[0] === 2 || head[0] === 8) && head[1] === 0 && head[3] === 0 && head.length > 8;
  return begins && (/^[A-Z]{2}$/.test(letters(4, 6)) || (head[6] === 0 && head[7] === 0)) ? "dicom" : null;
}
