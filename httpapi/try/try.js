// The page that tries the interface: it lists the operations of openapi.json, lets one fill one in, sends it and shows the answer.
// All text goes in by textContent; nothing is loaded from elsewhere.

const base = new URL('../../', location.href)
const at = (id) => document.getElementById(id)
const make = (name, text, attributes = {}) => {
  const e = document.createElement(name)
  if (text) e.textContent = text
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v)
  return e
}

const doc = await (await fetch(new URL('openapi.json', base))).json()

// follow gives what a $ref points at.
function follow(o) {
  while (o?.$ref) o = o.$ref.slice(2).split('/').reduce((d, k) => d[k.replaceAll('~1', '/').replaceAll('~0', '~')], doc)
  return o
}

const operations = []
for (const [path, item] of Object.entries(doc.paths)) {
  for (const method of ['get', 'head', 'post', 'put', 'patch', 'delete']) {
    const o = item[method]
    if (o) operations.push({ ...o, path, method: method.toUpperCase(), parameters: [...item.parameters ?? [], ...o.parameters ?? []].map(follow) })
  }
}
for (const tag of doc.tags) {
  at('operations').append(make('h3', tag.name))
  for (const o of operations.filter((o) => o.tags.includes(tag.name))) {
    const b = make('button', '', { type: 'button', 'data-operation': o.operationId })
    b.append(make('b', o.method), make('span', o.summary))
    b.onclick = () => pick(o, b)
    at('operations').append(b)
  }
}

let picked, stop

// example is what a parameter or a body looks like, as the document says.
function example(o) {
  const e = o?.example ?? Object.values(o?.examples ?? {})[0]?.value ?? ''
  return typeof e === 'string' ? e : JSON.stringify(e, null, 2)
}

function pick(o, button) {
  stop?.abort()
  picked = o
  for (const b of document.querySelectorAll('nav button')) b.removeAttribute('aria-current')
  button.setAttribute('aria-current', 'true')
  at('title').textContent = o.summary
  at('address').replaceChildren(make('b', o.method), ' ' + o.path)
  at('about').textContent = o.description ?? ''
  at('form').hidden = false
  at('answer').hidden = true
  at('credentials').hidden = !(o.security?.length > 0)
  at('parameters').replaceChildren(make('legend', 'Parameters'))
  at('parameters').hidden = o.parameters.length === 0
  for (const p of o.parameters) {
    const label = make('label', p.name + (p.required ? ' *' : ''))
    const input = make('input', '', { name: p.name, 'data-in': p.in, spellcheck: 'false', autocomplete: 'off' })
    if (p.schema?.format === 'password') input.type = 'password'
    if (p.required) {
      input.required = true
      input.value = example(p)
    }
    label.append(input, make('small', p.description))
    at('parameters').append(label)
  }
  const content = o.requestBody?.content
  at('content').hidden = !content
  at('type').replaceChildren(...Object.keys(content ?? {}).map((t) => make('option', t)))
  at('type').onchange = () => {
    const text = /json|xml/.test(at('type').value)
    at('textLabel').hidden = !text
    at('fileLabel').hidden = text
    at('text').value = text ? example(content[at('type').value]) : ''
  }
  if (content) at('type').onchange()
  const answers = new Set(Object.values(o.responses).flatMap((r) => Object.keys(follow(r).content ?? {})).filter((t) => !t.includes('problem')))
  at('accept').replaceChildren(make('option', '*/*'), ...[...answers].filter((t) => t !== '*/*').map((t) => make('option', t)))
  at('title').focus()
}

// request is the form as arguments of fetch.
function request() {
  let path = picked.path.slice(1)
  const query = []
  const headers = new Headers({ Accept: at('accept').value })
  for (const i of at('parameters').querySelectorAll('input')) {
    if (i.dataset.in === 'path') path = path.replace(`{${i.name}}`, encodeURIComponent(i.value))
    else if (i.value === '') continue
    else if (i.dataset.in === 'query') query.push(encodeURIComponent(i.name) + '=' + encodeURIComponent(i.value))
    else headers.set(i.name, i.value)
  }
  const basic = !at('credentials').hidden && at('user').value !== ''
  if (basic) {
    const octets = new TextEncoder().encode(at('user').value + ':' + at('password').value)
    headers.set('Authorization', 'Basic ' + btoa(String.fromCharCode(...octets)))
  } else headers.set('Latchkey-Client', 'try')
  let body
  if (!at('content').hidden) {
    const type = at('type').value
    const file = at('file').files[0]
    if (type === 'multipart/form-data') {
      body = new FormData()
      if (file) body.append('file', file)
    } else if (at('fileLabel').hidden) {
      body = at('text').value
      headers.set('Content-Type', type)
    } else {
      body = file
      headers.set('Content-Type', type.includes('*') ? file?.type || 'application/octet-stream' : type)
      if (file && !headers.has('Content-Disposition')) headers.set('Content-Disposition', `attachment; filename*=UTF-8''${encodeURIComponent(file.name)}`)
    }
  }
  const address = new URL(path + (query.length ? '?' + query.join('&') : ''), base)
  return [address, { method: picked.method, headers, body, credentials: basic ? 'omit' : 'same-origin', cache: 'no-store', signal: stop.signal }]
}

at('form').onsubmit = async (e) => {
  e.preventDefault()
  stop?.abort()
  const mine = stop = new AbortController()
  at('answer').hidden = false
  at('stop').hidden = false
  at('status').textContent = 'Waiting…'
  at('headers').textContent = at('body').textContent = ''
  try {
    const begun = performance.now()
    const res = await fetch(...request())
    at('status').textContent = `${res.status} ${res.statusText} after ${Math.round(performance.now() - begun)} ms`
    at('headers').textContent = [...res.headers].map(([k, v]) => `${k}: ${v}`).join('\n')
    await show(res)
  } catch (err) {
    if (!mine.signal.aborted) at('status').textContent = 'No answer: ' + err.message
  }
  if (stop === mine) at('stop').hidden = true
}
at('stop').onclick = () => {
  stop?.abort()
  at('stop').hidden = true
}

// show writes the body as it comes, up to 100 kB of text.
async function show(res) {
  const type = res.headers.get('Content-Type') ?? ''
  if (!/json|xml|text|yaml/.test(type)) {
    const octets = (await res.blob()).size
    at('body').textContent = octets ? `${octets} octets of ${type}` : ''
    return
  }
  const text = new TextDecoder()
  const reader = res.body.getReader()
  let all = ''
  for (let part = await reader.read(); !part.done && all.length < 100_000; part = await reader.read()) {
    all += text.decode(part.value, { stream: true })
    at('body').textContent = all
  }
  void reader.cancel()
  if (type.includes('json')) {
    try {
      at('body').textContent = JSON.stringify(JSON.parse(all), null, 2)
    } catch { /* cut off; it stays as it came */ }
  }
}
