// Writing: the field that grows, and the files that are chosen, dropped, pasted or photographed.

import { size, t } from './words.js';
import { $, make, press, thumbnail } from './view.js';

let talk = null; // the conversation that is written to
let sent = () => {};
let toast = () => {};
const chosen = new Map(); // by conversation: the files in its tray

// begin says what to do when something was sent, and how to tell the guest something by the way.
export function begin(onSent, onNote) { [sent, toast] = [onSent, onNote]; }

// write turns to another conversation, or to none; each keeps what was not sent yet.
export function write(other) {
  if (talk === other) return;
  if (talk) talk.draft = $('text').value;
  talk = other;
  $('text').value = talk?.draft || '';
  drawTray();
  fit();
}

// clear forgets all that was not sent.
export function clear() {
  talk = null;
  chosen.clear();
  $('text').value = '';
  drawTray();
}

export function fit() {
  $('text').rows = 1;
  while ($('text').rows < 6 && $('text').scrollHeight > $('text').clientHeight + 2) $('text').rows++;
  sent(false);
}

$('text').oninput = () => {
  talk?.typed($('text').value);
  fit();
};

$('text').onkeydown = (e) => {
  if (e.key !== 'Enter' || e.shiftKey || e.isComposing || matchMedia('(pointer: coarse)').matches) return;
  e.preventDefault();
  $('composer').requestSubmit();
};

$('composer').onsubmit = (e) => {
  e.preventDefault();
  const text = $('text').value;
  const files = chosen.get(talk) || [];
  if (!talk || talk.ended || !text.trim() && !files.length) return;
  chosen.delete(talk);
  drawTray();
  $('text').value = '';
  fit();
  for (const file of files) talk.send(file.name || t('file', { name: '' }), file);
  if (text.trim()) talk.send(text);
  sent(true);
  $('text').focus();
};

// choose puts files into the tray; they go with the next press on Send, so a slip of the hand sends nothing.
function choose(files) {
  if (!files.length || !talk || talk.ended) return;
  if (!talk.files) return toast(t('no-files'));
  chosen.set(talk, [...(chosen.get(talk) || []), ...files]);
  drawTray();
  $('send').focus();
}

function drawTray() {
  const files = chosen.get(talk) || [];
  $('tray').hidden = !files.length;
  $('tray').replaceChildren(...files.map((file) => {
    const picture = make('span', 'chip-picture', '▤');
    if (file.type.startsWith('image/')) thumbnail(file, 96).then((c) => picture.replaceChildren(c), () => {});
    const away = press('round small', '×', () => {
      chosen.set(talk, files.filter((f) => f !== file));
      drawTray();
      $('text').focus();
    });
    away.ariaLabel = t('remove', { name: file.name });
    return make('li', 'chip', picture, make('span', 'chip-name', make('bdi', '', file.name), ' ', make('span', 'quiet', size(file.size))), away);
  }));
  sent(false);
}

$('attach').onclick = () => $('files').click();
$('camera').onclick = () => $('shots').click();
$('files').onchange = $('shots').onchange = (e) => {
  choose([...e.target.files]);
  e.target.value = '';
};

$('text').onpaste = (e) => {
  const files = [...e.clipboardData.files];
  if (!files.length) return;
  e.preventDefault();
  choose(files);
};

// A file that misses its place must not take the chat away, so the whole page takes files.
let leaving = 0;
const over = (is) => { $('drop').hidden = !is || !talk?.files || Boolean(talk.ended); };
const brings = (e) => e.dataTransfer?.types.includes('Files');
addEventListener('dragover', (e) => {
  if (!brings(e)) return;
  e.preventDefault();
  clearTimeout(leaving);
  over(true);
});
addEventListener('dragleave', () => { leaving = setTimeout(() => over(false), 100); });
addEventListener('drop', (e) => {
  if (!brings(e)) return;
  e.preventDefault();
  over(false);
  choose([...e.dataTransfer.files]);
});
