// Keeps the parts of a page that are marked data-live="SECONDS" up to date, while it is looked at.
'use strict';

function isInUse(part) {
  const selection = document.getSelection();
  return part.contains(document.activeElement)
    || (selection && !selection.isCollapsed && part.contains(selection.anchorNode));
}

function replace(part, newer) {
  if (!newer || isInUse(part)) return;
  const details = part.querySelectorAll('details');
  newer.querySelectorAll('details').forEach((one, at) => { one.open = Boolean(details[at]?.open); });
  part.replaceWith(document.adoptNode(newer));
}

async function renew() {
  const parts = document.querySelectorAll('[data-live]');
  if (document.hidden || [...parts].every(isInUse)) return;
  const answer = await fetch(location.href, {headers: {Accept: 'text/html'}});
  // Somebody has to sign in again, or the queue is gone: that shows once the page is loaded.
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
  const newer = page.querySelectorAll('[data-live]');
  parts.forEach((part, place) => replace(part, newer[place]));
}

function goOn() {
  const part = document.querySelector('[data-live]');
  if (part) setTimeout(again, part.dataset.live * 1000);
}

function again() {
  renew().catch(() => {
    // The service is out of reach for now.
  }).finally(goOn);
}

goOn();
