// Keeps the parts of a page that are marked data-live="SECONDS" up to date, while it is looked at.
'use strict';

function isInUse(part) {
  const selection = document.getSelection();
  return part.contains(document.activeElement)
    || (selection && !selection.isCollapsed && part.contains(selection.anchorNode));
}

async function renew(part, place) {
  if (document.hidden || isInUse(part)) return part;
  const answer = await fetch(location.href, {headers: {Accept: 'text/html'}});
  // Somebody has to sign in again, or the queue is gone: that shows once the page is loaded.
  if (!answer.ok || answer.redirected) return part;
  const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
  const newer = page.querySelectorAll('[data-live]')[place];
  if (!newer || isInUse(part)) return part;
  const details = part.querySelectorAll('details');
  newer.querySelectorAll('details').forEach((one, at) => { one.open = Boolean(details[at]?.open); });
  part.replaceWith(document.adoptNode(newer));
  return newer;
}

document.querySelectorAll('[data-live]').forEach((first, place) => {
  let part = first;
  async function again() {
    try {
      part = await renew(part, place);
    } catch {
      // The service is out of reach for now.
    }
    setTimeout(again, part.dataset.live * 1000);
  }
  setTimeout(again, part.dataset.live * 1000);
});
