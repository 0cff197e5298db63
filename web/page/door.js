// The door: what is shown before and after the chat, and what to do next in each case.

import * as keep from './keep.js';
import { account, handover, login, stop } from './api.js';
import { explain, t, wait } from './words.js';
import { $ } from './view.js';

let passwd = window.passwd; // link.js took it out of the address
delete window.passwd;

export const hasLink = () => Boolean(passwd);

export function door(title, text, { button = '', act = null } = {}) {
  $('chat').hidden = true;
  for (const d of document.querySelectorAll('dialog')) d.close();
  $('door').hidden = false;
  $('door').classList.remove('first');
  $('door-title').textContent = document.title = title;
  $('door-text').textContent = text;
  for (const id of ['door-note', 'door-error', 'app-note']) $(id).textContent = '';
  $('door-more').hidden = true;
  $('door-button').hidden = !button;
  $('door-button').textContent = button;
  $('door-button').disabled = false;
  $('door-button').onclick = act;
}

// shut is a door that can't be opened any more.
export function shut(title, text) {
  passwd = undefined;
  door(title, text);
  $('door-title').focus();
}

// invitation shows the link's one button; entered hears the answer to the login.
export function invitation(entered) {
  door(t('invited'), t('invited-text'), { button: t('open'), act: () => enter(entered) });
  $('door-note').textContent = t('invited-note');
  $('door-more').hidden = false;
  drawApp();
}

async function enter(entered) {
  const button = $('door-button');
  button.disabled = true;
  button.textContent = t('opening');
  $('door-error').textContent = $('app-note').textContent = '';
  try {
    const answer = await login(passwd);
    passwd = undefined;
    entered(answer);
  } catch (problem) {
    refused(problem);
  } finally {
    button.disabled = false;
    if (button.textContent === t('opening')) button.textContent = t('open');
  }
}

// refused says what to do about a login that failed.
function refused(problem) {
  const again = (text) => {
    $('door-error').textContent = text;
    $('door-button').textContent = t('again');
    $('door-button').focus();
  };
  switch (problem.status) {
    case 401: case 410:
      return dead(problem.status, keep.noted(account));
    case 429:
      return again(t('too-many', { time: wait(problem.wait) }));
    case 502:
      return again(t('refused'));
    case 503: case 504:
      return again(t('no-answer'));
    case 0:
      return again(t('no-connection'));
    default:
      return again(t('odd', { problem: explain(problem) }));
  }
}

// dead explains a link that opens nothing any more. The gateway says little, since it would tell strangers, too; what
// this browser went through says more.
function dead(status, noted) {
  if (noted === 'guest-left') return shut(t('used'), `${t('used-text')} ${t('ended-left')}`);
  if (noted === 'withdrawn' || noted === 'inviter-left') return shut(t('withdrawn'), `${t('withdrawn-text')} ${t('ask')}`);
  if (status === 410) return shut(t('expired'), `${t('expired-text')} ${t('ask')}`);
  return shut(t('wrong'), t('wrong-text'));
}

// The stand-alone client takes the whole link behind a scheme of its own, or a file that names the chat without its password (R32). No browser
// tells whether there is such a program, so the person says so, once.
function drawApp(has = keep.noted('app') === 'here') {
  $('have-app').hidden = has;
  $('app').hidden = $('app-file').hidden = !has;
}

$('have-app').onclick = () => {
  keep.note('app', 'here');
  drawApp(true);
  $('app').focus();
};

$('app').onclick = () => {
  const link = `${location.origin}${location.pathname}#passwd=${encodeURIComponent(passwd)}`;
  $('app-note').textContent = '';
  const timer = setTimeout(() => { $('app-note').textContent = t('app-none'); }, 1500); // still in front: nobody came
  addEventListener('blur', () => clearTimeout(timer), { once: true });
  location.href = `latchkey:${link}`;
};

$('app-file').onclick = async () => {
  $('door-error').textContent = $('app-note').textContent = '';
  try {
    const a = Object.assign(document.createElement('a'), { href: URL.createObjectURL(await handover()), download: 'chat.latchkey' });
    a.click();
    setTimeout(() => URL.revokeObjectURL(a.href), 60_000);
    $('app-note').textContent = t('app-file-how');
  } catch (problem) { refused(problem); }
};

$('not-me').onclick = () => {
  $('stopping-error').textContent = '';
  $('stopping').showModal();
};

$('stop-go').onclick = async () => {
  $('stop-go').disabled = true;
  $('stopping-error').textContent = '';
  try {
    await stop(passwd);
    shut(t('stopped'), t('stopped-text'));
  } catch (problem) {
    if (problem.status === 401 || problem.status === 410) return dead(problem.status, keep.noted(account));
    $('stopping-error').textContent = problem.status ? t('leaving-failed', { problem: explain(problem) }) : t('leaving-offline');
  } finally {
    $('stop-go').disabled = false;
  }
};
