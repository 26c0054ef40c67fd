// A peer in a form. A PUT is the whole peer: what the form does not show goes back as it came.
import { check, field, formDialog } from "./dialogs.js";
import { h } from "./dom.js";

const WAYS = [
  ["same", "On the association of the request"],
  ["new", "On a new association"],
  ["next", "On the next one the peer opens"],
];
const TEXTS = ["description", "character_set", "username", "our_username"];
const SWITCHES = ["tls", "availability", "forward_performed_steps"];
const PASSCODES = ["passcode", "our_passcode"];
const SHOWN_ONLY = ["has_passcode", "has_our_passcode"];

/** Open the form of a peer, or of a new one; `put` gets the AE title and the members. */
export function peerDialog(peer, put) {
  const more = h("details", {}, h("summary", {}, "More"), h("div", { class: "dialog-more" }, moreOf(peer)));
  return formDialog({
    title: peer ? `Peer ${peer.ae_title}` : "Add a peer",
    body: [addressOf(peer), check("It speaks TLS on that port", "tls", peer?.tls ?? false), more],
    action: peer ? "Save" : "Add",
    submit: (form) => put(form.elements.ae_title.value.trim(), membersOf(peer, form)),
  });
}

function addressOf(peer) {
  const title = input("ae_title", peer, { required: true, maxlength: 16, readOnly: Boolean(peer) });
  const host = input("host", peer, { required: true, placeholder: "192.0.2.7 or ct1.example.org" });
  const range = { min: 1, max: 65535, required: true };
  return h(
    "div",
    { class: "grid-2" },
    field("AE title", title, peer ? "" : "1 to 16 characters; case matters"),
    field("Description", input("description", peer)),
    field("Host", host),
    field("Port", h("input", { type: "number", name: "port", value: peer?.port ?? 104, ...range })),
  );
}

function moreOf(peer) {
  const ways = peer?.commitment_delivery ?? WAYS.map(([way]) => way);
  const deliveries = inOrder(ways).map(([way, words]) =>
    check(words, "commitment_delivery", ways.includes(way), { value: way }),
  );
  const uids = (peer?.transfer_syntaxes ?? []).join("\n");
  const syntaxes = h("textarea", {
    name: "transfer_syntaxes",
    rows: 2,
    spellcheck: "false",
    class: "mono",
    value: uids,
  });
  const characters = input("character_set", peer, { placeholder: "ISO_IR 192" });
  return [
    check("Tell it of studies that have become complete", "availability", peer?.availability ?? false),
    check("Forward performed procedure steps to it", "forward_performed_steps", peer?.forward_performed_steps ?? false),
    h("fieldset", {}, h("legend", {}, "Storage commitment reports reach it, tried in this order"), deliveries),
    field("Preferred transfer syntaxes", syntaxes, "UIDs, the most preferred first, one a line"),
    field("Character set of worklist answers", characters),
    h(
      "div",
      { class: "grid-2" },
      field("User name it must give", input("username", peer)),
      field("Passcode it must give", passcode("passcode", peer?.has_passcode)),
      field("User name we give", input("our_username", peer)),
      field("Passcode we give", passcode("our_passcode", peer?.has_our_passcode)),
    ),
    peer?.has_passcode && check("Take away the passcode it must give", "no_passcode", false),
    peer?.has_our_passcode && check("Take away the passcode we give", "no_our_passcode", false),
  ];
}

function input(name, peer, attributes = {}) {
  const plain = { autocomplete: "off", spellcheck: "false" };
  return h("input", { type: "text", name, value: peer?.[name] ?? "", ...plain, ...attributes });
}

function passcode(name, known) {
  return h("input", {
    type: "password",
    name,
    autocomplete: "new-password",
    placeholder: known ? "unchanged" : "none",
  });
}

// The peer's own order first, what it does not take after it.
function inOrder(ways) {
  const place = ([way]) => (ways.includes(way) ? ways.indexOf(way) : WAYS.length);
  return [...WAYS].sort((one, other) => place(one) - place(other));
}

function membersOf(peer, form) {
  const { elements } = form;
  const members = { ...peer, host: elements.host.value.trim(), port: Number(elements.port.value) };
  for (const name of SHOWN_ONLY) delete members[name];
  for (const name of TEXTS) members[name] = elements[name].value.trim();
  for (const name of SWITCHES) members[name] = elements[name].checked;
  const deliveries = [...form.querySelectorAll('[name="commitment_delivery"]')];
  members.commitment_delivery = deliveries.filter((box) => box.checked).map((box) => box.value);
  members.transfer_syntaxes = elements.transfer_syntaxes.value.split(/\s+/).filter(Boolean);
  // What nobody can read cannot be sent back: left out it stays, empty it goes.
  for (const name of PASSCODES) {
    if (elements[`no_${name}`]?.checked) members[name] = "";
    else if (elements[name].value) members[name] = elements[name].value;
  }
  return members;
}
