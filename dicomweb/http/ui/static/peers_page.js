// Peers: the application entities the archive knows.
import { confirmDialog } from "./dialogs.js";
import { fill, h, icon, ICONS } from "./dom.js";
import { duration } from "./format.js";
import { API, isAbort, json, send } from "./http.js";
import { emptiness, failure, notice } from "./notices.js";
import { peerDialog } from "./peer_form.js";
import { replaceTable, rowButton, table } from "./table.js";

/** Show the peers. */
export async function peersPage(main, asked, leave) {
  const add = h(
    "button",
    { type: "button", class: "button primary", on: { click: () => edit(null) } },
    icon(ICONS.plus),
    "Add a peer",
  );
  const place = h("div", {});
  const echoes = new Map(); // AE title to what became of asking
  let peers = [];
  fill(
    main,
    h("div", { class: "page-head" }, h("h1", { tabindex: "-1" }, "Peers"), h("div", { class: "actions" }, add)),
    place,
  );
  const path = (peer, rest = "") => `/peers/${encodeURIComponent(peer.ae_title)}${rest}`;

  const load = async () => {
    try {
      peers = await json(`${API}/peers`, { signal: leave });
      draw();
    } catch (error) {
      if (!isAbort(error)) fill(place, failure(error, load));
    }
  };
  const edit = (peer) =>
    peerDialog(peer, async (title, members) => {
      // A PUT would silently be another version of the one there is.
      const known = peer ? [] : await json(`${API}/peers`);
      if (known.some((other) => other.ae_title === title))
        throw new Error("There is a peer of that AE title already.");
      await send("PUT", path({ ae_title: title }), members);
      notice(peer ? `${title} is changed.` : `${title} is a peer now.`);
      await load();
    });
  const remove = (peer) =>
    confirmDialog(
      "Forget this peer?",
      `Nothing can be sent to ${peer.ae_title} any more until it is added again. What it has sent stays.`,
      "Forget",
      async () => {
        await send("DELETE", path(peer));
        await load();
      },
    );
  const echo = async (peer) => {
    echoes.set(peer.ae_title, { text: "Asking …", look: "" });
    draw();
    try {
      const { seconds } = await send("POST", path(peer, "/echo"));
      echoes.set(peer.ae_title, { text: `Answers in ${duration(seconds)}`, look: "good" });
    } catch (error) {
      echoes.set(peer.ae_title, { text: error.message, look: "bad" });
    }
    if (!leave.aborted) draw();
  };
  const draw = () => {
    if (!peers.length)
      return fill(
        place,
        emptiness(
          ICONS.send,
          "No peers yet",
          "Add the workstations and modalities that the archive is to send to, or that ask it for images.",
          null,
        ),
      );
    return replaceTable(
      place,
      table("Peers", columns(echoes, { echo, edit, remove }), peers, (peer) => peer.ae_title),
    );
  };
  await load();
}

function columns(echoes, { echo, edit, remove }) {
  return [
    {
      title: "AE title",
      kind: "lead",
      cell: (peer) => [
        h("span", { class: "strong mono" }, peer.ae_title),
        peer.description && h("div", { class: "muted small" }, peer.description),
      ],
    },
    { title: "Address", cell: (peer) => h("span", { class: "mono" }, `${peer.host}:${peer.port}`) },
    {
      title: "Options",
      cell: (peer) => {
        const badges = [
          peer.tls && h("span", { class: "badge accent" }, "TLS"),
          peer.username && h("span", { class: "badge" }, "User identity"),
          peer.availability && h("span", { class: "badge" }, "Availability"),
          peer.forward_performed_steps && h("span", { class: "badge" }, "MPPS"),
        ].filter(Boolean);
        return badges.length > 0 && h("span", { class: "badges" }, badges);
      },
    },
    {
      title: "Echo",
      cell: (peer) => {
        const found = echoes.get(peer.ae_title);
        return h(
          "span",
          { class: `echo ${found?.look ? `text-${found.look}` : "muted"}`, role: "status" },
          found?.text ?? "Not asked",
        );
      },
    },
    {
      title: "Actions",
      kind: "actions",
      cell: (peer) =>
        h(
          "span",
          { class: "row-actions" },
          rowButton("Echo", "echo", () => echo(peer), { "aria-label": `Echo ${peer.ae_title}` }),
          rowButton("Edit", "edit", () => edit(peer), { "aria-label": `Edit ${peer.ae_title}` }),
          rowButton("Delete", "delete", () => remove(peer), {
            class: "button compact quiet danger",
            "aria-label": `Delete ${peer.ae_title}`,
          }),
        ),
    },
  ];
}
