/**
 * The script of the waiting page: it follows the socket and presses the buttons that are there anyway. It is text, because
 * it runs in a browser and must reach it as it is written; the browser tests run it.
 */
export const SCRIPT = `
const login = document.getElementById('login')
const { session, token } = login.dataset
const heading = document.getElementById('heading')
const status = document.getElementById('status')
const leave = (form) => { over = true; document.getElementById(form).submit() }
// The person has pressed a button: what the socket says from now on must not send the page elsewhere as well.
addEventListener('submit', () => { over = true })
const main = document.querySelector('main')
const say = (id, title, text) => {
  main.id = id
  heading.textContent = title
  document.title = title
  status.textContent = text
}
const end = performance.now() + Number(login.dataset.left) * 1000
let warned = false
const timer = setInterval(() => {
  const left = Math.max(0, Math.ceil((end - performance.now()) / 1000))
  document.getElementById('left').textContent = left
  if (left === 0) clearInterval(timer)
  // A tab in the background may miss a second: not only at twenty.
  else if (left <= 20 && !warned) {
    warned = true
    document.getElementById('warning').textContent = left + ' seconds left'
  }
}, 1000)
// Without a number nobody knows the code before a phone has scanned the QR.
const showCode = (code) => {
  const [figures, spoken] = document.querySelectorAll('#login-code p')
  const [left, right] = [code.slice(0, 3), code.slice(3)]
  figures.children[0].textContent = left
  figures.children[1].textContent = right
  spoken.textContent = [...left].join(' ') + ', ' + [...right].join(' ')
  document.getElementById('with-code').hidden = false
  // Where it is to be brought over, nobody should have to copy it by hand.
  const digits = document.getElementById('digits')
  if (digits) import('/login/qr.js').then(({ qrPath }) => {
    const { size, path } = qrPath(code)
    document.getElementById('digits-code').setAttribute('viewBox', '0 0 ' + size + ' ' + size)
    document.getElementById('digits-path').setAttribute('d', path)
    digits.hidden = false
  })
}
let over = false
let wait = 500
const begun = [main.id, heading.textContent]
const connect = () => {
  const url = location.origin.replace(/^http/, 'ws') + '/ws/session/' + session
  const socket = new WebSocket(url, ['idtoken.v1', token])
  // A login that nobody has scanned yet has nothing to say.
  socket.onopen = () => { if (main.id === 'login-offline') say(...begun, '') }
  socket.onmessage = ({ data }) => {
    if (over) return
    wait = 500
    const event = JSON.parse(data)
    if (event.type === 'otp_ready') {
      showCode(event.autoPassword)
    } else if (event.type === 'claimed') {
      clearInterval(timer)
      document.getElementById('timer').hidden = true
      // One phone is enough: nobody else may scan it now.
      document.getElementById('scan').hidden = true
      document.getElementById('no-push')?.setAttribute('hidden', '')
      say('login-claimed', 'Continue on your phone', 'Phone connected')
    } else if (event.type === 'push_failed') {
      say('login-push-failed', "We couldn't reach your phone", 'Open the IDToken app on your phone.')
    } else if (event.type === 'approved' && event.confirm) {
      // This browser doesn't know who has approved: whoever looks at it says whether it is he.
      over = true
      clearInterval(timer)
      for (const part of ['scan', 'waiting', 'ways']) document.getElementById(part).hidden = true
      document.getElementById('confirm').hidden = false
      say('login-confirm', 'You are signing in as \u2022\u2022\u2022\u2022' + event.confirm, '')
      heading.tabIndex = -1
      heading.focus()
    } else if (event.type === 'approved') {
      say('login-approved', "You're signed in", '')
      leave('continue')
    } else if (event.type === 'rejected') {
      if (event.reason !== 'wrong_code') say('login-declined', 'Request declined', '')
      leave('continue')
    } else if (event.type === 'expired') {
      leave('continue')
    }
  }
  socket.onclose = ({ code }) => {
    if (over) return
    if (code === 4009) {
      say('login-elsewhere', 'Opened in another tab', 'Go on there, or get a new code here.')
    } else if (code === 1000 || code === 4001 || code === 4004) {
      leave('continue')
    } else {
      say('login-offline', 'Reconnecting\\u2026', '')
      setTimeout(connect, wait)
      wait = Math.min(wait * 2, 8000)
    }
  }
}
connect()
`
