// What the page says, in the guest's language: t and count give the words of one of the dictionaries in
// lang/, the others what Intl knows of numbers, dates and lists. The gateway has chosen the language by
// Accept-Language and written it into the page; what the browser itself says counts more.

const known = ['en', 'zh', 'de', 'fr', 'es', 'ar'];
const root = document.documentElement;
const wanted = navigator.languages.map((l) => l.split('-')[0].toLowerCase()).find((l) => known.includes(l));

export const lang = wanted || root.lang;
const { default: words } = await import(`./lang/${lang}.js`);

// With its region, if the browser names one: dates of en-GB and en-US differ.
const locale = navigator.languages.find((l) => l.split('-')[0].toLowerCase() === lang) || lang;

// What people are called may run in the other direction than the words around it.
const isolate = (value) => (words.dir === 'rtl' ? `\u2068${value}\u2069` : String(value));

export const t = (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (_, name) => isolate(values[name]));

const plural = new Intl.PluralRules(locale);
const number = new Intl.NumberFormat(locale);

// count is t for a number of things.
export const count = (key, n) => t(`${key}.${plural.select(n)}`, { n: number.format(n) });

const unit = (name, digits = 0) => new Intl.NumberFormat(locale, { style: 'unit', unit: name, unitDisplay: 'long', maximumFractionDigits: digits });

// wait is how long a number of seconds is; nothing said is a minute.
export const wait = (seconds) => (seconds > 90 || seconds < 2 ? unit('minute').format(Math.max(1, Math.ceil(seconds / 60))) : unit('second').format(seconds));

export function size(bytes) {
  const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte'];
  const i = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(bytes, 1)) / 3));
  return new Intl.NumberFormat(locale, { style: 'unit', unit: units[i], unitDisplay: 'short', maximumSignificantDigits: 3 }).format(bytes / 1000 ** i);
}

const clocks = new Intl.DateTimeFormat(locale, { hour: 'numeric', minute: '2-digit' });
const days = new Intl.DateTimeFormat(locale, { weekday: 'long', day: 'numeric', month: 'long' });
const dates = new Intl.DateTimeFormat(locale, { dateStyle: 'long' });

export const clock = (d) => clocks.format(d);
export const date = (d) => dates.format(d);
export const names = (all) => new Intl.ListFormat(locale).format(all.map(isolate));

export function day(d) {
  const ago = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(d).setHours(0, 0, 0, 0)) / 86_400_000);
  return ago === 0 ? t('today') : ago === 1 ? t('yesterday') : days.format(d);
}

// explain says what went wrong with a request. The gateway speaks English only.
export function explain(problem) {
  if (lang === 'en' && problem.status) return problem.message;
  return t({ 413: 'too-long', 403: 'not-allowed', 429: 'too-fast' }[problem.status] || (problem.status ? 'unfit' : 'leaving-offline'));
}

// The gateway has filled these in, too, in the language that it chose.
if (root.lang !== lang) {
  Object.assign(root, { lang, dir: words.dir });
  for (const e of document.querySelectorAll('[data-t]')) e.textContent = t(e.dataset.t);
  for (const e of document.querySelectorAll('[data-t-label]')) e.ariaLabel = t(e.dataset.tLabel);
  for (const e of document.querySelectorAll('[data-t-placeholder]')) e.placeholder = t(e.dataset.tPlaceholder);
}
