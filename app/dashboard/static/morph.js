// Makes a part of the page equal to a fresh one by changing only what differs: the focus, open details, scroll
// positions and half-done clicks stay. Elements with an id are told apart by it, others by their place.
"use strict";
(() => {
  // What the user or a script of the page decides, not the server
  const KEPT = { DETAILS: ["open"], BUTTON: ["aria-busy"] };

  function morph(old, fresh) {
    if (old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
      old.replaceWith(fresh);
    } else if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
    } else {
      matchAttributes(old, fresh);
      matchChildren(old, fresh);
    }
  }

  function matchAttributes(old, fresh) {
    const kept = KEPT[old.nodeName] || [];
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !kept.includes(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value && !kept.includes(name)) old.setAttribute(name, value);
    }
  }

  function matchChildren(old, fresh) {
    const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
    let place = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      const same = child.id ? known.get(child.id) : place && !place.id && place.nodeName === child.nodeName ? place : null;
      if (!same) {
        old.insertBefore(child, place);
        continue;
      }
      if (same === place) place = place.nextSibling;
      else old.insertBefore(same, place);
      morph(same, child);
    }
    while (place) {
      const next = place.nextSibling;
      place.remove();
      place = next;
    }
  }

  window.gyrostatMorph = morph;
})();
